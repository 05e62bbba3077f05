/* test_redact.c - no secret of a URL gets into a log, however its name is written. */
#include "base/redact.h"

#include "test.h"

static bool becomes(const char *url, const char *shown)
{
    struct ml_buf out = {0};
    struct ml_str got = ml_redact_url(ml_str_of(url), &out);
    bool same = ml_str_eq(got, ml_str_of(shown));

    if (!same)
        fprintf(stderr, "%s became %.*s\n", url, (int)got.len, got.p);
    ml_buf_release(&out);
    return same;
}

TEST(urls_without_secrets_stay)
{
    CHECK(becomes("/", "/"));
    CHECK(becomes("", ""));
    CHECK(becomes("*", "*"));
    CHECK(becomes("/a?", "/a?"));
    CHECK(becomes("/a?x=1&tokens=2&mytoken=3", "/a?x=1&tokens=2&mytoken=3"));
    CHECK(becomes("/token=1", "/token=1"));
    CHECK(becomes("/a?token", "/a?token"));
    CHECK(becomes("/a?token=", "/a?token="));
}

TEST(values_of_secret_names_are_replaced)
{
    CHECK(becomes("/a?token=abc", "/a?token=[redacted]"));
    CHECK(becomes("/a?x=1&access_token=abc&y=2", "/a?x=1&access_token=[redacted]&y=2"));
    CHECK(becomes("/a?PassWord=a=b;code=7", "/a?PassWord=[redacted];code=[redacted]"));
    CHECK(becomes("/a?%74oken=abc", "/a?%74oken=[redacted]"));
    CHECK(becomes("/a?acc%65ss%5Ftoken=abc#f", "/a?acc%65ss%5Ftoken=[redacted]#f"));
    CHECK(becomes("/a?x?token=1&token=2", "/a?x?token=1&token=[redacted]"));
    CHECK(becomes("/a?token=1&token=2", "/a?token=[redacted]&token=[redacted]"));
    CHECK(becomes("https://b.example/c?sig=1", "https://b.example/c?sig=[redacted]"));
}

TEST(a_user_in_front_of_a_host_is_replaced)
{
    CHECK(becomes("https://u:p@b.example/c", "https://[redacted]@b.example/c"));
    CHECK(becomes("https://b.example/c@d", "https://b.example/c@d"));
    CHECK(becomes("http://u@b.example/?key=1", "http://[redacted]@b.example/?key=[redacted]"));
}

TEST(a_site_adds_names_or_has_only_its_own)
{
    struct ml_str query[] = {ML_STR("Patient")}, header[] = {ML_STR("x-tenant")};

    CHECK(!ml_redact_header(ML_STR("X-Tenant")) && ml_redact_header(ML_STR("Cookie")));
    ml_redact_use(query, 1, header, 1, true);
    CHECK(becomes("/a?patient=7&token=1", "/a?patient=[redacted]&token=[redacted]"));
    CHECK(ml_redact_header(ML_STR("X-Tenant")) && ml_redact_header(ML_STR("cookie")));
    ml_redact_use(query, 1, NULL, 0, false);
    CHECK(becomes("/a?patient=7&token=1", "/a?patient=[redacted]&token=1"));
    CHECK(!ml_redact_header(ML_STR("cookie")));
    ml_redact_use(NULL, 0, NULL, 0, true);
    CHECK(becomes("/a?patient=7&token=1", "/a?patient=7&token=[redacted]"));
}

TEST(fields_of_events_with_plain_names_stay)
{
    CHECK(ml_redact_field(ML_STR("password")) && ml_redact_field(ML_STR("Authorization")));
    CHECK(!ml_redact_field(ML_STR("code")) && !ml_redact_field(ML_STR("key")));
}
