/* child.h - what every process that the supervisor forks does first. */
#ifndef ML_PROCESS_CHILD_H
#define ML_PROCESS_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

/* Forks; log events are flushed first, so that they are written once.  As fork(2). */
pid_t ml_child_fork(void);
/* In the child: closes all descriptors but 0, 1, 2 and those in keep (a negative one is none);
 * forgets the log files of the supervisor; signals are as after exec(2) and not blocked. */
void ml_child_begin(const int *keep, unsigned count);
/* The part of it that is about signals. */
void ml_child_signals(void);
/* In the child: sends it signal when its parent dies, also when that has happened already. */
void ml_child_tie(pid_t parent, int signal);
/* How a process ended, in words: "signal 11 (Segmentation fault)", "exit code 3". */
const char *ml_child_status_text(int status, char *text, unsigned len);

#endif
