/*
 * How much of the machine this process may use: what is there, or less where its cgroup (v2), or one
 * around it, has a limit. Read by each call; thread-safe.
 */
#ifndef CASTOR_BASE_MACHINE_H
#define CASTOR_BASE_MACHINE_H

#include <stdint.h>

/* Processors (sched_getaffinity, cpu.max rounded up); at least 1. */
unsigned machine_cpus(void);
/* Bytes of memory (what the kernel has, memory.max); at least 1. */
uint64_t machine_memory(void);

#endif
