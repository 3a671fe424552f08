/* /proc/self/mountinfo, and lists of processors. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "transport/cpu_list.h"
#include "transport/mountinfo.h"

static const char text[] =
	"22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
	"40 22 0:51 / /mnt/a\\040b ro,nosuid - fuse.castor castor ro,user_id=0\n"
	"nonsense\n"
	"41 22 0:52 / /mnt/c rw shared:2 master:1 propagate_from:7 - tmpfs tmpfs rw\n"
	"42 41 0:53 / /mnt/c ro - fuse.castor castor ro\n"
	"43 22 0:51 / /mnt/moved ro - fuse.castor castor ro\n";

static void finds_an_id(void **state)
{
	(void)state;
	struct mountinfo info;
	struct err err = ERR_INIT;
	assert_int_equal(mountinfo_find_id(view_of_string(text), 42, &info, &err), RC_OK);
	assert_string_equal(info.type, "fuse.castor");
	assert_string_equal(info.point, "/mnt/c");
	assert_int_equal(info.major, 0);
	assert_int_equal(info.minor, 53);
	mountinfo_release(&info);
	assert_int_equal(mountinfo_find_id(view_of_string(text), 40, &info, &err), RC_OK);
	assert_string_equal(info.point, "/mnt/a b");
	mountinfo_release(&info);
	assert_int_equal(mountinfo_find_id(view_of_string(text), 4, &info, &err), RC_NOT_FOUND);
	assert_null(info.point);
}

static void finds_a_device(void **state)
{
	(void)state;
	struct mountinfo info;
	struct err err = ERR_INIT;
	assert_int_equal(mountinfo_find_device(view_of_string(text), 0, 51, &info, &err), RC_OK);
	assert_string_equal(info.point, "/mnt/moved");
	mountinfo_release(&info);
	assert_int_equal(mountinfo_find_device(view_of_string(text), 0, 99, &info, &err),
			 RC_NOT_FOUND);
}

static void refuses_other_lines(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",
		"22",
		"22 1 254 / / rw - ext4 x rw",
		"22 1 a:b / / rw - ext4 x rw",
		"22 1 254:0 / / rw shared:1 ext4 x rw",
		"22 1 99999999999:0 / / rw - ext4 x rw",
		"22 1 254:0 / / rw -",
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct mountinfo info;
		assert_false(mountinfo_parse(view_of_string(bad[i]), &info));
		assert_null(info.point);
	}
}

static void unescapes(void **state)
{
	(void)state;
	struct mountinfo info;
	assert_true(mountinfo_parse(
		view_of_string("1 2 3:4 / /a\\011\\012\\134b\\9\\04 rw - t s o"), &info));
	assert_string_equal(info.point, "/a\t\n\\b\\9\\04");
	mountinfo_release(&info);
}

static void reads_the_real_one(void **state)
{
	(void)state;
	CLEANUP(buf_release) struct buf real = BUF_INIT;
	struct err err = ERR_INIT;
	struct mountinfo info;
	struct statx status;
	assert_int_equal(statx(AT_FDCWD, "/proc", 0, STATX_MNT_ID, &status), 0);
	assert_int_equal(mountinfo_read(&real, &err), RC_OK);
	assert_int_equal(mountinfo_find_id(buf_view(&real), status.stx_mnt_id, &info, &err), RC_OK);
	assert_string_equal(info.type, "proc");
	assert_string_equal(info.point, "/proc");
	mountinfo_release(&info);
}

static void counts_processors(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		unsigned count; /* 0: refused */
	} cases[] = {
		{ "0\n", 1 }, { "0-1\n", 2 },      { "0-3,8", 5 }, { "0,2,4-7\n", 6 }, { "", 0 },
		{ "\n", 0 },  { "x", 0 },          { "3-1", 0 },   { "0-", 0 },        { ",", 0 },
		{ "0,", 0 },  { "0-99999999", 0 }, { "1-2-3", 0 },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		unsigned count = 7;
		struct err err = ERR_INIT;
		enum rc rc = cpu_list_parse(view_of_string(cases[i].text), &count, &err);
		assert_int_equal(rc, cases[i].count ? RC_OK : RC_INVALID);
		assert_int_equal(count, cases[i].count);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_an_id),         cmocka_unit_test(finds_a_device),
		cmocka_unit_test(refuses_other_lines), cmocka_unit_test(unescapes),
		cmocka_unit_test(reads_the_real_one),  cmocka_unit_test(counts_processors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
