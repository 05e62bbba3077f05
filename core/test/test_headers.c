/* test_headers.c - fields keep their order, names have any case, lists fall apart at commas. */
#include "protocol/headers.h"

#include "test.h"

static bool is(const struct ml_field *f, const char *value)
{
    return f != NULL && ml_str_eq(f->value, ml_str_of(value));
}

static const char *const known[] = {"",
#define X(id, name) name,
                                    ML_HEADER_TABLE(X)
#undef X
};

static enum ml_header_id id_of(const char *bytes, size_t len)
{
    char *cliff = test_cliff(bytes, len);
    enum ml_header_id id = ml_header_id((struct ml_str){cliff, len});

    test_cliff_free(cliff, len);
    return id;
}

TEST(each_known_name_has_its_id_in_any_case)
{
    for (int id = 1; id < ML_H_COUNT; id++) {
        char name[32];
        size_t len = strlen(known[id]);

        CHECK((int)id_of(known[id], len) == id);
        for (size_t i = 0; i < len; i++) {
            strcpy(name, known[id]);
            if (name[i] >= 'a' && name[i] <= 'z')
                name[i] = (char)(name[i] - 32);
            CHECK((int)id_of(name, len) == id);
        }
    }
}

/* Their keys are remembered, which must not show. */
TEST(removed_fields_are_gone_and_may_come_again)
{
    struct ml_arena *arena = ml_arena_new();
    struct ml_headers h = {0};

    for (int round = 0; round < 3; round++) {
        CHECK(ml_headers_find(&h, ML_STR("X-One")) == NULL);
        CHECK(ml_headers_get(&h, ML_H_HOST) == NULL);
        ml_headers_add(&h, arena, ML_STR("x-one"), ML_STR("1"));
        ml_headers_set(&h, arena, ML_STR("Host"), ML_STR("h"));
        ml_headers_add(&h, arena, ML_STR("X-ONE"), ML_STR("2"));
        CHECK(is(ml_headers_find(&h, ML_STR("X-one")), "1"));
        CHECK(is(ml_headers_next(&h, ml_headers_find(&h, ML_STR("X-one"))), "2"));
        CHECK(is(ml_headers_get(&h, ML_H_HOST), "h"));
        CHECK(ml_headers_next(&h, ml_headers_get(&h, ML_H_HOST)) == NULL);
        ml_headers_set(&h, arena, ML_STR("X-oNE"), ML_STR("3"));
        CHECK(h.count == 2);
        CHECK(is(ml_headers_find(&h, ML_STR("x-one")), "3"));
        CHECK(ml_headers_remove(&h, ML_STR("X-One")) == 1);
        CHECK(ml_headers_remove(&h, ML_STR("HOST")) == 1);
        CHECK(h.count == 0);
    }
    ml_arena_free(&arena);
}

TEST(many_fields_are_added_at_once)
{
    struct ml_arena *arena = ml_arena_new();
    struct ml_headers h = {0};
    struct ml_field fields[50];
    uint64_t keys = 0;

    for (int i = 0; i < 50; i++) {
        struct ml_str name = ml_arena_printf(arena, "X-%d", i % 49); /* the last is the first */

        fields[i] = (struct ml_field){name, name, ML_H_OTHER};
        keys |= ml_header_key(name);
    }
    ml_headers_add(&h, arena, ML_STR("A"), ML_STR("a"));
    ml_headers_add_all(&h, arena, fields, 50, keys);
    ml_headers_add_all(&h, arena, NULL, 0, 0);
    CHECK(h.count == 51);
    for (int i = 0; i < 50; i++)
        CHECK(is(ml_headers_find(&h, fields[i].name), fields[i].value.p));
    CHECK(ml_headers_next(&h, ml_headers_find(&h, ML_STR("x-0"))) == &h.v[50]);
    CHECK(is(ml_headers_find(&h, ML_STR("a")), "a"));
    ml_arena_free(&arena);
}

/* One byte changed, left out or added: it is another name. */
TEST(what_is_only_similar_is_unknown)
{
    for (int id = 1; id < ML_H_COUNT; id++) {
        char name[32];
        size_t len = strlen(known[id]);

        for (size_t i = 0; i < len; i++)
            for (int c = 0; c < 256; c++) {
                int other;

                strcpy(name, known[id]);
                if (ml_lower((char)c) == name[i])
                    continue;
                name[i] = (char)c;
                other = (int)id_of(name, len);
                CHECK(other == ML_H_OTHER || strncasecmp(known[other], name, len) == 0);
            }
        strcpy(name, known[id]);
        strcat(name, "x");
        CHECK(id_of(name, len + 1) == ML_H_OTHER);
        CHECK((int)id_of(name, len - 1) != id);
    }
    CHECK(id_of("", 0) == ML_H_OTHER);
}

