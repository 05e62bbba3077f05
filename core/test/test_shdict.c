/* test_shdict.c - what one process sees of a dict, and what several do while some are killed. */
#include "base/shdict.h"

#include "base/hash.h"
#include "test.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

/* Large enough that chance, which seeds the hash, never fills one segment before its time. */
enum { REGION_LEN = 4 << 20, SEGMENT_LEN = REGION_LEN / 256 };

static struct ml_shdict_region *region_new(size_t len)
{
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        abort();
    return ml_shdict_init(p, len);
}

static void region_free(struct ml_shdict_region *r, size_t len)
{
    munmap(r, len);
}

static struct ml_shdict_region *r;
static struct ml_buf scratch;

static const struct ml_str D = {"dict", 4};

static void fresh(void)
{
    if (r != NULL)
        region_free(r, REGION_LEN);
    r = region_new(REGION_LEN);
}

static struct ml_shdict_value str_value(const char *p, size_t len)
{
    return (struct ml_shdict_value){.type = ML_SHDICT_STRING, .string = {p, len}};
}

static struct ml_shdict_value num_value(double n)
{
    return (struct ml_shdict_value){.type = ML_SHDICT_NUMBER, .number = n};
}

static enum ml_err set(const char *key, struct ml_shdict_value v, double ttl_s, double now_s)
{
    return ml_shdict_set(r, D, ml_str_of(key), &v, ttl_s, now_s);
}

static struct ml_shdict_value get(const char *key, double now_s)
{
    struct ml_shdict_value v = {.type = ML_SHDICT_BOOLEAN, .number = -1};

    CHECK(ml_shdict_get(r, D, ml_str_of(key), now_s, &scratch, &v) == ML_OK);
    return v;
}

static bool is_str(struct ml_shdict_value v, const char *z)
{
    return v.type == ML_SHDICT_STRING && ml_str_eq(v.string, ml_str_of(z));
}

static bool is_num(struct ml_shdict_value v, double n)
{
    return v.type == ML_SHDICT_NUMBER && v.number == n;
}

/* Python 3.11 hashes bytes with the same function: PYTHONHASHSEED=0 python3 -c 'hash(b"a")'. */
TEST(the_hash_is_siphash_1_3)
{
    struct ml_hash_seed zero = {{0, 0}};

    CHECK(ml_hash_bytes(zero, ML_STR("a")) == UINT64_C(0x407448d2b89b1813));
    CHECK(ml_hash_bytes(zero, ML_STR("abcdefg")) == UINT64_C(0x6db12aae9070f506));
    CHECK(ml_hash_bytes(zero, ML_STR("abcdefgh")) == UINT64_C(0x3f7b849c0b8e35ea));
    CHECK(ml_hash_bytes(zero, ML_STR("abcdefghi")) == UINT64_C(0xf89b34a3d11eb6e5));
}

TEST(values_of_all_types_come_back)
{
    struct ml_shdict_value yes = {.type = ML_SHDICT_BOOLEAN, .number = 1};

    fresh();
    CHECK(get("nothing", 1).type == ML_SHDICT_NIL);
    CHECK(set("s", str_value("text", 4), 0, 1) == ML_OK);
    CHECK(set("empty", str_value("", 0), 0, 1) == ML_OK);
    CHECK(set("n", num_value(1.5), 0, 1) == ML_OK);
    CHECK(set("b", yes, 0, 1) == ML_OK);
    CHECK(is_str(get("s", 1), "text") && is_str(get("empty", 1), ""));
    CHECK(is_num(get("n", 1), 1.5));
    CHECK(get("b", 1).type == ML_SHDICT_BOOLEAN && get("b", 1).number == 1);
}

TEST(dict_and_key_do_not_run_together)
{
    struct ml_shdict_value v = num_value(1), got;

    fresh();
    CHECK(ml_shdict_set(r, ML_STR("ab"), ML_STR("c"), &v, 0, 1) == ML_OK);
    CHECK(ml_shdict_get(r, ML_STR("a"), ML_STR("bc"), 1, &scratch, &got) == ML_OK);
    CHECK(got.type == ML_SHDICT_NIL);
    CHECK(ml_shdict_get(r, ML_STR("ab"), ML_STR("c"), 1, &scratch, &got) == ML_OK);
    CHECK(is_num(got, 1));
}

