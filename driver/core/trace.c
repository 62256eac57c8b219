// SPDX-License-Identifier: GPL-2.0
/* The trace points themselves. */
#define CREATE_TRACE_POINTS
#include "trace.h"
