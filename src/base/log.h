/*
 * Log lines go to stderr as "castor: <level>: <sentence>" (with <N> priorities under systemd), or
 * to the sink that an embedding program sets. Log once, at the edge that handles the error.
 * Thread-safe. CASTOR_LOG=error|warning|info|debug chooses the least level (default: warning).
 */
#ifndef CASTOR_BASE_LOG_H
#define CASTOR_BASE_LOG_H

#include <stdint.h>

#include "base/clock.h"
#include "base/compiler.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

typedef void log_sink(void *context, enum log_level level, const char *sentence);

void log_set_level(enum log_level level);
void log_set_sink(log_sink *sink, void *context); /* NULL: stderr */
/* For programs that run for long: of the lines of one format, at most so many in each interval (since
 * the first of them, ns) are written; the first one of a later interval says how many were left out.
 * Debug lines are not counted. lines 0 (as at the start): all are written. */
void log_limit_repeats(unsigned lines, int64_t interval_ns);
#define LOG_REPEATS    10
#define LOG_REPEATS_NS (10 * NS_PER_S)

void log_error(const char *format, ...) PRINTF_LIKE(1, 2);
void log_warning(const char *format, ...) PRINTF_LIKE(1, 2);
void log_info(const char *format, ...) PRINTF_LIKE(1, 2);
void log_debug(const char *format, ...) PRINTF_LIKE(1, 2);

#endif
