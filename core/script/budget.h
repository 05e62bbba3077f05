/* budget.h - limits the CPU time of each resume of a script; one watch per process.
 *
 * Debug hooks do not fire in code that LuaJIT compiled, but each trace tests the profiler's flag.
 * So a timer on the thread's CPU clock ticks while the worker works; when a tick finds the same
 * resume that has had its time, its signal handler raises that flag and sets a hook on every
 * instruction, which raises "CPU budget of N ms exceeded" as an ordinary Lua error.  The hook stays
 * until the resume ends, so a script that catches the error meets it again at its next step.
 * Not stopped: one C function in a loop of its own; the supervisor's heartbeat is for those. */
#ifndef ML_SCRIPT_BUDGET_H
#define ML_SCRIPT_BUDGET_H

#include <lua.h>
#include <stdbool.h>

/* Starts the tick for this thread: once per process, again after a fork.  Idempotent. */
void ml_budget_arm(void);
/* Around each resume or call; costs no system call.  Calls may nest, the outermost counts. */
void ml_budget_enter(lua_State *L, double ms);
bool ml_budget_leave(void); /* true: the budget was exceeded, or the memory */
/* The running script of L has had its memory: it meets "not enough memory" at its next step, and at
 * each one after that.  False when none runs, or when L runs no compiled code. */
bool ml_budget_out_of_memory(lua_State *L);
/* After a leave that said true: was it for memory? */
bool ml_budget_was_memory(void);

/* The process has one profiler slot: the VM that owns it runs compiled code, all others are
 * interpreted, where the hook works by itself.  L becomes the owner. */
void ml_budget_own(lua_State *L);
/* Before L is closed or when it shall not own the slot any more; turns its JIT off. */
void ml_budget_disown(lua_State *L);
/* From now on VMs stay interpreted and have this line hook, which a kill replaces for a moment; each VM
 * sets it once.  Budgets are larger then.  For tests. */
void ml_budget_rest(lua_Hook hook);

#endif
