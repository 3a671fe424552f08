/* The progress line of `castor import`. */
#include "cli/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/text.h"
#include "cli/show.h"

void progress_start(struct progress *progress)
{
	*progress = (struct progress){
		.on = isatty(STDERR_FILENO) == 1,
		.start_ns = clock_monotonic_ns(),
	};
	progress->drawn_ns = progress->start_ns;
}

/* Return to the first column, erase to the end of the line. */
static const char erase[] = "\r\033[K";

static void print(struct buf *line)
{
	/* One write, so that lines of other threads do not fall into it. */
	if (write(STDERR_FILENO, line->ptr, line->len) < 0)
		return; /* nobody to tell */
}

static void append_seen(struct buf *line, const struct import_progress *seen)
{
	char size[TEXT_SIZE_MAX];

	show_count(seen->files, line);
	text_size(seen->bytes, size);
	buf_printf(line, " file%s, %s", seen->files == 1 ? "" : "s", size);
}

void progress_draw(void *context, const struct import_progress *now)
{
	struct progress *progress = context;
	struct buf line CLEANUP(buf_release) = BUF_INIT;
	char text[TEXT_SIZE_MAX], duration[TEXT_DURATION_MAX];
	int64_t time = clock_monotonic_ns();
	int64_t passed = time - progress->drawn_ns;

	if (!progress->on || passed < NS_PER_S / 10)
		return;
	double rate = (double)(now->bytes - progress->drawn_bytes) * 1e9 / (double)passed;
	progress->rate = progress->drawn ? progress->rate * 0.8 + rate * 0.2 : rate;
	progress->drawn = true;
	progress->drawn_ns = time;
	progress->drawn_bytes = now->bytes;

	buf_append_string(&line, erase);
	append_seen(&line, now);
	text_size((uint64_t)progress->rate, text);
	buf_printf(&line, ", %s/s", text);
	text_size(now->bytes_stored, text);
	text_duration(time - progress->start_ns, duration);
	buf_printf(&line, ", %s new, %s", text, duration);
	print(&line);
}

void progress_clear(struct progress *progress)
{
	struct buf line CLEANUP(buf_release) = BUF_INIT;

	if (!progress->drawn)
		return;
	progress->drawn = false;
	buf_append_string(&line, erase);
	print(&line);
}

void progress_finish(struct progress *progress, const struct import_progress *total)
{
	struct buf line CLEANUP(buf_release) = BUF_INIT;
	char text[TEXT_SIZE_MAX], duration[TEXT_DURATION_MAX];
	int64_t passed = clock_monotonic_ns() - progress->start_ns;

	if (!progress->on)
		return;
	buf_append_string(&line, erase);
	append_seen(&line, total);
	text_duration(passed, duration);
	text_size(total->bytes_stored, text);
	buf_printf(&line, " in %s, %s new", duration, text);
	if (total->bytes_read < total->bytes) {
		text_size(total->bytes - total->bytes_read, text);
		buf_printf(&line, ", %s unchanged since an earlier import", text);
	}
	buf_append_byte(&line, '\n');
	print(&line);
	progress->drawn = false;
}
