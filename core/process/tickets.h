/* tickets.h - the keys of session tickets: in memory that the supervisor shares with its workers.
 *
 * The supervisor replaces the key every hour; what was sealed with one of the two before it can
 * still be opened.  Nothing is ever written to a disk, so that a key that is gone is gone. */
#ifndef ML_PROCESS_TICKETS_H
#define ML_PROCESS_TICKETS_H

enum { ML_TICKETS_ROTATE_S = 3600 };

/* Before the first fork. */
void ml_tickets_open(void);
/* In the supervisor, and nowhere else: a new key. */
void ml_tickets_rotate(void);
void ml_tickets_close(void);

#endif
