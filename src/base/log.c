/*
 * Log lines. The lock guards the sink, its context and the counts of repeats, and is held while a sink
 * runs, so that once log_set_sink returns the old one is not called any more.
 */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/text.h"

enum { SENTENCE_MAX = 4096, LEVEL_UNSET = -1, COUNTED_FORMATS = 64 };

struct repeats {
	const char *format;
	int64_t since_ns;
	unsigned lines, left_out;
};

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARNING] = "warning",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};
/* syslog(3)'s numbers */
static const int level_priorities[] = {
	[LOG_LEVEL_ERROR] = 3,
	[LOG_LEVEL_WARNING] = 4,
	[LOG_LEVEL_INFO] = 6,
	[LOG_LEVEL_DEBUG] = 7,
};

static atomic_int chosen_level = LEVEL_UNSET;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static log_sink *chosen_sink;
static void *chosen_context;
static struct repeats counted[COUNTED_FORMATS];
static unsigned repeats_max;
static int64_t repeats_ns;

static int level_from_environment(void)
{
	const char *wanted = getenv("CASTOR_LOG");

	for (size_t i = 0; wanted && i < ARRAY_LEN(level_names); i++)
		if (strcmp(wanted, level_names[i]) == 0)
			return (int)i;
	return LOG_LEVEL_WARNING;
}

static bool is_wanted(enum log_level level)
{
	int least = atomic_load_explicit(&chosen_level, memory_order_relaxed);

	if (least == LEVEL_UNSET) {
		least = level_from_environment();
		atomic_store_explicit(&chosen_level, least, memory_order_relaxed);
	}
	return (int)level <= least;
}

/* systemd.exec(5): JOURNAL_STREAM is the device and inode of the stream that is the journal. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char mine[64];
	struct stat st;

	if (!stream || fstat(STDERR_FILENO, &st) != 0)
		return false;
	snprintf(mine, sizeof(mine), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	return strcmp(stream, mine) == 0;
}

static void write_to_stderr(enum log_level level, const char *sentence)
{
	CLEANUP(buf_release) struct buf line = BUF_INIT;

	if (stderr_is_journal())
		buf_printf(&line, "<%d>", level_priorities[level]);
	buf_printf(&line, "castor: %s: ", level_names[level]);
	/* Names come from anywhere: none of them may forge a line or drive a terminal. */
	text_printable(view_of_string(sentence), &line);
	buf_append_byte(&line, '\n');
	/* One call, so that lines of several processes do not mix; nothing helps if it fails. */
	while (write(STDERR_FILENO, line.ptr, line.len) < 0 && errno == EINTR)
		;
}

/* Under the lock. False: one line too many. *left_out: how many were, before this one. */
static bool may_repeat(const char *format, unsigned *left_out)
{
	/* One that displaces another only lets more lines through. */
	struct repeats *repeats = &counted[(uintptr_t)format / 8 % COUNTED_FORMATS];
	int64_t now = clock_monotonic_ns();

	if (repeats->format != format)
		*repeats = (struct repeats){ .format = format, .since_ns = now };
	if (now - repeats->since_ns >= repeats_ns) {
		*left_out = repeats->left_out;
		*repeats = (struct repeats){ .format = format, .since_ns = now };
	}
	if (repeats->lines == repeats_max) {
		repeats->left_out++;
		return false;
	}
	repeats->lines++;
	return true;
}

static void log_write(enum log_level level, const char *format, va_list args) PRINTF_LIKE(2, 0);

static void log_write(enum log_level level, const char *format, va_list args)
{
	int saved = errno;
	char sentence[SENTENCE_MAX];
	unsigned left_out = 0;

	if (!is_wanted(level))
		return;
	pthread_mutex_lock(&lock);
	if (repeats_max == 0 || level == LOG_LEVEL_DEBUG || may_repeat(format, &left_out)) {
		int len = vsnprintf(sentence, sizeof(sentence), format, args);

		if (left_out > 0 && len >= 0 && (size_t)len < sizeof(sentence))
			snprintf(sentence + len, sizeof(sentence) - (size_t)len,
				 " (%u lines like this one were left out)", left_out);
		if (chosen_sink)
			chosen_sink(chosen_context, level, sentence);
		else
			write_to_stderr(level, sentence);
	}
	pthread_mutex_unlock(&lock);
	errno = saved;
}

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&chosen_level, (int)level, memory_order_relaxed);
}

void log_set_sink(log_sink *sink, void *context)
{
	pthread_mutex_lock(&lock);
	chosen_sink = sink;
	chosen_context = context;
	pthread_mutex_unlock(&lock);
}

void log_limit_repeats(unsigned lines, int64_t interval_ns)
{
	pthread_mutex_lock(&lock);
	repeats_max = lines;
	repeats_ns = interval_ns;
	memset(counted, 0, sizeof(counted));
	pthread_mutex_unlock(&lock);
}

void log_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_write(LOG_LEVEL_ERROR, format, args);
	va_end(args);
}

void log_warning(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_write(LOG_LEVEL_WARNING, format, args);
	va_end(args);
}

void log_info(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_write(LOG_LEVEL_INFO, format, args);
	va_end(args);
}

void log_debug(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_write(LOG_LEVEL_DEBUG, format, args);
	va_end(args);
}
