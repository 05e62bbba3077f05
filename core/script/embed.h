/* embed.h - the files of lua/ as bytes of the program; made by tools/embed.sh. */
#ifndef ML_SCRIPT_EMBED_H
#define ML_SCRIPT_EMBED_H

#include <stddef.h>

struct ml_embed {
    const char *name; /* below lua/: "moonlatch/init.lua" */
    const char *bytes;
    size_t len;
};
extern const struct ml_embed ml_embed_files[];
extern const unsigned ml_embed_count;

#endif
