/* Addresses: which is chosen, and what each opens. */
#include "unit/testing.h"

#include <sys/stat.h>

#include "base/compiler.h"
#include "store/open.h"

static char *dir;
static struct err err;

static int make_dir(void **state)
{
	(void)state;
	dir = testing_dir();
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	testing_dir_cleanup(&dir);
	return 0;
}

static int clear_environment(void **state)
{
	(void)state;
	unsetenv("BLOB_SERVICE_ADDR");
	unsetenv("DIRECTORY_SERVICE_ADDR");
	unsetenv("PATH_INFO_SERVICE_ADDR");
	unsetenv("CASTOR_STORE");
	unsetenv("XDG_DATA_HOME");
	setenv("HOME", "/home/somebody", 1);
	return 0;
}

static enum rc open_store(const char *address, struct services *out)
{
	struct store_addresses addresses = { .store = address };

	return store_open(&addresses, STORE_WRITE, out, &err);
}

/* ---- Which address ---- */

static void flags_go_first(void **state)
{
	struct store_addresses addresses = { .store = "S", .blobs = "B" };
	char fallback[STORE_ADDRESS_MAX];

	(void)state;
	setenv("BLOB_SERVICE_ADDR", "env-B", 1);
	setenv("DIRECTORY_SERVICE_ADDR", "env-D", 1);
	setenv("CASTOR_STORE", "env-S", 1);
	assert_int_equal(store_addresses_complete(&addresses, fallback, &err), RC_OK);
	assert_string_equal(addresses.blobs, "B");
	assert_string_equal(addresses.directories, "env-D");
	assert_string_equal(addresses.path_infos, "S");
	assert_string_equal(addresses.store, "S");
	assert_string_equal(fallback, "");
}

static void variable_of_the_store(void **state)
{
	struct store_addresses addresses = { .path_infos = "P" };
	char fallback[STORE_ADDRESS_MAX];

	(void)state;
	setenv("BLOB_SERVICE_ADDR", "", 1); /* says nothing */
	setenv("CASTOR_STORE", "env-S", 1);
	assert_int_equal(store_addresses_complete(&addresses, fallback, &err), RC_OK);
	assert_string_equal(addresses.blobs, "env-S");
	assert_string_equal(addresses.directories, "env-S");
	assert_string_equal(addresses.path_infos, "P");
}

static void no_default_where_none_is_needed(void **state)
{
	struct store_addresses addresses = { .blobs = "B", .directories = "D", .path_infos = "P" };
	char fallback[STORE_ADDRESS_MAX];

	(void)state;
	assert_int_equal(store_addresses_complete(&addresses, fallback, &err), RC_OK);
	assert_null(addresses.store);
	assert_string_equal(fallback, "");
}

static void default_is_filled_in(void **state)
{
	struct store_addresses addresses = { 0 };
	char fallback[STORE_ADDRESS_MAX];

	(void)state;
	assert_int_equal(store_addresses_complete(&addresses, fallback, &err), RC_OK);
	assert_ptr_equal(addresses.store, fallback);
	assert_ptr_equal(addresses.blobs, fallback);
	assert_int_equal(strncmp(fallback, "local:///", 9), 0);
}

static void default_places(void **state)
{
	char out[STORE_ADDRESS_MAX], wanted[STORE_ADDRESS_MAX], system_dir[64];

	(void)state;
	/* One that does not exist, where it could be made. */
	snprintf(system_dir, sizeof(system_dir), "%s/system", dir);
	snprintf(wanted, sizeof(wanted), "local://%s/system", dir);
	assert_int_equal(store_default_address(system_dir, out, &err), RC_OK);
	assert_string_equal(out, wanted);
	/* One that exists. */
	assert_int_equal(mkdir(system_dir, 0755), 0);
	assert_int_equal(store_default_address(system_dir, out, &err), RC_OK);
	assert_string_equal(out, wanted);
	/* Neither: the user's own. */
	assert_int_equal(store_default_address("/nonexistent/a/b", out, &err), RC_OK);
	assert_string_equal(out, "local:///home/somebody/.local/share/castor");
	setenv("XDG_DATA_HOME", "relative", 1);
	assert_int_equal(store_default_address("/nonexistent/a/b", out, &err), RC_OK);
	assert_string_equal(out, "local:///home/somebody/.local/share/castor");
	setenv("XDG_DATA_HOME", "/data of/#1?", 1);
	assert_int_equal(store_default_address("/nonexistent/a/b", out, &err), RC_OK);
	assert_string_equal(out, "local:///data%20of/%231%3F/castor");
}