TEST(a_set_replaces_value_type_and_length)
{
    fresh();
    CHECK(set("k", str_value("a", 1), 0, 1) == ML_OK);
    CHECK(set("k", str_value("longer than a chunk? no, but longer", 35), 0, 1) == ML_OK);
    CHECK(is_str(get("k", 1), "longer than a chunk? no, but longer"));
    CHECK(set("k", num_value(7), 0, 1) == ML_OK);
    CHECK(is_num(get("k", 1), 7));
    CHECK(set("k", (struct ml_shdict_value){.type = ML_SHDICT_NIL}, 0, 1) == ML_OK);
    CHECK(get("k", 1).type == ML_SHDICT_NIL);
}

TEST(strings_of_every_length_come_back_whole)
{
    static char big[3000];

    fresh();
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)(i * 7 + i / 256);
    for (size_t len = 0; len <= sizeof big; len += len < 600 ? 1 : 97) {
        struct ml_shdict_value v;

        CHECK(set("k", str_value(big, len), 0, 1) == ML_OK);
        v = get("k", 1);
        CHECK(v.type == ML_SHDICT_STRING && ml_str_eq(v.string, (struct ml_str){big, len}));
    }
}

TEST(keys_of_every_length_are_told_apart)
{
    static char key[1025];
    struct ml_shdict_value v = num_value(1);

    fresh();
    memset(key, 'k', sizeof key);
    for (size_t len = 0; len <= 1024; len++) {
        v.number = (double)len;
        CHECK(ml_shdict_set(r, D, (struct ml_str){key, len}, &v, 0, 1) == ML_OK);
        CHECK(ml_shdict_get(r, D, (struct ml_str){key, len}, 1, &scratch, &v) == ML_OK);
        CHECK(is_num(v, (double)len));
    }
    CHECK(ml_shdict_set(r, D, (struct ml_str){key, 1025}, &v, 0, 1) == ML_LIMIT);
    CHECK(ml_shdict_get(r, D, (struct ml_str){key, 1025}, 1, &scratch, &v) == ML_LIMIT);
    CHECK(ml_shdict_set(r, (struct ml_str){key, 256}, D, &v, 0, 1) == ML_LIMIT);
}

TEST(an_entry_lives_until_its_ttl)
{
    fresh();
    CHECK(set("k", num_value(1), 10, 100) == ML_OK);
    CHECK(is_num(get("k", 109.9), 1));
    CHECK(get("k", 110).type == ML_SHDICT_NIL);
    CHECK(get("k", 100).type == ML_SHDICT_NIL);
    CHECK(set("k", num_value(2), 10, 200) == ML_OK);
    CHECK(set("k", num_value(3), 0, 205) == ML_OK);
    CHECK(is_num(get("k", 1e9), 3));
}

TEST(add_sets_only_what_is_absent_or_expired)
{
    struct ml_shdict_value one = num_value(1), two = num_value(2);
    bool done;

    fresh();
    CHECK(ml_shdict_add(r, D, ML_STR("k"), &one, 10, 100, &done) == ML_OK && done);
    CHECK(ml_shdict_add(r, D, ML_STR("k"), &two, 10, 105, &done) == ML_OK && !done);
    CHECK(is_num(get("k", 105), 1));
    CHECK(ml_shdict_add(r, D, ML_STR("k"), &two, 10, 110, &done) == ML_OK && done);
    CHECK(is_num(get("k", 111), 2));
}

TEST(incr_begins_at_init_and_keeps_the_first_ttl)
{
    double sum = -1, left_s = -1;

    fresh();
    CHECK(ml_shdict_incr(r, D, ML_STR("k"), 2, 5, 60, 100, &sum, &left_s) == ML_OK);
    CHECK(sum == 7 && left_s == 60);
    CHECK(ml_shdict_incr(r, D, ML_STR("k"), 1, 5, 60, 140, &sum, &left_s) == ML_OK);
    CHECK(sum == 8 && left_s == 20);
    CHECK(ml_shdict_incr(r, D, ML_STR("k"), 1, 0, 60, 160, &sum, &left_s) == ML_OK);
    CHECK(sum == 1 && left_s == 60);
    CHECK(ml_shdict_incr(r, D, ML_STR("for ever"), -1, 0, 0, 160, &sum, &left_s) == ML_OK);
    CHECK(sum == -1 && left_s == 0);
}

TEST(incr_of_what_is_no_number_is_refused_and_changes_nothing)
{
    struct ml_shdict_value yes = {.type = ML_SHDICT_BOOLEAN, .number = 1};
    double sum = -1, left_s = -1;

    fresh();
    CHECK(set("s", str_value("1", 1), 0, 1) == ML_OK && set("b", yes, 0, 1) == ML_OK);
    CHECK(ml_shdict_incr(r, D, ML_STR("s"), 1, 0, 0, 1, &sum, &left_s) == ML_BAD_REQUEST);
    CHECK(ml_shdict_incr(r, D, ML_STR("b"), 1, 0, 0, 1, &sum, &left_s) == ML_BAD_REQUEST);
    CHECK(sum == -1 && left_s == -1 && is_str(get("s", 1), "1"));
}

