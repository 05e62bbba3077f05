/* user.c - looked up once by the supervisor, since workers must not depend on a name service. */
#include "process/user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool ml_user_find(struct ml_str name, struct ml_user *user, struct ml_buf *why)
{
    struct passwd *pw;

    *user = (struct ml_user){.set = false};
    if (name.len == 0)
        return true;
    snprintf(user->name, sizeof user->name, "%.*s", (int)name.len, name.p);
    pw = name.len < sizeof user->name ? getpwnam(user->name) : NULL;
    if (pw == NULL) {
        ml_buf_printf(why, "user \"%.*s\" is unknown", (int)name.len, name.p);
        return false;
    }
    if (geteuid() != 0 && geteuid() != pw->pw_uid) {
        ml_buf_printf(why, "user \"%s\": only root can run workers as another user", user->name);
        return false;
    }
    user->set = geteuid() == 0 && pw->pw_uid != 0;
    user->uid = pw->pw_uid;
    user->gid = pw->pw_gid;
    return true;
}

bool ml_user_become(const struct ml_user *user, struct ml_buf *why)
{
    if (!user->set)
        return true;
    if (initgroups(user->name, user->gid) == 0 && setgid(user->gid) == 0 &&
        setuid(user->uid) == 0 && setuid(0) != 0)
        return true;
    ml_buf_printf(why, "cannot become user \"%s\": %s", user->name, strerror(errno));
    return false;
}
