/* files.h - the snapshot of a site that a test describes. */
#ifndef ML_KIT_FILES_H
#define ML_KIT_FILES_H

#include "script/snapshot.h"

#include <lua.h>

/* The files below dir (NULL: none), changed by the table at index files (0: none): name -> text, or
 * false for what is to be left out; a name with a "/" at its end is all below it.  Names and values
 * must have been checked to be of these types.  NULL with why. */
struct ml_snapshot *ml_files_snapshot(lua_State *L, const char *dir, int files, struct ml_buf *why);

#endif
