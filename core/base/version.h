/* version.h - the version of the program, "0.1.0"; CMakeLists.txt says it. */
#ifndef ML_BASE_VERSION_H
#define ML_BASE_VERSION_H

extern const char ml_version[];

#endif
