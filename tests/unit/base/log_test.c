#include "unit/testing.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

struct heard {
	int count;
	enum log_level level;
	char sentence[256];
};

static void hear(void *context, enum log_level level, const char *sentence)
{
	struct heard *heard = context;

	heard->count++;
	heard->level = level;
	snprintf(heard->sentence, sizeof(heard->sentence), "%s", sentence);
}

static void a_sink_hears(void **state)
{
	struct heard heard = { .count = 0 };

	(void)state;
	log_set_level(LOG_LEVEL_INFO);
	log_set_sink(hear, &heard);
	errno = ENOTTY;
	log_info("found %d of %s", 3, "x");
	assert_int_equal(errno, ENOTTY);
	assert_int_equal(heard.count, 1);
	assert_int_equal(heard.level, LOG_LEVEL_INFO);
	assert_string_equal(heard.sentence, "found 3 of x");
	log_debug("not this");
	assert_int_equal(heard.count, 1);
	log_error("but this");
	log_warning("and this");
	assert_int_equal(heard.count, 3);
	log_set_level(LOG_LEVEL_ERROR);
	log_warning("not this");
	assert_int_equal(heard.count, 3);
	log_set_sink(NULL, NULL);
}

/* What log_error writes to stderr; with JOURNAL_STREAM naming it, if asked. */
static void capture(struct buf *out, bool journal, const char *sentence)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	AUTO_FREE char *path = mem_printf("%s/stderr", dir);
	AUTO_FD int before = dup(STDERR_FILENO);
	AUTO_FD int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct err err = ERR_INIT;
	struct stat st;

	assert_true(before >= 0 && fd >= 0);
	if (journal) {
		AUTO_FREE char *stream = NULL;

		assert_int_equal(fstat(fd, &st), 0);
		stream = mem_printf("%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
		setenv("JOURNAL_STREAM", stream, 1);
	}
	dup2(fd, STDERR_FILENO);
	log_error("%s", sentence);
	dup2(before, STDERR_FILENO);
	unsetenv("JOURNAL_STREAM");
	assert_ok(file_read_path(AT_FDCWD, path, 1 << 16, out, &err), &err);
}

static void stderr_gets_lines(void **state)
{
	CLEANUP(buf_release) struct buf text = BUF_INIT;

	(void)state;
	log_set_level(LOG_LEVEL_WARNING);
	capture(&text, false, "plain");
	assert_string_equal(buf_string(&text), "castor: error: plain\n");
	buf_clear(&text);
	capture(&text, true, "plain");
	assert_string_equal(buf_string(&text), "<3>castor: error: plain\n");
	buf_clear(&text);
	/* A name cannot forge a second line, nor drive the terminal. */
	capture(&text, false, "x\ncastor: info: y\x1b[2J");
	assert_string_equal(buf_string(&text), "castor: error: x\\x0acastor: info: y\\x1b[2J\n");
}

static void *talk(void *arg)
{
	(void)arg;
	for (int i = 0; i < 2000; i++)
		log_error("%d", i);
	return NULL;
}

static void many_threads(void **state)
{
	struct heard heard = { .count = 0 };
	pthread_t threads[4];

	(void)state;
	log_set_level(LOG_LEVEL_WARNING);
	log_set_sink(hear, &heard);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, talk, NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(heard.count, 8000);
	log_set_sink(NULL, NULL);
}

static void complain(int i)
{
	log_error("this, the %d. time", i);
}

static void repeats_are_left_out(void **state)
{
	struct heard heard = { .count = 0 };
	int64_t begin;

	(void)state;
	log_set_level(LOG_LEVEL_DEBUG);
	log_set_sink(hear, &heard);
	log_limit_repeats(3, 3600 * NS_PER_S);
	for (int i = 0; i < 100; i++)
		complain(i);
	assert_int_equal(heard.count, 3);
	assert_string_equal(heard.sentence, "this, the 2. time");
	/* Others are counted by themselves; debugging is not counted. */
	log_warning("that");
	assert_int_equal(heard.count, 4);
	for (int i = 0; i < 5; i++)
		log_debug("again");
	assert_int_equal(heard.count, 9);

	heard.count = 0;
	begin = clock_monotonic_ns();
	log_limit_repeats(1, 200 * NS_PER_MS);
	complain(1);
	complain(2);
	complain(3);
	/* On a machine that stood still meanwhile, nothing was left out. */
	if (clock_monotonic_ns() - begin < 200 * NS_PER_MS)
		assert_int_equal(heard.count, 1);
	clock_sleep_ns(200 * NS_PER_MS);
	complain(4);
	if (heard.count == 2)
		assert_string_equal(heard.sentence,
				    "this, the 4. time (2 lines like this one were left out)");
	clock_sleep_ns(200 * NS_PER_MS);
	complain(5);
	assert_string_equal(heard.sentence, "this, the 5. time");

	heard.count = 0;
	log_limit_repeats(0, 0);
	for (int i = 0; i < 100; i++)
		complain(i);
	assert_int_equal(heard.count, 100);
	log_set_sink(NULL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sink_hears),
		cmocka_unit_test(stderr_gets_lines),
		cmocka_unit_test(many_threads),
		cmocka_unit_test(repeats_are_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
