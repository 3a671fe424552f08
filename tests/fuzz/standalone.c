/*
 * Runs a fuzz target without a fuzzer: over every file of its corpus, then over mutations of them
 * that follow from a seed. Usage: fuzz-NAME [-mutations=N] FILE|DIRECTORY…
 * CASTOR_TEST_SEED chooses another seed. What makes it crash is left in fuzz-NAME.crash, in the
 * current directory.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include <ftw.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/mem.h"
#include "fuzz/fuzz.h"

enum { INPUT_MAX = 1 << 20, MUTATED_MAX = 1 << 16, INPUTS_MAX = 4096, MUTATIONS_DEFAULT = 4000 };

static struct buf inputs[INPUTS_MAX];
static size_t input_count;
static uint64_t random_state = 1;
/* What the target is looking at, and where leave_input writes it. */
static struct view current;
static char crash_file[256];

static uint64_t random_next(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static size_t random_below(size_t limit)
{
	return limit ? (size_t)(random_next() % limit) : 0;
}

/* Async-signal-safe. */
static void leave_input(void)
{
	static const char message[] = "fuzz: the input is in ";
	int fd = open(crash_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ssize_t ignored;

	if (fd < 0)
		return;
	ignored = write(fd, current.ptr, current.len);
	close(fd);
	ignored = write(STDERR_FILENO, message, sizeof(message) - 1);
	ignored = write(STDERR_FILENO, crash_file, strlen(crash_file));
	ignored = write(STDERR_FILENO, "\n", 1);
	(void)ignored;
}

static void on_signal(int signal)
{
	leave_input();
	raise(signal); /* SA_RESETHAND: this time it kills */
}

/* The sanitizers end the process themselves, and tell us before they do. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void catch_crashes(void)
{
	static const int signals[] = { SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL };
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };

	if (__sanitizer_set_death_callback) {
		__sanitizer_set_death_callback(leave_input);
		sigaction(SIGABRT, &action, NULL);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		sigaction(signals[i], &action, NULL);
}

static void run(struct view input)
{
	/* A copy of the exact size, so that a sanitizer sees a read past its end. */
	AUTO_FREE uint8_t *copy = mem_dup(input.ptr, input.len);

	current = view_of(copy, input.len);
	LLVMFuzzerTestOneInput(copy, input.len);
	current = view_of(NULL, 0);
}

static int load(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	struct err err = ERR_INIT;

	(void)st;
	(void)ftw;
	if (kind != FTW_F)
		return 0;
	if (input_count == INPUTS_MAX ||
	    file_read_path(AT_FDCWD, path, INPUT_MAX, &inputs[input_count], &err) != RC_OK) {
		fprintf(stderr, "fuzz: %s: %s\n", path,
			err.message[0] ? err.message : "too many files");
		return 1;
	}
	input_count++;
	return 0;
}

static void remove_range(struct buf *buf, size_t at, size_t len)
{
	memmove(buf->ptr + at, buf->ptr + at + len, buf->len - at - len);
	buf->len -= len;
}

static void insert(struct buf *buf, size_t at, struct view bytes)
{
	AUTO_FREE uint8_t *copy = mem_dup(bytes.ptr, bytes.len);

	if (buf->len + bytes.len > MUTATED_MAX)
		return;
	buf_append_zeros(buf, bytes.len);
	memmove(buf->ptr + at + bytes.len, buf->ptr + at, buf->len - bytes.len - at);
	if (bytes.len)
		memcpy(buf->ptr + at, copy, bytes.len);
}

static struct view random_slice(struct view view)
{
	size_t at = random_below(view.len + 1);

	return view_slice(view, at, random_below(view.len - at + 1));
}

/* One small change. */
static void mutate(struct buf *buf)
{
	static const uint8_t edges[] = { 0, 1, 0x7f, 0x80, 0xff, '/', '.', '%', ':', '=' };
	uint8_t noise[8];
	size_t at = random_below(buf->len);
	uint64_t random = random_next();

	memcpy(noise, &random, sizeof(noise));
	switch (buf->len ? random_below(8) : 0) {
	case 0:
		insert(buf, at, view_of(noise, 1 + random_below(sizeof(noise))));
		break;
	case 1:
		buf->ptr[at] ^= (uint8_t)(1u << random_below(8));
		break;
	case 2:
		buf->ptr[at] = edges[random_below(sizeof(edges))];
		break;
	case 3:
		buf->ptr[at] = (uint8_t)(buf->ptr[at] + (random_below(2) ? 1 : 0xff));
		break;
	case 4:
		remove_range(buf, at, 1 + random_below(buf->len - at < 16 ? buf->len - at : 16));
		break;
	case 5:
		buf->len = at;
		break;
	case 6: /* a piece of itself, once more */
		insert(buf, at, random_slice(buf_view(buf)));
		break;
	default: /* a piece of another input */
		insert(buf, at, random_slice(buf_view(&inputs[random_below(input_count)])));
		break;
	}
}

static void run_mutations(unsigned long count)
{
	for (unsigned long i = 0; i < count; i++) {
		CLEANUP(buf_release) struct buf input = BUF_INIT;
		struct view chosen = buf_view(&inputs[random_below(input_count)]);

		buf_append_view(
			&input,
			view_slice(chosen, 0, chosen.len < MUTATED_MAX ? chosen.len : MUTATED_MAX));
		for (size_t change = 1 + random_below(4); change; change--)
			mutate(&input);
		run(buf_view(&input));
	}
}

int main(int argc, char **argv)
{
	static const char option[] = "-mutations=";
	const char *seed = getenv("CASTOR_TEST_SEED");
	unsigned long mutations = MUTATIONS_DEFAULT;

	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], option, strlen(option)) == 0)
			mutations = strtoul(argv[i] + strlen(option), NULL, 10);
		else if (nftw(argv[i], load, 8, FTW_PHYS) != 0)
			return 1;
	}
	if (input_count == 0) {
		fprintf(stderr, "fuzz: no input\n");
		return 1;
	}
	if (seed)
		random_state = strtoull(seed, NULL, 0);
	printf("CASTOR_TEST_SEED=%" PRIu64 ": %zu inputs, %lu mutations\n", random_state,
	       input_count, mutations);
	fflush(stdout);
	snprintf(crash_file, sizeof(crash_file), "%s.crash", program_invocation_short_name);
	catch_crashes();
	for (size_t i = 0; i < input_count; i++)
		run(buf_view(&inputs[i]));
	run_mutations(mutations);
	for (size_t i = 0; i < input_count; i++)
		buf_release(&inputs[i]);
	return 0;
}
