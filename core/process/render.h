/* render.h - what a gateway answered in JSON, as text for people: lua/moonlatch/cli.lua does it. */
#ifndef ML_PROCESS_RENDER_H
#define ML_PROCESS_RENDER_H

#include "base/buf.h"

/* Appends what the function of that name makes of json.  False with a sentence in why. */
bool ml_render(const char *function, struct ml_str json, struct ml_buf *out, struct ml_buf *why);

#endif
