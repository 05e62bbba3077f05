/* jwt.c - header, signature, claims, in this order. */
#include "base/jwt.h"

#include "base/json_scan.h"

#include <math.h>

struct claims { /* one pass over the payload */
    const struct ml_jwt_rules *rules;
    double exp, nbf, iat;
    uint32_t seen; /* bits of rules->required */
    bool issuer_ok, audience_ok, subject_ok, rejected, bad;
};

/* ---- strings against lists ---- */

static bool is_same(struct ml_str text, struct ml_str want)
{
    struct ml_buf out = {0};
    bool same;

    if (memchr(text.p, '\\', text.len) == NULL)
        return ml_str_eq(text, want);
    ml_json_unescape(&out, text);
    same = ml_str_eq(ml_buf_str(&out), want);
    ml_buf_release(&out);
    return same;
}

static bool is_one_of(struct ml_str text, struct ml_jwt_list list)
{
    for (unsigned i = 0; i < list.count; i++)
        if (is_same(text, list.v[i]))
            return true;
    return false;
}

/* ---- claims ---- */

static void on_number(struct claims *c, const struct ml_json_item *item, double *value)
{
    if (item->kind != ML_JSON_NUMBER || !ml_json_number(item->text, value))
        c->bad = true;
}

static void on_audience(void *ctx, const struct ml_json_item *item)
{
    struct claims *c = ctx;

    if (item->kind != ML_JSON_STRING)
        c->bad = true;
    else if (is_one_of(item->text, c->rules->audiences))
        c->audience_ok = true;
}

static void on_text(struct claims *c, const struct ml_json_item *item, struct ml_jwt_list want,
                    bool *ok)
{
    if (item->kind != ML_JSON_STRING)
        c->bad = true;
    else
        *ok = is_one_of(item->text, want);
}

static void on_registered(struct claims *c, const struct ml_json_item *item)
{
    const struct ml_jwt_rules *rules = c->rules;
    const struct ml_jwt_list subject = {&rules->subject, 1}, nothing = {NULL, 0};
    bool ignored;

    if (ml_str_eq(item->name, ML_STR("exp")))
        on_number(c, item, &c->exp);
    else if (ml_str_eq(item->name, ML_STR("nbf")))
        on_number(c, item, &c->nbf);
    else if (ml_str_eq(item->name, ML_STR("iat")))
        on_number(c, item, &c->iat);
    else if (ml_str_eq(item->name, ML_STR("iss")))
        on_text(c, item, rules->issuers, &c->issuer_ok);
    else if (ml_str_eq(item->name, ML_STR("sub")))
        on_text(c, item, subject, &c->subject_ok);
    else if (ml_str_eq(item->name, ML_STR("jti")))
        on_text(c, item, nothing, &ignored);
    else if (!ml_str_eq(item->name, ML_STR("aud")))
        return;
    else if (item->kind == ML_JSON_ARRAY)
        ml_json_scan(item->text, ML_JSON_ARRAY, on_audience, c);
    else
        on_audience(c, item);
}

/* Names under which issuers say what a token is for; registered is only typ of the header. */
static bool names_type(struct ml_str name)
{
    return ml_str_eq(name, ML_STR("typ")) || ml_str_eq(name, ML_STR("type")) ||
           ml_str_eq(name, ML_STR("token_type")) || ml_str_eq(name, ML_STR("token_use"));
}

static void on_claim(void *ctx, const struct ml_json_item *item)
{
    struct claims *c = ctx;
    struct ml_jwt_list required = c->rules->required;

    for (unsigned i = 0; i < required.count && item->kind != ML_JSON_NULL; i++)
        if (ml_str_eq(item->name, required.v[i]))
            c->seen |= 1u << i;
    if (item->name.len == 3)
        on_registered(c, item);
    if (item->kind == ML_JSON_STRING && names_type(item->name))
        c->rejected |= is_one_of(item->text, c->rules->reject_types);
}

static enum ml_jwt_code check_rules(const struct claims *c)
{
    const struct ml_jwt_rules *rules = c->rules;

    if (c->rejected)
        return ML_JWT_TYPE;
    for (unsigned i = 0; i < rules->required.count; i++)
        if ((c->seen & 1u << i) == 0)
            return ML_JWT_REQUIRED;
    if (rules->issuers.count > 0 && !c->issuer_ok)
        return ML_JWT_ISSUER;
    if (rules->audiences.count > 0 && !c->audience_ok)
        return ML_JWT_AUDIENCE;
    if (rules->subject.len > 0 && !c->subject_ok)
        return ML_JWT_SUBJECT;
    return ML_JWT_OK;
}

static enum ml_jwt_code check_claims(const struct ml_jwt_rules *rules, struct ml_str payload,
                                     double now_s, struct ml_jwt_times *times)
{
    struct claims c = {.rules = rules, .exp = INFINITY, .nbf = -INFINITY};

    if (!ml_json_scan(payload, ML_JSON_OBJECT, on_claim, &c))
        return ML_JWT_MALFORMED;
    if (c.bad)
        return ML_JWT_CLAIM;
    times->from = c.nbf - rules->leeway_s;
    times->until = c.exp + rules->leeway_s;
    if (!(now_s < times->until))
        return ML_JWT_EXPIRED;
    if (now_s < times->from)
        return ML_JWT_EARLY;
    return check_rules(&c);
}

/* ---- the token ---- */

/* RFC 7519 section 5.1, RFC 9068 section 2.1: "application/" may be left out, case does not
 * matter. */
static bool type_ok(struct ml_str typ)
{
    const struct ml_str prefix = ML_STR("application/");

    if (typ.len > prefix.len && ml_str_ieq((struct ml_str){typ.p, prefix.len}, prefix))
        typ = (struct ml_str){typ.p + prefix.len, typ.len - prefix.len};
    return typ.len == 0 || ml_str_ieq(typ, ML_STR("JWT")) || ml_str_ieq(typ, ML_STR("at+jwt"));
}

enum ml_jwt_code ml_jwt_verify(struct ml_jwks *keys, const struct ml_jwt_rules *rules,
                               struct ml_str token, double now_s, struct ml_jws *jws,
                               struct ml_jwt_times *times)
{
    enum ml_jwt_code code = ml_jws_read(token, jws);

    if (code != ML_JWT_OK)
        return code;
    if ((rules->algs & ML_JWA_BIT(jws->alg)) == 0)
        return ML_JWT_ALG;
    if (!type_ok(jws->typ))
        return ML_JWT_TYPE;
    if (ml_jwks_count(keys) == 0)
        return ML_JWT_NO_KEYS;
    code = ml_jwks_verify(keys, jws);
    if (code != ML_JWT_OK)
        return code;
    return check_claims(rules, jws->payload, now_s, times);
}
