/* files.c - a directory, or files of a test, or a directory with some files of a test instead. */
#include "kit/files.h"

#include "script/scan.h"

#include <stdlib.h>

static char *copy_of(const char *p, size_t len)
{
    char *copy = malloc(len + 1);

    if (copy == NULL)
        abort();
    memcpy(copy, p, len);
    copy[len] = '\0';
    return copy;
}

/* A name that ends with "/" means all files below. */
static void files_remove(struct ml_scan *scan, const char *name)
{
    size_t len = strlen(name);
    bool folder = len > 0 && name[len - 1] == '/';

    for (unsigned i = 0; i < scan->count;) {
        struct ml_scan_file *file = &scan->files[i];

        if (folder ? strncmp(file->name, name, len) != 0 : strcmp(file->name, name) != 0) {
            i++;
            continue;
        }
        free(file->name);
        free(file->bytes);
        *file = scan->files[--scan->count];
    }
}

static void files_add(struct ml_scan *scan, const char *name, const char *bytes, size_t len)
{
    struct ml_scan_file *file;

    if (scan->count == scan->cap) {
        scan->cap = scan->cap * 2 + 16;
        scan->files = realloc(scan->files, scan->cap * sizeof *scan->files);
        if (scan->files == NULL)
            abort();
    }
    file = &scan->files[scan->count++];
    *file = (struct ml_scan_file){copy_of(name, strlen(name)), copy_of(bytes, len), len, 0};
    file->hash = ml_scan_hash_file(ml_str_of(file->name), (struct ml_str){file->bytes, len});
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct ml_scan_file *)a)->name, ((const struct ml_scan_file *)b)->name);
}

/* The table at index: name -> text, or false for a file that is to be left out. */
static void files_overlay(lua_State *L, int index, struct ml_scan *scan)
{
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
        const char *name = lua_tostring(L, -2), *bytes;
        size_t len;

        files_remove(scan, name);
        if ((bytes = lua_tolstring(L, -1, &len)) != NULL)
            files_add(scan, name, bytes, len);
    }
    if (scan->count > 0)
        qsort(scan->files, scan->count, sizeof *scan->files, by_name);
}

struct ml_snapshot *ml_files_snapshot(lua_State *L, const char *dir, int files, struct ml_buf *why)
{
    struct ml_scan scan = {.dir = dir != NULL ? dir : "site", .keep = true, .why = why};
    struct ml_snapshot *snapshot = NULL;

    if (files == 0)
        return ml_snapshot_read(dir, why);
    if (dir == NULL || ml_scan_run(&scan, why)) {
        files_overlay(L, files, &scan);
        snapshot = ml_snapshot_make(&scan, why);
    }
    ml_scan_drop(&scan);
    return snapshot;
}
