/* cli_top.c - `moonlatch top`: two pages of metrics and the time between them, shown again and
 * again.
 *
 * A terminal gets one picture after the other, and is left as it was; everything else gets one. */
#include "process/cli_parts.h"

#include "base/clock.h"
#include "base/json.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <termios.h>
#include <unistd.h>

enum { PERIOD_MS = 2000, ONCE_MS = 1000 };
static const double TIMEOUT_S = 10;

static volatile sig_atomic_t ended;

struct sample {
    struct ml_buf metrics, status;
    double at_s;
};

static void on_signal(int number)
{
    (void)number;
    ended = 1;
}

static bool take(const char *path, struct sample *s, struct ml_buf *why)
{
    ml_buf_release(&s->metrics);
    ml_buf_release(&s->status);
    if (ml_control_ask(path, "call metrics", TIMEOUT_S, &s->metrics, why) == ML_CONTROL_OK &&
        ml_control_ask(path, "call status", TIMEOUT_S, &s->status, why) == ML_CONTROL_OK) {
        s->at_s = ml_clock_mono_s();
        return true;
    }
    if (ml_buf_len(why) == 0)
        ml_buf_append(why, ML_STR("the gateway does not answer"));
    return false;
}

static void pack(struct ml_buf *json, const struct sample *before, const struct sample *after)
{
    ml_buf_printf(json, "{\"seconds\":%.3f,\"before\":", after->at_s - before->at_s);
    ml_json_string(json, ml_buf_str(&before->metrics));
    ml_buf_append(json, ML_STR(",\"after\":"));
    ml_json_string(json, ml_buf_str(&after->metrics));
    ml_buf_append(json, ML_STR(",\"statusBefore\":"));
    ml_buf_append(json, ml_buf_str(&before->status));
    ml_buf_append(json, ML_STR(",\"status\":"));
    ml_buf_append(json, ml_buf_str(&after->status));
    ml_buf_append(json, ML_STR("}"));
}

static int picture(const struct ml_cli_args *args, const struct sample *before,
                   const struct sample *after)
{
    struct ml_buf json = {0};
    const char *function = args->options[ML_OPTION_JSON] != NULL ? "top_json" : "top";
    int code;

    pack(&json, before, after);
    code = ml_cli_show(stdout, function, ml_buf_str(&json), ML_CLI_DONE);
    ml_buf_release(&json);
    fflush(stdout);
    return code;
}

/* False: the person, or a signal, wants the end. */
static bool rest(int ms, bool keys)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    int n = poll(&p, keys ? 1 : 0, ms);
    char key = 0;

    if (n < 0 || ended)
        return errno == EINTR && !ended;
    if (n > 0 && (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q'))
        return false;
    return true;
}

static int run(const struct ml_cli_args *args, const char *path, bool terminal)
{
    struct sample samples[2] = {{{0}, {0}, 0}, {{0}, {0}, 0}};
    struct ml_buf why = {0};
    int code = ML_CLI_DONE, now = 0;
    bool ok = take(path, &samples[0], &why);

    while (ok && code == ML_CLI_DONE && rest(terminal ? PERIOD_MS : ONCE_MS, terminal)) {
        now = !now;
        ok = take(path, &samples[now], &why);
        if (ok && terminal)
            fputs("\033[H\033[J", stdout);
        if (ok)
            code = picture(args, &samples[!now], &samples[now]);
        if (!terminal)
            break;
    }
    for (int i = 0; i < 2; i++) {
        ml_buf_release(&samples[i].metrics);
        ml_buf_release(&samples[i].status);
    }
    if (!ok)
        return ml_cli_complain(&why, ML_CLI_NOT_RUNNING);
    ml_buf_release(&why);
    return code;
}

static int run_in_terminal(const struct ml_cli_args *args, const char *path)
{
    struct sigaction act = {.sa_handler = on_signal};
    struct termios before, raw;
    int code;

    if (tcgetattr(STDIN_FILENO, &before) != 0)
        return run(args, path, false);
    raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    fputs("\033[?1049h", stdout); /* a screen of its own */
    code = run(args, path, true);
    fputs("\033[?1049l", stdout);
    fflush(stdout);
    tcsetattr(STDIN_FILENO, TCSANOW, &before);
    return code;
}

int ml_cli_top(const struct ml_cli_args *args)
{
    bool plain = args->options[ML_OPTION_ONCE] != NULL || args->options[ML_OPTION_JSON] != NULL;
    struct ml_buf why = {0};
    char path[ML_CONTROL_PATH_MAX];
    int code = ml_cli_find(args, args->dir, path, &why);

    if (code != ML_CLI_DONE)
        return ml_cli_complain(&why, code);
    if (plain || !isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO))
        return run(args, path, false);
    return run_in_terminal(args, path);
}
