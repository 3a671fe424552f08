/*
 * Log lines go to stderr as "castor: <level>: <sentence>" (with <N> priorities under systemd), or
 * to the sink that an embedding program sets. Log once, at the edge that handles the error.
 * Thread-safe. CASTOR_LOG=error|warning|info|debug chooses the least level (default: warning).
 */
#ifndef CASTOR_BASE_LOG_H
#define CASTOR_BASE_LOG_H

#include "base/compiler.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

typedef void log_sink(void *context, enum log_level level, const char *sentence);

void log_set_level(enum log_level level);
void log_set_sink(log_sink *sink, void *context); /* NULL: stderr */
void log_error(const char *format, ...) PRINTF_LIKE(1, 2);
void log_warning(const char *format, ...) PRINTF_LIKE(1, 2);
void log_info(const char *format, ...) PRINTF_LIKE(1, 2);
void log_debug(const char *format, ...) PRINTF_LIKE(1, 2);

#endif
