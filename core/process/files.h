/* files.h - files outside of the site's directory that the site asks for while it loads. */
#ifndef ML_PROCESS_FILES_H
#define ML_PROCESS_FILES_H

#include "process/stage.h"
#include "script/generation.h"

/* Reads conf->dir and the files that its scripts ask for, in the staging process, which becomes
 * conf->user on the way: files are read as the user that the gateway was started as, scripts run as
 * the other one.  The generation, its snapshot, and the names in *more; NULL with a sentence. */
struct ml_generation *ml_files_load(const struct ml_stage_conf *conf, struct ml_snapshot **snapshot,
                                    struct ml_buf *more, struct ml_buf *why);

/* Loads the snapshot *conf->from, whatever is in the directory by now. */
struct ml_generation *ml_files_load_again(const struct ml_stage_conf *conf,
                                          struct ml_snapshot **snapshot, struct ml_buf *why);

#endif
