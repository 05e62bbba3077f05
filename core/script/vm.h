/* vm.h - a Lua state whose memory is counted and capped.
 *
 * Over the cap the script that asked is stopped at its next step (budget.h) with a memory error;
 * what it asked for is granted, up to twice the cap.  Failing at once would be simpler, but in
 * compiled code LuaJIT 2.1.0-beta3 then writes its message over a live frame, and crashes (fixed by
 * "Fix frame for on-trace out-of-memory error" in 2023).  Beyond that, in a state that
 * compiles nothing and while no script runs, allocations fail.  LuaJIT collects nothing of its own
 * accord then, so the owner calls ml_vm_relieve between scripts when the state has come near its
 * cap. */
#ifndef ML_SCRIPT_VM_H
#define ML_SCRIPT_VM_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

struct ml_vm {
    lua_State *L;
    size_t used, cap; /* bytes */
    size_t near;      /* from which on ml_vm_relieve collects */
    size_t relieved;  /* used after the last full collection */
    int pause;        /* of the collector, as it is set */
    lua_Alloc alloc;  /* LuaJIT's own, which this one wraps */
    void *alloc_ud;
};

/* Opens a state with the standard libraries; vm must stay where it is.  Aborts without memory. */
void ml_vm_open(struct ml_vm *vm, size_t cap);
void ml_vm_close(struct ml_vm *vm);
/* Nothing is to be done at the moment: collects, when that can not take long. */
void ml_vm_rest(struct ml_vm *vm);
/* Between two scripts: collects when more than near is used and much of that is new. */
void ml_vm_relieve(struct ml_vm *vm);

#endif
