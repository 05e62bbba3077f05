/* version.c - built with ML_VERSION from the project() of CMakeLists.txt. */
#include "base/version.h"

#ifndef ML_VERSION
#define ML_VERSION "unknown"
#endif

const char ml_version[] = ML_VERSION;
