/* control_client.h - where the control socket of a gateway is, and how to ask it something.
 *
 * The path is, in this order: what --control says; $MOONLATCH_CONTROL; NAME.sock in the runtime
 * directory, where NAME is the hash of the site's real path.  The runtime directory is
 * /run/moonlatch for root, and else $XDG_RUNTIME_DIR/moonlatch, or /tmp/moonlatch-UID when that is
 * not set.  It has mode 0700 and belongs to the user; another one of that name is not trusted. */
#ifndef ML_PROCESS_CONTROL_CLIENT_H
#define ML_PROCESS_CONTROL_CLIENT_H

#include "base/buf.h"

enum { ML_CONTROL_PATH_MAX = 108 }; /* sun_path of unix(7), with its NUL */

/* Where `run dir` puts its socket; makes the runtime directory.  option is --control's value or
 * NULL. False with a sentence in why. */
bool ml_control_path(const char *option, const char *dir, char path[ML_CONTROL_PATH_MAX],
                     struct ml_buf *why);
/* Where to find the gateway of dir, or the only one that answers when dir is NULL. */
bool ml_control_find(const char *option, const char *dir, char path[ML_CONTROL_PATH_MAX],
                     struct ml_buf *why);

enum ml_control_answer { ML_CONTROL_OK, ML_CONTROL_REFUSED, ML_CONTROL_NO_ANSWER };

/* Sends a request ("status") and reads the JSON of the answer into json; waits up to timeout_s. On
 * ML_CONTROL_NO_ANSWER there is a sentence in why. */
enum ml_control_answer ml_control_ask(const char *path, const char *request, double timeout_s,
                                      struct ml_buf *json, struct ml_buf *why);

#endif
