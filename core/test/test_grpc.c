/* test_grpc.c - what is gRPC, the client's deadline, and answers that no server has made. */
#include "inbound/grpc.h"

#include "test.h"

static struct ml_exchange ex;
static struct ml_arena *arena;

static struct ml_request *request(const char *type)
{
    if (arena != NULL)
        ml_arena_free(&arena);
    arena = ml_arena_new();
    ex = (struct ml_exchange){.arena = arena};
    ex.req.major = 2;
    if (type != NULL)
        ml_headers_add(&ex.req.headers, arena, ML_STR("content-type"), ml_str_of(type));
    return &ex.req;
}

static double timeout(const char *value)
{
    struct ml_request *req = request("application/grpc");

    ml_headers_add(&req->headers, arena, ML_STR("grpc-timeout"), ml_str_of(value));
    return ml_grpc_timeout_s(req);
}

TEST(what_is_grpc)
{
    CHECK(ml_grpc_is(request("application/grpc")));
    CHECK(ml_grpc_is(request("Application/gRPC+proto")));
    CHECK(ml_grpc_is(request("application/grpc; x=y")));
    CHECK(!ml_grpc_is(request("application/grpc-web")));
    CHECK(!ml_grpc_is(request("application/json")));
    CHECK(!ml_grpc_is(request(NULL)));
    request("application/grpc")->major = 1;
    CHECK(!ml_grpc_is(&ex.req));
}

TEST(deadlines)
{
    CHECK(timeout("1H") == 3600 && timeout("2M") == 120 && timeout("99999999S") == 99999999);
    CHECK(timeout("100m") > 0.0999 && timeout("100m") < 0.1001);
    CHECK(timeout("1n") == 0.001 && timeout("5u") == 0.001); /* never nothing at all */
    CHECK(timeout("") == 0 && timeout("S") == 0 && timeout("1") == 0 && timeout("1x") == 0);
    CHECK(timeout("123456789S") == 0 && timeout("-1S") == 0 && timeout("1.5S") == 0);
}

TEST(statuses)
{
    static const int pairs[][2] = {{400, 13}, {401, 16}, {403, 7}, {404, 12}, {405, 12}, {408, 4},
                                   {413, 8},  {418, 2},  {429, 8}, {431, 8},  {500, 13}, {501, 12},
                                   {502, 14}, {503, 14}, {504, 4}, {302, 2}};

    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        CHECK(ml_grpc_status(pairs[i][0]) == pairs[i][1]);
}

TEST(whose_answers_are_translated)
{
    request("application/grpc");
    ex.res = (struct ml_response){.status = 403, .from = ML_FROM_SCRIPT};
    CHECK(ml_grpc_translates(&ex));
    ex.res.from = ML_FROM_CORE;
    CHECK(ml_grpc_translates(&ex));
    ex.res.from = ML_FROM_UPSTREAM;
    CHECK(!ml_grpc_translates(&ex));
    ex.res = (struct ml_response){.status = 200, .from = ML_FROM_SCRIPT};
    CHECK(!ml_grpc_translates(&ex));
    request("text/plain");
    ex.res = (struct ml_response){.status = 403, .from = ML_FROM_SCRIPT};
    CHECK(!ml_grpc_translates(&ex));
}

TEST(messages)
{
    static char text[513];

    request("application/grpc");
    ex.res = (struct ml_response){.status = 403, .from = ML_FROM_SCRIPT};
    ex.res.bytes = ML_STR("100 % \xc3\xbc\r\nx\n");
    CHECK(ml_str_eq(ml_grpc_message(&ex), ML_STR("100 %25 %C3%BC%0D%0Ax")));
    ex.res.bytes = (struct ml_str){text, sizeof text}; /* too long for a field */
    CHECK(ml_grpc_message(&ex).len == 0);
    ex.res.from = ML_FROM_CORE;
    ex.notes.why = ML_UP_TIMEOUT;
    CHECK(ml_str_eq(ml_grpc_message(&ex), ML_STR("the upstream did not answer in time")));
    ml_arena_free(&arena);
}
