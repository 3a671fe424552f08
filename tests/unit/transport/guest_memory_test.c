/* Tables of guest memory: what is refused, what is found, and what stays mapped. */
#include "unit/testing.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include "transport/guest_fault.h"
#include "transport/guest_memory.h"

enum { PAGE = 4096, FILE_PAGES = 16 };

static int make_file(void)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, FILE_PAGES * PAGE), 0);
	for (uint8_t i = 0; i < FILE_PAGES; i++)
		assert_int_equal(pwrite(fd, &i, 1, i * PAGE), 1);
	return fd;
}

static enum rc add(struct guest_memory **memory, struct guest_region region, int fd,
		   struct err *err)
{
	struct guest_memory *longer;
	enum rc rc = guest_memory_with(*memory, &region, fd, &longer, err);
	if (rc != RC_OK) {
		assert_null(longer);
		return rc;
	}
	guest_memory_unref(*memory);
	*memory = longer;
	return RC_OK;
}

static void pieces(void **state)
{
	(void)state;
	struct err err = ERR_INIT;
	int fd = make_file();
	struct guest_memory *memory = guest_memory_new();
	size_t len = 1;
	assert_null(guest_memory_piece(memory, 0, &len));
	/* Added out of order: [8,10) pages of the guest, [4,8), and [12,13). */
	assert_ok(add(&memory, (struct guest_region){ 8 * PAGE, 2 * PAGE, 0x800000, 0 }, fd, &err),
		  &err);
	assert_ok(add(&memory, (struct guest_region){ 4 * PAGE, 4 * PAGE, 0x400000, 4 * PAGE + 16 },
		      fd, &err),
		  &err);
	assert_ok(add(&memory, (struct guest_region){ 12 * PAGE, PAGE, 0x100000, 9 * PAGE }, fd,
		      &err),
		  &err);
	assert_int_equal(guest_memory_regions(memory), 3);

	len = 3 * PAGE;
	uint8_t *at = guest_memory_piece(memory, 7 * PAGE, &len);
	assert_non_null(at);
	assert_int_equal(len, PAGE); /* cut where the region ends */
	assert_int_equal(at[PAGE - 16], 8);
	len = SIZE_MAX;
	at = guest_memory_piece(memory, 8 * PAGE, &len);
	assert_int_equal(len, 2 * PAGE);
	assert_int_equal(at[PAGE], 1);
	len = 1;
	assert_null(guest_memory_piece(memory, 4 * PAGE - 1, &len));
	assert_null(guest_memory_piece(memory, 10 * PAGE, &len));
	assert_null(guest_memory_piece(memory, 11 * PAGE, &len));
	assert_null(guest_memory_piece(memory, 13 * PAGE, &len));
	assert_null(guest_memory_piece(memory, UINT64_MAX, &len));
	len = 0;
	assert_null(guest_memory_piece(memory, 8 * PAGE, &len));

	at = guest_memory_at_user(memory, 0x100000, PAGE);
	assert_non_null(at);
	assert_int_equal(*at, 9);
	assert_null(guest_memory_at_user(memory, 0x100000, PAGE + 1));
	assert_null(guest_memory_at_user(memory, 0x100001, PAGE));
	assert_null(guest_memory_at_user(memory, 0xfffff, 1));
	assert_null(guest_memory_at_user(memory, 0x100000, SIZE_MAX));
	guest_memory_unref(memory);
	close(fd);
}

