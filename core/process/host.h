/* host.h - what the supervisor asks of the machine when it starts. */
#ifndef ML_PROCESS_HOST_H
#define ML_PROCESS_HOST_H

/* Processors that this process may use. */
unsigned ml_host_cpus(void);
/* How many workers there will be: asked, or else what the site says, or else one per processor. */
unsigned ml_host_workers(unsigned asked, unsigned site);
/* As many descriptors as the hard limit allows. */
void ml_host_raise_files(void);
/* The signals that mean something come through this descriptor from now on; -1 with errno. */
int ml_host_signals(void);

#endif
