/* world.h - what a test and the real program under its test share: a file that both have mapped.
 *
 *   test (core/kit/world.c)  --time, where names lead-->  program (core/kit/shim/shim.c, preloaded)
 *   test                     <--is it waiting, till when--  program
 *
 * So the program as it is built runs by the clock of a test, as a simulation does. */
#ifndef ML_KIT_WORLD_H
#define ML_KIT_WORLD_H

#include <stdatomic.h>
#include <stdint.h>

enum { ML_WORLD_PROCESSES = 64, ML_WORLD_PLACES = 512, ML_WORLD_PORTS = 65536 };

struct ml_world_process { /* one that waits for events */
    _Atomic int pid;      /* 0: free */
    _Atomic int waiting;
    _Atomic uint64_t seen;        /* the last `turn` it looked for events in, without finding any */
    _Atomic uint64_t found;       /* how often it found some */
    _Atomic uint64_t deadline_ns; /* of its next timer; UINT64_MAX: none */
};

struct ml_world_place { /* where a connection to address:port leads */
    uint32_t address;   /* IPv4, of this host's byte order */
    uint16_t port;
    _Atomic uint16_t leads_to; /* a port of 127.0.0.1; 0: refused */
};

struct ml_world_client {    /* who a connection from this local port is said to come from */
    _Atomic uint8_t family; /* 0: nobody else; 4 or 6 */
    uint8_t address[16];
};

struct ml_world {
    _Atomic uint64_t now_ns, turn;
    _Atomic uint64_t wall_begin_us; /* wall clock when now_ns is 0 */
    _Atomic uint64_t seed;
    _Atomic unsigned place_count;
    struct ml_world_place places[ML_WORLD_PLACES];
    struct ml_world_process processes[ML_WORLD_PROCESSES];
    struct ml_world_client clients[ML_WORLD_PORTS];
};

#endif
