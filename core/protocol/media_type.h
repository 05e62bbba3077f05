/* media_type.h - what is in a file, by the end of its name. */
#ifndef ML_PROTOCOL_MEDIA_TYPE_H
#define ML_PROTOCOL_MEDIA_TYPE_H

#include "base/str.h"

/* The part of a name behind its last '.', "" without one: of "a/b.min.js" it is "js". */
struct ml_str ml_media_extension(struct ml_str name);
/* "text/html" for "html", in any case; application/octet-stream for what is not known. */
struct ml_str ml_media_type(struct ml_str extension);
/* Is it text whose charset a client would guess without being told? */
bool ml_media_is_text(struct ml_str type);

#endif
