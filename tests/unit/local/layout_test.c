/* Who makes a store first, where several begin to. */
#include "testing.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "local/layout.h"

/* Runs once, after the next look for a file that is not there. */
static void (*meanwhile)(void);

/* Instead of libc's. */
int faccessat(int dir_fd, const char *path, int mode, int flags)
{
	void (*run)(void) = meanwhile;
	long rc = syscall(SYS_faccessat2, dir_fd, path, mode, flags);
	int error = errno;

	if (rc != 0 && run) {
		meanwhile = NULL;
		run();
	}
	errno = error;
	return (int)rc;
}

static const char *store;
static int indexes_made;

static enum rc make_index(const struct local_layout *layout, struct err *err)
{
	int fd = openat(layout->dir_fd, "index.mdb", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_errno(err, errno, "index.mdb");
	close(fd);
	indexes_made++;
	return RC_OK;
}

static void open_store(void)
{
	struct local_layout layout;
	struct err err = ERR_INIT;

	assert_ok(local_layout_open(store, LOCAL_LAYOUT_WRITE, NULL, make_index, &layout, &err),
		  &err);
	local_layout_close(&layout);
}

/* Another is faster, after this one has seen that there is no store: then that one is opened. */
static void test_made_meanwhile(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();

	(void)state;
	store = dir;
	meanwhile = open_store;
	open_store();
	assert_null(meanwhile);
	assert_int_equal(indexes_made, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_made_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