TEST(fields_are_found_in_order)
{
    struct ml_arena *a = ml_arena_new();
    struct ml_headers h = {0};
    struct ml_field *f;

    CHECK(ml_headers_get(&h, ML_H_HOST) == NULL && ml_headers_find(&h, ML_STR("x")) == NULL);
    ml_headers_add(&h, a, ML_STR("X"), ML_STR("1"));
    ml_headers_add(&h, a, ML_STR("Via"), ML_STR("2"));
    ml_headers_add(&h, a, ML_STR("x"), ML_STR("3"));
    ml_headers_add(&h, a, ML_STR("VIA"), ML_STR("4"));
    CHECK(is(f = ml_headers_find(&h, ML_STR("X")), "1"));
    CHECK(is(f = ml_headers_next(&h, f), "3") && ml_headers_next(&h, f) == NULL);
    CHECK(is(f = ml_headers_get(&h, ML_H_VIA), "2"));
    CHECK(is(f = ml_headers_next(&h, f), "4") && ml_headers_next(&h, f) == NULL);
    CHECK(is(ml_headers_find(&h, ML_STR("via")), "2"));
    CHECK(ml_headers_find(&h, ML_STR("y")) == NULL);
    ml_arena_free(&a);
}

TEST(set_leaves_one_field_at_the_first_place)
{
    struct ml_arena *a = ml_arena_new();
    struct ml_headers h = {0};

    ml_headers_set(&h, a, ML_STR("A"), ML_STR("1"));
    ml_headers_add(&h, a, ML_STR("B"), ML_STR("2"));
    ml_headers_add(&h, a, ML_STR("a"), ML_STR("3"));
    ml_headers_add(&h, a, ML_STR("a"), ML_STR("4"));
    ml_headers_add(&h, a, ML_STR("C"), ML_STR("5"));
    ml_headers_set(&h, a, ML_STR("a"), ML_STR("6"));
    CHECK(h.count == 3 && is(&h.v[0], "6") && is(&h.v[1], "2") && is(&h.v[2], "5"));
    CHECK(ml_headers_remove(&h, ML_STR("b")) == 1 && ml_headers_remove(&h, ML_STR("b")) == 0);
    CHECK(h.count == 2 && is(&h.v[1], "5"));
    ml_arena_free(&a);
}

TEST(many_fields_grow_the_array)
{
    struct ml_arena *a = ml_arena_new();
    struct ml_headers h = {0};

    for (int i = 0; i < 1000; i++)
        ml_headers_add(&h, a, ml_arena_printf(a, "x-%d", i), ml_arena_printf(a, "%d", i));
    CHECK(h.count == 1000 && is(ml_headers_find(&h, ML_STR("X-999")), "999"));
    CHECK(is(&h.v[0], "0") && is(&h.v[500], "500"));
    ml_headers_add(&h, a, ML_STR("x-0"), ML_STR("again"));
    CHECK(ml_headers_remove(&h, ML_STR("x-0")) == 2 && h.count == 999 && is(&h.v[0], "1"));
    ml_arena_free(&a);
}

TEST(names_are_tokens_and_values_have_no_controls)
{
    CHECK(ml_header_name_ok(ML_STR("X-a_1")) && !ml_header_name_ok(ML_STR("")));
    CHECK(!ml_header_name_ok(ML_STR_NONE) && !ml_header_name_ok(ML_STR("a b")));
    CHECK(!ml_header_name_ok(ML_STR("a:")) && !ml_header_name_ok(ML_STR("a\r\n")));
    CHECK(!ml_header_name_ok(ML_STR("\xc3\xa4")) && !ml_header_name_ok(ML_STR("a\0b")));
    CHECK(ml_header_value_ok(ML_STR("")) && ml_header_value_ok(ML_STR_NONE));
    CHECK(ml_header_value_ok(ML_STR("a\tb \xc3\xa4")));
    CHECK(!ml_header_value_ok(ML_STR("a\r\nSet-Cookie: x")) && !ml_header_value_ok(ML_STR("a\n")));
    CHECK(!ml_header_value_ok(ML_STR("a\0b")) && !ml_header_value_ok(ML_STR("\x7f")));
}

/* Joins the elements with '|'. */
static bool list_is(const char *text, size_t len, const char *joined)
{
    char *cliff = test_cliff(text, len), out[100] = "";
    struct ml_str rest = {cliff, len}, element;
    size_t n = 0;

    while (ml_list_next(&rest, &element)) {
        memcpy(out + n, element.p, element.len);
        n += element.len;
        out[n++] = '|';
    }
    test_cliff_free(cliff, len);
    return rest.len == 0 && strcmp(out, joined) == 0;
}

#define LIST(text, joined) CHECK(list_is(text, sizeof(text) - 1, joined))

TEST(lists_fall_apart_at_commas)
{
    LIST("", "");
    LIST("a", "a|");
    LIST("a,b", "a|b|");
    LIST(" a b\t,\tc ", "a b|c|");
    LIST(",, ,a,,\t,b,", "a|b|");
    LIST(" ", "");
    LIST(",", "");
}
