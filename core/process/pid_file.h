/* pid_file.h - a file with the id of the process that serves, for whoever wants to signal it. */
#ifndef ML_PROCESS_PID_FILE_H
#define ML_PROCESS_PID_FILE_H

/* Replaces it in one step; what goes wrong is logged.  path may be NULL: there is none. */
void ml_pid_file_write(const char *path);
/* Unless another process has written its own meanwhile. */
void ml_pid_file_remove(const char *path);

#endif
