/* load.h - what the Lua library may do while a site is loaded: read the snapshot, and say what the
 * site wants of the core.
 *
 * The values come from lua/moonlatch, which has checked types, ranges and names of options; here
 * only what the core alone can judge is checked (a URL, a network, a route).  Functions that may
 * refuse return a sentence, which the library puts behind the site's file and line. */
#ifndef ML_SCRIPT_LOAD_H
#define ML_SCRIPT_LOAD_H

#include "script/router.h"
#include "script/site.h"
#include "script/snapshot.h"

#include <lua.h>

struct ml_chain { /* what answers; functions in the registry */
    int fn, timed;       /* timed: the same, taking the time of its steps; LUA_NOREF: none */
    struct ml_str label; /* what metrics call the route; empty: its pattern */
    struct ml_chain_steps *steps;
    struct ml_str line;  /* where the site asks for the route */
};

struct ml_load {
    struct ml_snapshot *snapshot; /* borrowed */
    struct ml_site *site;         /* owned by the generation, like router and chains */
    struct ml_router *router;
    struct ml_chain *chains; /* by index of route */
    unsigned chain_count, chain_cap;
    struct ml_chain fallback; /* for requests without a route */
    struct ml_buf warnings;
    struct ml_buf *files; /* names of files outside the snapshot that were asked for; or NULL */
    bool files_later;     /* those that are missing will be there the next time */
    bool done; /* the site is loaded: nothing of this may be called any more */
};

/* Adds its functions to the table `core` on top of L; load must stay where it is. */
void ml_load_open(lua_State *L, struct ml_load *load);
void ml_load_free(struct ml_load *load);
/* A file of lua/ that is part of the program: "moonlatch/boot.lua". */
bool ml_load_embedded(const char *name, struct ml_str *text);

#endif
