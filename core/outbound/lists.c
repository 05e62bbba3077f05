/* lists.c - a list as text, one server per line: "weight max_conns backup url". */
#include "outbound/lists.h"

#include "base/lists.h"
#include "outbound/check.h"

#include <stdio.h>
#include <stdlib.h>

static struct ml_lists_region *region(const struct ml_group *g)
{
    return g->o->shm != NULL && !g->conf.client ? ml_shm_lists(g->o->shm) : NULL;
}

static void print(const struct ml_server_conf *list, unsigned count, struct ml_buf *out)
{
    for (unsigned i = 0; i < count; i++) {
        ml_buf_printf(out, "%u %u %d ", list[i].weight, list[i].max_conns, list[i].backup);
        ml_buf_append(out, list[i].url);
        ml_buf_append(out, ML_STR("\n"));
    }
}

/* Reads what print wrote, in place; how many there are. */
static unsigned parse(struct ml_str text, struct ml_server_conf list[ML_LIST_SERVERS_MAX])
{
    unsigned count = 0;

    while (text.len > 0 && count < ML_LIST_SERVERS_MAX) {
        const char *end = memchr(text.p, '\n', text.len);
        struct ml_server_conf *s = &list[count];
        int backup = 0, at = 0;

        if (end == NULL ||
            sscanf(text.p, "%u %u %d %n", &s->weight, &s->max_conns, &backup, &at) != 3)
            break;
        s->backup = backup != 0;
        s->url = (struct ml_str){text.p + at, (size_t)(end - text.p) - (size_t)at};
        text.len -= (size_t)(end + 1 - text.p);
        text.p = end + 1;
        count++;
    }
    return count;
}

void ml_group_follow(struct ml_group *g)
{
    struct ml_lists_region *r = region(g);
    struct ml_server_conf list[ML_LIST_SERVERS_MAX];
    struct ml_buf text = {0};
    uint64_t mark = 0, version;
    unsigned count;

    if (r == NULL)
        return;
    version = ml_lists_get(r, g->conf.name, &mark, &text);
    if (version != g->list_version) {
        bool had = g->listed;

        g->list_version = version;
        ml_buf_append(&text, (struct ml_str){"", 1}); /* an end for sscanf */
        count = mark == g->given_hash ? parse(ml_buf_str(&text), list) : 0;
        g->listed = count > 0;
        if (count > 0)
            ml_group_set_servers(g, list, count);
        else if (had)
            ml_group_set_servers(g, g->given, g->given_count);
    }
    ml_buf_release(&text);
}

const char *ml_group_publish(struct ml_group *g, const struct ml_server_conf *list, unsigned count)
{
    struct ml_lists_region *r = region(g);
    struct ml_buf text = {0};
    bool ok = true;

    if (count > ML_LIST_SERVERS_MAX)
        return "a list has at most 256 servers";
    if (r == NULL) {
        ml_group_set_servers(g, count > 0 ? list : g->given, count > 0 ? count : g->given_count);
        return NULL;
    }
    print(list, count, &text);
    ok = ml_lists_set(r, g->conf.name, g->given_hash, ml_buf_str(&text));
    ml_buf_release(&text);
    if (ok)
        ml_group_follow(g);
    return ok ? NULL : "the list is too long";
}

void ml_outbound_tick(struct ml_outbound *o)
{
    uint64_t version = o->shm != NULL ? ml_lists_version(ml_shm_lists(o->shm)) : 0;

    if (version != o->lists_version) {
        o->lists_version = version;
        for (struct ml_group *g = o->groups; g != NULL; g = g->next)
            ml_group_follow(g);
    }
    ml_checks_tick(o);
}

void ml_outbound_stop(struct ml_outbound *o)
{
    ml_checks_stop(o);
}
