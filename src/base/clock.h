#ifndef CASTOR_BASE_CLOCK_H
#define CASTOR_BASE_CLOCK_H

#include <stdint.h>

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S  INT64_C(1000000000)

int64_t clock_monotonic_ns(void);
int64_t clock_realtime_ns(void);
/* Days since 1970-01-01, UTC. */
uint32_t clock_day(void);
void clock_sleep_ns(int64_t ns);

#endif
