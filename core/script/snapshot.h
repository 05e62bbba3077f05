/* snapshot.h - the bytes of a whole script directory at one moment.
 *
 * Made once per change by the staging process and handed to the supervisor and all workers as one
 * sealed memory file, so that all of them load the same bytes whatever happens on disk meanwhile.
 * Holds every regular file *.lua and the data files (*.json, *.pem, *.txt, *.jwk, *.jwks, *.html)
 * below the directory except spec/, public/, hidden names and "node_modules"; at most 4096 files and 64 MiB. */
#ifndef ML_SCRIPT_SNAPSHOT_H
#define ML_SCRIPT_SNAPSHOT_H

#include "base/buf.h"
#include "base/str.h"

#include <stdint.h>

struct ml_snapshot;

enum { ML_SNAPSHOT_NAME_MAX = 2048 };

/* Reads dir.  On failure NULL and a sentence with the path in why. Two passes must agree (a file
 * that changes while it is read is read again). */
struct ml_snapshot *ml_snapshot_read(const char *dir, struct ml_buf *why);
/* The same with the files of the list `more`, each name with its NUL: "/etc/a.pem", or "//a.der" for
 * one below dir.  Those that cannot be read are left out. */
struct ml_snapshot *ml_snapshot_read_with(const char *dir, struct ml_str more, struct ml_buf *why);
/* Of files in memory: scan.h; in name order, each with its bytes and hash. */
struct ml_scan;
struct ml_snapshot *ml_snapshot_make(const struct ml_scan *scan, struct ml_buf *why);
/* Opens the memory file that ml_snapshot_fd of another process gave.  fd stays the caller's. */
struct ml_snapshot *ml_snapshot_open(int fd, struct ml_buf *why);
int ml_snapshot_fd(const struct ml_snapshot *s); /* memfd with the serialised bytes; owned by s */
void ml_snapshot_free(struct ml_snapshot **s);

const char *ml_snapshot_hash(const struct ml_snapshot *s); /* 16 hex digits of the contents */
const char *ml_snapshot_dir(const struct ml_snapshot *s);  /* as given, for messages */
unsigned ml_snapshot_count(const struct ml_snapshot *s);
/* index in name order: "gateway.lua", "routes/a.lua" */
struct ml_str ml_snapshot_name(const struct ml_snapshot *s, unsigned index);
struct ml_str ml_snapshot_bytes(const struct ml_snapshot *s, unsigned index);
bool ml_snapshot_find(const struct ml_snapshot *s, struct ml_str name, struct ml_str *bytes);
/* Hash of what is on disk now without keeping it: the slow poll's question "did anything change?".
 * "" when the directory cannot be read. */
void ml_snapshot_hash_dir(const char *dir, char out[17]);
void ml_snapshot_hash_with(const char *dir, struct ml_str more, char out[17]);

#endif
