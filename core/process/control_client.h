/* control_client.h - where the control socket of a gateway is, and how to ask it something.
 *
 * The path is what --control says, else $MOONLATCH_CONTROL, else HASH.sock in a runtime directory,
 * where HASH is that of the site's absolute path.  The runtime directory is the first of these that
 * can be had: /run/moonlatch, $XDG_RUNTIME_DIR/moonlatch, /tmp/moonlatch-UID.  It is made with mode
 * 0700; one that belongs to somebody else, or that others may write to, is not trusted. */
#ifndef ML_PROCESS_CONTROL_CLIENT_H
#define ML_PROCESS_CONTROL_CLIENT_H

#include "base/buf.h"

enum { ML_CONTROL_PATH_MAX = 108 }; /* sun_path of unix(7), with its NUL */

/* Where `run dir` puts its socket; makes the runtime directory.  option is --control's value or
 * NULL.  False with a sentence in why. */
bool ml_control_path(const char *option, const char *dir, char path[ML_CONTROL_PATH_MAX],
                     struct ml_buf *why);

enum ml_control_found { ML_CONTROL_FOUND, ML_CONTROL_NONE, ML_CONTROL_SEVERAL };

/* Where the gateway of dir listens, or the only one that runs when dir is NULL.  Unless it is found
 * there is a sentence in why. */
enum ml_control_found ml_control_find(const char *option, const char *dir,
                                      char path[ML_CONTROL_PATH_MAX], struct ml_buf *why);

enum ml_control_answer { ML_CONTROL_OK, ML_CONTROL_REFUSED, ML_CONTROL_NO_ANSWER };

/* Sends a request ("status") and reads the JSON of the answer into json, waiting up to timeout_s.
 * On ML_CONTROL_NO_ANSWER there is a sentence in why. */
enum ml_control_answer ml_control_ask(const char *path, const char *request, double timeout_s,
                                      struct ml_buf *json, struct ml_buf *why);

#endif
