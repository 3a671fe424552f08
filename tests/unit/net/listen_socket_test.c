/* Sockets at paths: one server each, dead ones are replaced, and what is another's stays. */
#include "unit/testing.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/listen_socket.h"

static void one_server_a_path(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	AUTO_FREE char *path = mem_printf("%s/socket", dir);
	struct listen_socket first, second;
	struct err err = ERR_INIT;

	(void)state;
	assert_ok(listen_socket_open(path, &first, &err), &err);
	assert_rc(RC_BUSY, listen_socket_open(path, &second, &err), &err);
	assert_rc(RC_BUSY, listen_socket_open_path(path, &second, &err), &err);
	assert_int_equal(second.fd, -1);
	assert_int_equal(access(path, F_OK), 0);
	/* Its owner dies, and leaves the file. */
	close(first.fd);
	close(first.lock_fd);
	free(first.path);
	assert_ok(listen_socket_open_path(path, &first, &err), &err);
	listen_socket_close(&first);
	assert_int_equal(access(path, F_OK), -1);
}

/* It has no lock, and is alive. */
static void sockets_of_other_programs(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	AUTO_FREE char *path = mem_printf("%s/socket", dir);
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct listen_socket socket_;
	struct err err = ERR_INIT;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	assert_true(fd >= 0 && strlen(path) < sizeof(un.sun_path));
	memcpy(un.sun_path, path, strlen(path));
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_rc(RC_BUSY, listen_socket_open_path(path, &socket_, &err), &err);
	assert_int_equal(access(path, F_OK), 0);
	close(fd);
	assert_ok(listen_socket_open_path(path, &socket_, &err), &err);
	listen_socket_close(&socket_);
}

static void paths(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	AUTO_FREE char *file = mem_printf("%s/file", dir);
	AUTO_FREE char *missing = mem_printf("%s/not/there", dir);
	struct listen_socket socket_;
	struct err err = ERR_INIT;
	char name[200];

	(void)state;
	close(open(file, O_CREAT | O_WRONLY, 0600));
	assert_rc(RC_EXISTS, listen_socket_open_path(file, &socket_, &err), &err);
	assert_int_equal(access(file, F_OK), 0);
	memset(name, 'a', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	assert_rc(RC_INVALID, listen_socket_open_path(name, &socket_, &err), &err);
	assert_rc(RC_INVALID, listen_socket_open_path("", &socket_, &err), &err);
	assert_rc(RC_NOT_FOUND, listen_socket_open_path(missing, &socket_, &err), &err);
	/* A path, whatever it looks like. */
	assert_int_equal(chdir(dir), 0);
	assert_ok(listen_socket_open_path("@name:1", &socket_, &err), &err);
	assert_int_equal(access("@name:1", F_OK), 0);
	listen_socket_close(&socket_);
	assert_int_equal(chdir("/"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_server_a_path),
		cmocka_unit_test(sockets_of_other_programs),
		cmocka_unit_test(paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
