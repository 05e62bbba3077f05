/* user.h - the unprivileged user that workers run as. */
#ifndef ML_PROCESS_USER_H
#define ML_PROCESS_USER_H

#include "base/buf.h"

#include <sys/types.h>

struct ml_user { /* zero-initialised: nothing changes */
    bool set;
    uid_t uid;
    gid_t gid;
    char name[64];
};

/* Looks name up (empty: none).  False with a sentence in why: it is unknown, or this process is not
 * root and is somebody else. */
bool ml_user_find(struct ml_str name, struct ml_user *user, struct ml_buf *why);
/* Becomes user for good: groups, group, user.  False with a sentence in why. */
bool ml_user_become(const struct ml_user *user, struct ml_buf *why);

#endif