/* What eaccess(2) says differs for root: a child without rights asks. */
static void default_without_rights(void **state)
{
	char out[STORE_ADDRESS_MAX], system_dir[64];

	(void)state;
	if (geteuid() != 0)
		skip();
	snprintf(system_dir, sizeof(system_dir), "%s/closed", dir);
	assert_int_equal(mkdir(system_dir, 0700), 0);
	assert_int_equal(seteuid(65534), 0);
	assert_int_equal(store_default_address(system_dir, out, &err), RC_OK);
	assert_int_equal(seteuid(0), 0);
	assert_string_equal(out, "local:///home/somebody/.local/share/castor");
}

/* ---- What it opens ---- */

static void memory(void **state)
{
	static const char *const good[] = { "memory:", "memory://", "MEMORY://" };
	static const char *const bad[] = { "memory://host", "memory:///path", "memory://?x=1" };
	struct services services;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(open_store(good[i], &services), RC_OK);
		assert_string_equal(services.blobs->ops->name, "memory");
		assert_non_null(services.directories);
		assert_non_null(services.path_infos);
		assert_non_null(services.nar_facts);
		services_release(&services);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(open_store(bad[i], &services), RC_INVALID);
		assert_null(services.blobs);
		assert_non_null(strstr(err.message, bad[i]));
	}
}

static void files_keep_blobs_only(void **state)
{
	struct store_addresses addresses = { .store = "memory:" };
	char address[128];
	struct services services;

	(void)state;
	snprintf(address, sizeof(address), "files://%s/blobs", dir);
	assert_int_equal(open_store(address, &services), RC_INVALID);
	assert_non_null(strstr(err.message, "--directory-service-addr"));
	assert_null(services.blobs);
	addresses.blobs = address;
	assert_int_equal(store_open(&addresses, STORE_WRITE, &services, &err), RC_OK);
	assert_string_equal(services.blobs->ops->name, "files");
	assert_string_equal(services.directories->ops->name, "memory");
	services_release(&services);
	assert_int_equal(open_store("files:///", &services), RC_INVALID);
	assert_int_equal(open_store("files://host/dir", &services), RC_INVALID);
	assert_int_equal(open_store("files:relative", &services), RC_INVALID);
}

static void unknown_schemes(void **state)
{
	struct services services;

	(void)state;
	assert_int_equal(open_store("gopher://x", &services), RC_INVALID);
	assert_non_null(strstr(err.message, "files:"));
	assert_non_null(strstr(err.message, "local:"));
	assert_non_null(strstr(err.message, "memory:"));
	assert_int_equal(open_store("no scheme at all", &services), RC_INVALID);
	assert_int_equal(open_store(NULL, &services), RC_INVALID);
}

static void local(void **state)
{
	char address[160], other[160];
	struct store_addresses addresses = { .store = address, .blobs = other };
	struct services services, again;
	struct digest digest;
	bool has;

	(void)state;
	snprintf(address, sizeof(address), "local://%s/store%%20one?compression=zstd:1", dir);
	snprintf(other, sizeof(other), "local://%s/store%%20one", dir);
	assert_int_equal(open_store(address, &services), RC_OK);
	assert_string_equal(services.blobs->ops->name, "local");
	assert_non_null(services.nar_facts);
	/* By two addresses at once it is one store. */
	assert_int_equal(store_open(&addresses, STORE_WRITE, &again, &err), RC_OK);
	assert_int_equal(
		blob_service_put(again.blobs, &op_none, view_of_string("x"), &digest, &err), RC_OK);
	assert_int_equal(blob_service_has_many(services.blobs, &op_none, &digest, 1, &has, &err),
			 RC_OK);
	assert_true(has);
	services_release(&again);
	services_release(&services);
	/* It stays as it was made. */
	snprintf(other, sizeof(other), "local://%s/store%%20one?compression=none", dir);
	assert_int_equal(open_store(other, &services), RC_FAILED_PRECONDITION);
}

static void local_parameters(void **state)
{
	static const char *const bad[] = {
		"local:///",
		"local://host/dir",
		"local:relative",
		"local:///nonexistent?compression=zstd:20",
		"local:///nonexistent?compression=zstd:0",
		"local:///nonexistent?compression=zstd:x",
		"local:///nonexistent?compression=zstdx",
		"local:///nonexistent?compression=lz4",
		"local:///nonexistent?raw-files=many",
		"local:///nonexistent?rawfiles=1M",
	};
	struct services services;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(open_store(bad[i], &services), RC_INVALID);
		assert_non_null(strstr(err.message, bad[i]));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(flags_go_first, clear_environment),
		cmocka_unit_test_setup(variable_of_the_store, clear_environment),
		cmocka_unit_test_setup(no_default_where_none_is_needed, clear_environment),
		cmocka_unit_test_setup(default_is_filled_in, clear_environment),
		cmocka_unit_test_setup(default_places, clear_environment),
		cmocka_unit_test_setup(default_without_rights, clear_environment),
		cmocka_unit_test(memory),
		cmocka_unit_test(files_keep_blobs_only),
		cmocka_unit_test(unknown_schemes),
		cmocka_unit_test(local),
		cmocka_unit_test(local_parameters),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