static void refusals(void **state)
{
	(void)state;
	struct err err = ERR_INIT;
	int fd = make_file();
	struct guest_memory *memory = guest_memory_new();
	assert_ok(add(&memory, (struct guest_region){ 4 * PAGE, 4 * PAGE, 0x400000, 0 }, fd, &err),
		  &err);
	const struct guest_region bad[] = {
		{ 0, 0, 0, 0 },
		{ UINT64_MAX - 10, 11 + PAGE, 0, 0 },
		{ 0, PAGE, UINT64_MAX - 10, 0 },
		{ 0, PAGE, 0, UINT64_MAX - 10 },
		{ 0, UINT64_MAX, 0, 0 },
		{ 0, PAGE, 0, INT64_MAX - PAGE },
		{ 7 * PAGE, PAGE, 0x100000, 0 },     /* where another is */
		{ 3 * PAGE, 6 * PAGE, 0x100000, 0 }, /* around another */
		{ 0, PAGE, 0x400000 + PAGE, 0 },     /* for the front-end */
		{ 0, PAGE, 0, FILE_PAGES * PAGE },   /* past the file */
		{ 0, 2 * PAGE, 0, (FILE_PAGES - 1) * PAGE },
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_rc(RC_INVALID, add(&memory, bad[i], fd, &err), &err);
	assert_rc(RC_IO, add(&memory, (struct guest_region){ 0, PAGE, 0, 0 }, -1, &err), &err);
	assert_int_equal(guest_memory_regions(memory), 1);
	for (uint64_t i = 1; i < GUEST_REGIONS_MAX; i++)
		assert_ok(
			add(&memory, (struct guest_region){ i << 20, PAGE, i << 30, 0 }, fd, &err),
			&err);
	assert_rc(RC_TOO_LARGE, add(&memory, (struct guest_region){ 0, PAGE, 0, 0 }, fd, &err),
		  &err);
	guest_memory_unref(memory);
	close(fd);
}

static void what_is_held_stays(void **state)
{
	(void)state;
	struct err err = ERR_INIT;
	int fd = make_file();
	struct guest_memory *memory = guest_memory_new();
	const struct guest_region region = { 4 * PAGE, 4 * PAGE, 0x400000, 0 };
	assert_ok(add(&memory, region, fd, &err), &err);
	close(fd);
	struct guest_memory *without;
	const struct guest_region other = { 4 * PAGE, 3 * PAGE, 0x400000, 0 };
	assert_rc(RC_NOT_FOUND, guest_memory_without(memory, &other, &without, &err), &err);
	assert_null(without);
	assert_ok(guest_memory_without(memory, &region, &without, &err), &err);
	size_t len = 1;
	assert_null(guest_memory_piece(without, 4 * PAGE, &len));
	guest_memory_unref(without);
	uint8_t *at = guest_memory_piece(memory, 5 * PAGE, &len);
	assert_int_equal(*at, 1);
	guest_memory_unref(memory);
}

/* No SIGBUS: zeros, in the place of that mapping alone. */
static void becomes_shorter(void **state)
{
	(void)state;
	struct err err = ERR_INIT;
	int fd = make_file();
	struct guest_memory *memory = guest_memory_new();
	struct guest_memory *other = guest_memory_new();
	const struct guest_region all = { 0, FILE_PAGES * PAGE, 0x400000, 0 };
	guest_fault_install(); /* each test begins with cmocka's */
	assert_ok(add(&memory, all, fd, &err), &err);
	assert_ok(add(&other, (struct guest_region){ 0, 4 * PAGE, 0x400000, 0 }, fd, &err), &err);
	size_t len = all.size, other_len = 4 * PAGE;
	volatile uint8_t *at = guest_memory_piece(memory, 0, &len);
	volatile uint8_t *other_at = guest_memory_piece(other, 0, &other_len);
	assert_int_equal(at[9 * PAGE], 9);
	assert_int_equal(ftruncate(fd, 4 * PAGE), 0);
	assert_false(guest_memory_lost(memory)); /* nobody has touched it */
	assert_int_equal(at[9 * PAGE + 5], 0);
	assert_true(guest_memory_lost(memory));
	at[15 * PAGE] = 7;
	assert_int_equal(at[15 * PAGE], 7);
	assert_false(guest_memory_lost(other));
	at[3 * PAGE] = 8;
	assert_int_equal(other_at[3 * PAGE], 3);
	guest_memory_unref(other);
	guest_memory_unref(memory);
	/* Its place among the guarded is free, and forgets. */
	memory = guest_memory_new();
	assert_ok(add(&memory, (struct guest_region){ 0, 4 * PAGE, 0x400000, 0 }, fd, &err), &err);
	assert_false(guest_memory_lost(memory));
	guest_memory_unref(memory);
	close(fd);
}

static volatile sig_atomic_t came_by;
static sigjmp_buf out;

static void with_info(int number, siginfo_t *info, void *context)
{
	(void)context;
	came_by = number == SIGBUS && info->si_code == BUS_ADRERR ? 1 : -1;
	siglongjmp(out, 1);
}

static void without_info(int number)
{
	came_by = number == SIGBUS ? 2 : -2;
	siglongjmp(out, 1);
}

/* Memory that is nobody's guest's: the handler that was there before gets it. */
static void faults_elsewhere(void **state)
{
	(void)state;
	const struct sigaction handlers[] = {
		{ .sa_sigaction = with_info, .sa_flags = SA_SIGINFO | SA_NODEFER },
		{ .sa_handler = without_info, .sa_flags = SA_NODEFER },
	};
	struct sigaction before;
	int fd = make_file();
	volatile uint8_t *at = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	assert_true(at != MAP_FAILED);
	assert_int_equal(ftruncate(fd, 0), 0);
	sigaction(SIGBUS, NULL, &before);
	for (int i = 0; i < 2; i++) {
		sigaction(SIGBUS, &handlers[i], NULL);
		guest_fault_install();
		guest_fault_install(); /* once more changes nothing */
		if (sigsetjmp(out, 1) == 0) {
			(void)*at;
			fail_msg("it can be read");
		}
		assert_int_equal(came_by, i + 1);
	}
	sigaction(SIGBUS, &before, NULL);
	munmap((void *)at, PAGE);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces),
		cmocka_unit_test(refusals),
		cmocka_unit_test(what_is_held_stays),
		cmocka_unit_test(becomes_shorter),
		cmocka_unit_test(faults_elsewhere),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