TEST(a_value_too_large_for_a_segment_is_refused_and_the_old_one_stays)
{
    static char big[REGION_LEN];

    fresh();
    CHECK(set("k", num_value(1), 0, 1) == ML_OK);
    CHECK(set("k", str_value(big, SEGMENT_LEN), 0, 1) == ML_LIMIT);
    CHECK(set("k", str_value(big, sizeof big), 0, 1) == ML_LIMIT);
    CHECK(is_num(get("k", 1), 1));
}

TEST(a_full_dict_evicts_the_least_recently_used)
{
    char key[32];
    unsigned alive = 0;

    fresh();
    CHECK(set("kept", num_value(42), 0, 1) == ML_OK);
    for (int i = 0; i < 100000; i++) {
        snprintf(key, sizeof key, "key-%d", i);
        CHECK(set(key, num_value(i), 0, 1) == ML_OK);
        CHECK(is_num(get("kept", 1), 42));
    }
    CHECK(is_num(get("key-99999", 1), 99999));
    CHECK(get("key-0", 1).type == ML_SHDICT_NIL);
    for (int i = 0; i < 100000; i++) {
        snprintf(key, sizeof key, "key-%d", i);
        alive += get(key, 1).type == ML_SHDICT_NUMBER;
    }
    CHECK(alive > 25000); /* 4 MiB, 128 bytes each, less the tables */
}

TEST(usage_tells_what_is_full_and_what_had_to_go)
{
    struct ml_shdict_fill fill;
    static char value[600];
    char key[32];

    fresh();
    ml_shdict_usage(r, &fill);
    CHECK(fill.bytes > REGION_LEN / 2 && fill.used == 0 && fill.evictions == 0);
    set("a", str_value(value, sizeof value), 0, 1);
    ml_shdict_usage(r, &fill);
    CHECK(fill.used >= sizeof value && fill.used < 2 * sizeof value);
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "key %d", i);
        set(key, str_value(value, sizeof value), 0, 1);
    }
    ml_shdict_usage(r, &fill);
    CHECK(fill.evictions > 1000 && fill.used > fill.bytes / 2 && fill.used <= fill.bytes);
}

TEST(expired_entries_go_before_live_ones)
{
    char key[32];

    fresh();
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "live-%d", i);
        CHECK(set(key, num_value(i), 0, 100) == ML_OK);
    }
    for (int i = 0; i < 20000; i++) { /* used later than the live ones, but expired at 110 */
        snprintf(key, sizeof key, "dead-%d", i);
        CHECK(set(key, num_value(i), 10, 100) == ML_OK);
    }
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "new-%d", i);
        CHECK(set(key, num_value(i), 0, 120) == ML_OK);
    }
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "live-%d", i);
        CHECK(is_num(get(key, 120), i));
    }
}

TEST(random_changes_agree_with_a_plain_array)
{
    enum { KEYS = 64 };
    static char text[600];
    double expect[KEYS] = {0}; /* 0: absent, < 0: a string of that length, else a number */
    char key[16];

    fresh();
    srandom(1);
    memset(text, 't', sizeof text);
    for (int i = 0; i < 200000; i++) {
        int k = (int)(random() % KEYS), what = (int)(random() % 4);
        struct ml_shdict_value v = {.type = ML_SHDICT_NIL};

        snprintf(key, sizeof key, "%d", k);
        if (what == 0)
            v = num_value(expect[k] = 1 + i);
        if (what == 1)
            v = str_value(text, (size_t) - (expect[k] = -1 - (double)(random() % 500)));
        if (what == 2)
            expect[k] = 0;
        if (what < 3)
            CHECK(set(key, v, 0, 1) == ML_OK);
        v = get(key, 1);
        CHECK(expect[k] == 0  ? v.type == ML_SHDICT_NIL
              : expect[k] > 0 ? is_num(v, expect[k])
                              : v.string.len == (size_t)-expect[k]);
    }
}

struct seen {
    unsigned count;
    bool key[100];
};

static void see(void *ctx, struct ml_str key)
{
    struct seen *seen = ctx;

    seen->count++;
    seen->key[atoi(key.p) % 100] = true;
}

