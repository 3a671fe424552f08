/* Lists of processors as the kernel writes them in /sys: "0-3,8". */
#ifndef CASTOR_TRANSPORT_CPU_LIST_H
#define CASTOR_TRANSPORT_CPU_LIST_H

#include "base/buf.h"
#include "base/err.h"

/* How many processors the list names. RC_INVALID. */
enum rc cpu_list_parse(struct view text, unsigned *count, struct err *err) MUST_USE;
enum rc cpu_list_read(const char *path, unsigned *count, struct err *err) MUST_USE;

#endif
