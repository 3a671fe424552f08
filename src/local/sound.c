/* Is it still there? See the header. */
#include "local/sound.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/file.h"
#include "base/mem.h"
#include "local/pack_scan.h"

static uint64_t stamp_of(const struct stat *st)
{
	return (uint64_t)st->st_ctim.tv_sec * 1000000000u + (uint64_t)st->st_ctim.tv_nsec;
}

uint64_t local_stamp(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? stamp_of(&st) : 0;
}

/* ---- Packs ---- */

/* This process holds its lock, and nobody had changed it before. */
static bool is_ours(struct local_store *store, uint32_t id)
{
	struct local_writer *w = &store->writer;
	bool ours = false;

	pthread_mutex_lock(&w->lock);
	for (int i = 0; i < LOCAL_PACK_CLASSES_; i++) {
		const struct local_pack_out *out = w->appenders[i].out;

		ours |= out && out->head.id == id && out->trusted;
	}
	pthread_mutex_unlock(&w->lock);
	return ours;
}

static enum rc look_at(struct local_store *store, uint32_t id, struct local_sound *sound,
		       struct err *err)
{
	char name[LOCAL_PACK_NAME_MAX];
	uint8_t key[LOCAL_PACK_KEY_SIZE];
	struct local_pack_value pack;
	struct local_read *read;
	struct view value;
	struct stat st;

	*sound = (struct local_sound){ .pack = id, .state = LOCAL_SOUND_GONE };
	local_pack_name(id, name);
	if (fstatat(store->layout.packs_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? RC_OK : err_errno(err, errno, "pack %s", name);
	local_pack_key_encode(id, key);
	enum rc rc = local_index_read(store->index, &read, err);
	if (rc != RC_OK)
		return rc;
	rc = local_read_get(read, LOCAL_TABLE_PACKS, view_of(key, sizeof(key)), &value, err);
	if (rc == RC_OK)
		rc = local_pack_value_decode(value, &pack, err);
	local_read_end(read);
	if (rc != RC_OK)
		return rc == RC_NOT_FOUND ? RC_OK : rc;
	sound->end = pack.end;
	/* Believed is the whole file only, which nobody made shorter. */
	bool same = pack.stamp != 0 && pack.stamp == stamp_of(&st);
	sound->state = (uint64_t)st.st_size >= pack.end && (same || is_ours(store, id))
			       ? LOCAL_SOUND_BELIEVED
			       : LOCAL_SOUND_DOUBTFUL;
	return RC_OK;
}

/* The record as it lies, by its CRC. The file is opened anew: one that is open may be of a file that
 * has not its name any more. */
static enum rc check_record(struct local_store *store, enum local_record_kind kind,
			    const struct digest *digest, const struct local_place *place,
			    struct err *err)
{
	size_t len = (size_t)LOCAL_RECORD_HEADER_SIZE + place->stored, got;
	char name[LOCAL_PACK_NAME_MAX];
	struct local_record_header header;
	struct local_pack_head head;
	struct stat st;

	local_pack_name(place->pack, name);
	AUTO_FD int fd = openat(store->layout.packs_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? RC_NOT_FOUND : err_errno(err, errno, "pack %s", name);
	AUTO_FREE uint8_t *bytes = mem_try_alloc(len);
	if (!bytes)
		return err_set(err, RC_NO_MEMORY, "no memory to check %zu bytes", len);
	enum rc rc = file_pread_full(fd, bytes, len, place->offset, &got, name, err);
	/* What the disk cannot read is as good as gone, and kept elsewhere from now on. */
	if (rc == RC_IO)
		return RC_NOT_FOUND;
	if (rc != RC_OK)
		return rc;
	if (got < len || fstat(fd, &st) != 0 ||
	    local_pack_head_read(fd, (uint64_t)st.st_size, &head, NULL) != RC_OK ||
	    local_record_header_decode(view_of(bytes, len), &header, NULL) != RC_OK ||
	    header.kind != kind || header.raw != place->raw || header.stored != place->stored ||
	    !digest_equal(&header.digest, digest) ||
	    !local_record_sealed(bytes, crc32c(0, bytes + LOCAL_RECORD_HEADER_SIZE, place->stored),
				 head.salt))
		return RC_NOT_FOUND;
	return RC_OK;
}

/* ---- Raw files ---- */

/* A raw file gets its name, and so its ctime, after the last of its bytes; what is written to one later
 * sets both times. */
static enum rc check_stretch(struct local_store *store, const struct digest *digest,
			     const struct local_place_value *value, struct err *err)
{
	const struct local_place *place = &value->place;
	char name[LOCAL_RAW_NAME_MAX];
	struct stat st;
	size_t got;

	local_raw_name(&value->raw_of, name);
	AUTO_FD int fd = openat(store->layout.raw_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) != 0)
		return errno == ENOENT ? RC_NOT_FOUND : err_errno(err, errno, "raw file %s", name);
	if ((uint64_t)st.st_size < place->offset + place->raw)
		return RC_NOT_FOUND;
	if (st.st_mtim.tv_sec != st.st_ctim.tv_sec || st.st_mtim.tv_nsec != st.st_ctim.tv_nsec)
		return RC_OK;
	AUTO_FREE uint8_t *bytes = mem_try_alloc(place->raw);
	if (!bytes)
		return err_set(err, RC_NO_MEMORY, "no memory to check %u bytes", place->raw);
	enum rc rc = file_pread_full(fd, bytes, place->raw, place->offset, &got, name, err);
	if (rc == RC_IO)
		return RC_NOT_FOUND;
	if (rc != RC_OK)
		return rc;
	struct digest have = digest_of(view_of(bytes, got));
	return digest_equal(&have, digest) ? RC_OK : RC_NOT_FOUND;
}

/* ---- Both ---- */

enum rc local_sound_place(struct local_store *store, struct local_sound *sound,
			  enum local_record_kind kind, const struct digest *digest,
			  const struct local_place_value *value, struct err *err)
{
	const struct local_place *place = &value->place;
	enum rc rc = RC_OK;

	if (place->pack == 0)
		return check_stretch(store, digest, value, err);
	if (sound->pack != place->pack)
		rc = look_at(store, place->pack, sound, err);
	if (rc != RC_OK) {
		sound->pack = 0;
		return rc;
	}
	if (sound->state == LOCAL_SOUND_GONE)
		return RC_NOT_FOUND;
	if (sound->state == LOCAL_SOUND_BELIEVED && local_place_end(place) <= sound->end)
		return RC_OK;
	return check_record(store, kind, digest, place, err);
}

enum rc local_find_sound(struct local_store *store, struct local_sound *sound,
			 enum local_table table, const struct digest *digest,
			 struct local_place_value *out, struct err *err)
{
	enum rc rc = local_find_place(store, table, digest, out, err);

	if (rc != RC_OK)
		return rc;
	return local_sound_place(store, sound,
				 table == LOCAL_TABLE_DIRECTORIES ? LOCAL_RECORD_DIRECTORY
								  : LOCAL_RECORD_CHUNK,
				 digest, out, err);
}
