/* cover.h - which lines of a site's files ran: a line hook in the VMs of simulations.
 *
 * It is for the whole process and stays on once it was started.  Only files that came from a
 * directory count, not those that a test gave as text, and of the program's own those in
 * lua/middleware and lua/routes. */
#ifndef ML_KIT_COVER_H
#define ML_KIT_COVER_H

#include "kit/extend.h"

/* In a fresh VM, before its first file runs; nothing unless it was started. */
void ml_cover_attach(lua_State *L, const struct ml_extension *x);
/* Adds to the table on top of L:
 *   cover_start() -> true, or false when it runs already
 *   cover_lines() -> { [path] = { [line] = count } }, with an entry for each file of each site;
 *                    paths of the program's own files begin with "lua/"
 *   embedded(path) -> text of such a file, or nil */
void ml_cover_open(lua_State *L);

#endif
