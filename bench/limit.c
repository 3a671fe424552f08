/*
 * The arithmetic limit of an import: what has to be computed of a tree, each stage timed alone, on
 * one core: reading, SHA-256 of the NAR, BLAKE3, chunking, and zstd level 3 of every chunk.
 * Prints the seconds as a JSON object. Divided by the processors, it is what no import that does
 * all of this can beat (but for content that is there twice, which needs no second compression).
 */
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <zstd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "castore/chunker.h"
#include "castore/digest.h"
#include "nix/nar_writer.h"

enum stage { READ, SHA256, BLAKE3, CHUNK, ZSTD, STAGES };

static const char *const names[STAGES] = { "read", "sha256", "blake3", "chunk", "zstd" };
static int64_t spent[STAGES];
static int64_t started;

static void begin(void)
{
	started = clock_monotonic_ns();
}

static void end(enum stage stage)
{
	spent[stage] += clock_monotonic_ns() - started;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

struct limit {
	EVP_MD_CTX *sha;
	ZSTD_CCtx *zstd;
	struct buf content, framing, compressed;
	size_t *cuts;
	size_t cut_cap;
};

static void hash_framing(struct limit *limit)
{
	begin();
	EVP_DigestUpdate(limit->sha, limit->framing.ptr, limit->framing.len);
	end(SHA256);
	buf_clear(&limit->framing);
}

static void read_file(struct limit *limit, const char *path, size_t size)
{
	int fd;
	size_t done = 0;

	buf_clear(&limit->content);
	buf_reserve(&limit->content, size + 1);
	begin();
	fd = open(path, O_RDONLY | O_NOFOLLOW);
	if (fd < 0)
		die(path);
	while (done < size) {
		ssize_t got = read(fd, limit->content.ptr + done, size - done);

		if (got <= 0)
			die(path);
		done += (size_t)got;
	}
	close(fd);
	end(READ);
	limit->content.len = size;
}

static void compress_chunks(struct limit *limit)
{
	struct view content = buf_view(&limit->content);
	struct chunker chunker;
	size_t count = 0, at = 0;

	begin();
	chunker_init(&chunker);
	while (at < content.len) {
		if (count == limit->cut_cap) {
			limit->cut_cap = limit->cut_cap ? 2 * limit->cut_cap : 1024;
			limit->cuts =
				mem_realloc_array(limit->cuts, limit->cut_cap, sizeof(size_t));
		}
		at += chunker_cut(&chunker, view_slice(content, at, content.len - at));
		limit->cuts[count++] = at;
	}
	end(CHUNK);
	buf_reserve(&limit->compressed, ZSTD_compressBound(CHUNK_MAX));
	begin();
	at = 0;
	for (size_t i = 0; i < count; i++) {
		ZSTD_compressCCtx(limit->zstd, limit->compressed.ptr, limit->compressed.cap,
				  content.ptr + at, limit->cuts[i] - at, 3);
		at = limit->cuts[i];
	}
	end(ZSTD);
}

static void one_file(struct limit *limit, const char *path, const struct stat *st)
{
	size_t size = (size_t)st->st_size;

	read_file(limit, path, size);
	nar_file_begin(&limit->framing, st->st_mode & S_IXUSR, size);
	hash_framing(limit);
	begin();
	EVP_DigestUpdate(limit->sha, limit->content.ptr, size);
	end(SHA256);
	nar_file_end(&limit->framing, size);
	begin();
	digest_of(buf_view(&limit->content));
	end(BLAKE3);
	if (size > 0)
		compress_chunks(limit);
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* Is there an entry around this node? */
static void entry_begin(struct limit *limit, const FTSENT *entry)
{
	if (entry->fts_level > 0)
		nar_entry_begin(&limit->framing, view_of(entry->fts_name, entry->fts_namelen));
}

static void entry_end(struct limit *limit, const FTSENT *entry)
{
	if (entry->fts_level > 0)
		nar_entry_end(&limit->framing);
}

static void visit(struct limit *limit, const FTSENT *entry)
{
	char target[4096];
	ssize_t len;

	switch (entry->fts_info) {
	case FTS_D:
		entry_begin(limit, entry);
		nar_directory_begin(&limit->framing);
		break;
	case FTS_DP:
		nar_directory_end(&limit->framing);
		entry_end(limit, entry);
		break;
	case FTS_F:
		entry_begin(limit, entry);
		one_file(limit, entry->fts_accpath, entry->fts_statp);
		entry_end(limit, entry);
		break;
	case FTS_SL:
	case FTS_SLNONE:
		len = readlink(entry->fts_accpath, target, sizeof(target));
		if (len < 0)
			die(entry->fts_path);
		entry_begin(limit, entry);
		nar_symlink(&limit->framing, view_of(target, (size_t)len));
		entry_end(limit, entry);
		break;
	default:
		fprintf(stderr, "%s: neither file, directory nor symlink\n", entry->fts_path);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	struct limit limit = { .sha = EVP_MD_CTX_new(), .zstd = ZSTD_createCCtx() };
	int64_t walk = clock_monotonic_ns(), total = 0;
	uint8_t sha[EVP_MAX_MD_SIZE];
	FTSENT *entry;
	FTS *fts;

	if (argc != 2) {
		fprintf(stderr, "usage: limit TREE\n");
		return 2;
	}
	fts = fts_open((char *[]){ argv[1], NULL }, FTS_PHYSICAL, by_name);
	if (!fts || !EVP_DigestInit_ex(limit.sha, EVP_sha256(), NULL))
		die(argv[1]);
	nar_begin(&limit.framing);
	while ((entry = fts_read(fts)))
		visit(&limit, entry);
	hash_framing(&limit);
	EVP_DigestFinal_ex(limit.sha, sha, NULL);
	fts_close(fts);
	walk = clock_monotonic_ns() - walk;
	/* What is not in a stage is the walk: part of reading a tree. */
	for (int i = 0; i < STAGES; i++)
		total += spent[i];
	spent[READ] += walk - total;

	printf("{");
	for (int i = 0; i < STAGES; i++)
		printf("\"%s\": %.3f, ", names[i], (double)spent[i] / NS_PER_S);
	printf("\"total\": %.3f}\n", (double)walk / NS_PER_S);
	EVP_MD_CTX_free(limit.sha);
	ZSTD_freeCCtx(limit.zstd);
	buf_release(&limit.content);
	buf_release(&limit.framing);
	buf_release(&limit.compressed);
	free(limit.cuts);
	return 0;
}