TEST(keys_lists_the_live_keys_of_one_dict)
{
    struct seen all = {0}, some = {0}, other = {0};
    struct ml_shdict_value v = num_value(1);
    char key[16];

    fresh();
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "%d.", i);
        CHECK(set(key, v, i % 2 ? 5 : 0, 100) == ML_OK);
        CHECK(ml_shdict_set(r, ML_STR("other"), ml_str_of(key), &v, 0, 100) == ML_OK);
    }
    ml_shdict_keys(r, D, 0, 110, see, &all);
    ml_shdict_keys(r, D, 7, 110, see, &some);
    CHECK(all.count == 50 && some.count == 7);
    for (int i = 0; i < 100; i++)
        CHECK(all.key[i] == (i % 2 == 0));
    ml_shdict_clear(r, D);
    all = (struct seen){0};
    ml_shdict_keys(r, D, 0, 110, see, &all);
    ml_shdict_keys(r, ML_STR("other"), 0, 110, see, &other);
    CHECK(all.count == 0 && other.count == 100);
}

static void incr_or_die(const char *key)
{
    double sum, left_s;

    if (ml_shdict_incr(r, D, ml_str_of(key), 1, 0, 0, 1, &sum, &left_s) != ML_OK)
        _exit(1);
}

TEST(processes_that_count_together_lose_nothing)
{
    enum { CHILDREN = 4, TIMES = 50000 };
    pid_t pid[CHILDREN];
    int status;

    fresh();
    for (int c = 0; c < CHILDREN; c++)
        if ((pid[c] = fork()) == 0) {
            for (int i = 0; i < TIMES; i++)
                incr_or_die(i % 2 ? "odd" : "even");
            _exit(0);
        }
    for (int c = 0; c < CHILDREN; c++)
        CHECK(waitpid(pid[c], &status, 0) == pid[c] && status == 0);
    CHECK(is_num(get("odd", 1), CHILDREN * TIMES / 2));
    CHECK(is_num(get("even", 1), CHILDREN * TIMES / 2));
}

/* Everything a worker may do, for ever, on few keys so that locks are nearly always held. */
static void work_until_killed(unsigned seed)
{
    static char text[2000];
    char key[16];

    memset(text, 't', sizeof text);
    alarm(60); /* if the test itself dies */
    for (srandom(seed);;) {
        long what = random() % 8;

        snprintf(key, sizeof key, "%ld", random() % 4);
        if (what < 3)
            set(key, str_value(text, (size_t)(random() % 1500)), 0, 1);
        else if (what == 3)
            set(key, (struct ml_shdict_value){.type = ML_SHDICT_NIL}, 0, 1);
        else if (what == 4)
            ml_shdict_clear(r, D);
        else if (what == 5)
            incr_or_die("n");
        else
            get(key, 1);
    }
}

/* Uses every segment once, which recovers all that died; SIGALRM ends the program if it hangs. */
static void use_everything(void)
{
    char key[16];

    alarm(20);
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof key, "all-%d", i);
        CHECK(set(key, str_value("value", 5), 0, 1) == ML_OK);
        CHECK(is_str(get(key, 1), "value"));
    }
    ml_shdict_clear(r, D);
    CHECK(get("0", 1).type == ML_SHDICT_NIL);
    alarm(0);
}

TEST(killed_processes_leave_no_lock_and_no_torn_table)
{
    enum { ROUNDS = 400, CHILDREN = 3 };

    fresh();
    srandom(7);
    for (int round = 0; round < ROUNDS; round++) {
        pid_t pid[CHILDREN];

        for (int c = 0; c < CHILDREN; c++) {
            if ((pid[c] = fork()) == 0)
                work_until_killed((unsigned)(round * CHILDREN + c));
            CHECK(pid[c] > 0);
        }
        usleep((useconds_t)(500 + random() % 3000));
        for (int c = 0; c < CHILDREN; c++) /* the others go on while one is dead */
            kill(pid[c], SIGKILL);
        for (int c = 0; c < CHILDREN; c++) {
            int status;

            CHECK(waitpid(pid[c], &status, 0) == pid[c]);
            CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        }
        if (round % 10 == 9)
            use_everything();
    }
    use_everything();
}

TEST(a_survivor_goes_on_while_others_are_killed)
{
    enum { KILLS = 300 };
    pid_t survivor;
    int status;

    fresh();
    if ((survivor = fork()) == 0) {
        alarm(60);
        while (get("stop", 1).type == ML_SHDICT_NIL)
            incr_or_die("n"), set("0", str_value("x", 1), 0, 1);
        _exit(0);
    }
    for (int i = 0; i < KILLS; i++) {
        pid_t pid = fork();

        if (pid == 0)
            work_until_killed((unsigned)i);
        usleep((useconds_t)(300 + random() % 1000));
        kill(pid, SIGKILL);
        CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    }
    CHECK(set("stop", num_value(1), 0, 1) == ML_OK);
    CHECK(waitpid(survivor, &status, 0) == survivor && status == 0);
}
