/* vm.c - the counting allocator around LuaJIT's own. */
#include "script/vm.h"

#include "script/budget.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>

enum {
    REST_MAX = 16 << 20, /* bytes whose collection takes some 20 ms */
    SMALL_MAX = 8 << 20, /* a state up to this size may hold three times as much garbage */
};
enum { PAUSE_SMALL = 400, PAUSE_LARGE = 200 }; /* per cent, of LUA_GCSETPAUSE */

/* May the state grow by so much? */
static bool may_grow(const struct ml_vm *vm, size_t by)
{
    size_t room = vm->cap > vm->used ? vm->cap - vm->used : 0;

    if (by <= room)
        return true;
    return vm->used + by <= 2 * vm->cap && ml_budget_out_of_memory(vm->L);
}

static void *counted(void *ud, void *p, size_t old_len, size_t new_len)
{
    struct ml_vm *vm = ud;
    void *q;

    if (new_len > old_len && !may_grow(vm, new_len - old_len))
        return NULL;
    q = vm->alloc(vm->alloc_ud, p, old_len, new_len);
    if (q != NULL || new_len == 0)
        vm->used = vm->used - old_len + new_len;
    return q;
}

void ml_vm_open(struct ml_vm *vm, size_t cap)
{
    *vm = (struct ml_vm){.L = luaL_newstate(), .cap = cap};
    if (vm->L == NULL)
        abort();
    luaL_openlibs(vm->L);
    vm->used =
        (size_t)lua_gc(vm->L, LUA_GCCOUNT, 0) * 1024 + (size_t)lua_gc(vm->L, LUA_GCCOUNTB, 0);
    if (vm->cap < vm->used)
        vm->cap = vm->used;
    vm->near = vm->cap / 4 * 3;
    vm->alloc = lua_getallocf(vm->L, &vm->alloc_ud);
    lua_setallocf(vm->L, counted, vm);
    vm->pause = PAUSE_SMALL;
    lua_gc(vm->L, LUA_GCSETPAUSE, vm->pause);
}

void ml_vm_close(struct ml_vm *vm)
{
    if (vm->L == NULL)
        return;
    lua_setallocf(vm->L, vm->alloc, vm->alloc_ud);
    lua_close(vm->L);
    vm->L = NULL;
}

void ml_vm_rest(struct ml_vm *vm)
{
    if (vm->used <= REST_MAX)
        lua_gc(vm->L, LUA_GCCOLLECT, 0);
}

/* Most states hold little, and collecting them less often costs memory that nobody misses. */
static void set_pause(struct ml_vm *vm)
{
    int pause = vm->used > SMALL_MAX ? PAUSE_LARGE : PAUSE_SMALL;

    if (pause == vm->pause)
        return;
    vm->pause = pause;
    lua_gc(vm->L, LUA_GCSETPAUSE, pause);
}

void ml_vm_relieve(struct ml_vm *vm)
{
    set_pause(vm);
    if (vm->used < vm->near || vm->used < vm->relieved + vm->cap / 16)
        return;
    lua_gc(vm->L, LUA_GCCOLLECT, 0);
    vm->relieved = vm->used;
}
