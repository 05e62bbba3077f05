/* trace.h - for tests of the real program: a file that tells what each step of a chain did.
 *
 * $MOONLATCH_TRACE names it.  Lines of JSON, written at once, as are both logs then:
 *   {"n":serial,"what":"runs|passed|answered","name":step,"detail":text}
 *   {"n":serial,"what":"done","method":,"target":,"status":,"id":,"route":,"upstream":,"server":,
 *    "user":,"tries":,"why":}
 * Beside it, with ".metrics" at its end, is the page of metrics as it was after the last exchange.
 * lua/moonlatch/test_e2e.lua reads them. */
#ifndef ML_PROCESS_TRACE_H
#define ML_PROCESS_TRACE_H

#include "script/generation.h"

/* Puts itself between host, handler and what they are; does nothing without the variable. */
void ml_trace_install(struct ml_script_host *host, struct ml_handler *handler);

#endif
