/* helper.c - the thread, and two lists under one lock.
 *
 *   ml_helper_start -> waiting --thread: run--> ran --async event: finish--> its owner
 *
 * The thread is started by the first job of the process and stays.  The event is on the loop only
 * while there are jobs, all of which belong to the same loop, so that a loop can be freed. */
#include "transport/helper.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>

struct list {
    struct ml_job *first, **last;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER, over = PTHREAD_COND_INITIALIZER;
static struct list waiting, ran; /* under lock */
static ev_async event;           /* the rest is the loop's thread's */
static struct ev_loop *on;
static unsigned jobs;
static bool has_thread;

static void put(struct list *list, struct ml_job *job)
{
    if (list->first == NULL)
        list->last = &list->first;
    job->next = NULL;
    *list->last = job;
    list->last = &job->next;
}

static struct ml_job *take(struct list *list)
{
    struct ml_job *job = list->first;

    if (job != NULL)
        list->first = job->next;
    return job;
}

static void *work(void *arg)
{
    pthread_mutex_lock(&lock);
    for (;;) {
        struct ml_job *job = take(&waiting);

        if (job == NULL) {
            pthread_cond_wait(&wake, &lock);
            continue;
        }
        pthread_mutex_unlock(&lock);
        job->run(job);
        pthread_mutex_lock(&lock);
        put(&ran, job);
        pthread_cond_signal(&over);
        ev_async_send(on, &event); /* the loop lives: it has jobs */
    }
    return arg;
}

/* Signals are for the loop. */
static bool start_thread(void)
{
    sigset_t all, before;
    pthread_t thread;
    bool good;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    good = pthread_create(&thread, NULL, work, NULL) == 0 && pthread_detach(thread) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return good;
}

static struct ml_job *next_ran(void)
{
    struct ml_job *job;

    pthread_mutex_lock(&lock);
    job = take(&ran);
    pthread_mutex_unlock(&lock);
    return job;
}

static void on_event(struct ev_loop *loop, ev_async *w, int revents)
{
    struct ml_job *job;

    (void)revents;
    while ((job = next_ran()) != NULL) {
        if (--jobs == 0) {
            ev_async_stop(loop, w);
            on = NULL;
        }
        job->finish(job); /* may start another */
    }
}

bool ml_helper_start(struct ml_loop *loop, struct ml_job *job)
{
    assert(on == NULL || on == ml_loop_ev(loop));
    if (jobs == ML_HELPER_JOBS_MAX)
        return false;
    if (!has_thread && !(has_thread = start_thread()))
        return false;
    if (jobs++ == 0) {
        ev_async_init(&event, on_event);
        on = ml_loop_ev(loop);
        ev_async_start(on, &event);
    }
    pthread_mutex_lock(&lock);
    put(&waiting, job);
    pthread_cond_signal(&wake);
    pthread_mutex_unlock(&lock);
    return true;
}

bool ml_helper_wait(struct ml_loop *loop)
{
    if (jobs == 0 || on != ml_loop_ev(loop))
        return false;
    pthread_mutex_lock(&lock);
    while (ran.first == NULL)
        pthread_cond_wait(&over, &lock);
    pthread_mutex_unlock(&lock);
    return true;
}
