/* A pack: every record that the scan finds, and the payloads of those that have one. */
#include "fuzz/fuzz.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "local/codec.h"
#include "local/pack_format.h"
#include "local/pack_scan.h"

static void check_segment(struct view payload)
{
	struct local_segment segment;
	struct buf again CLEANUP(buf_release) = BUF_INIT;

	if (local_segment_decode(payload, &segment, NULL) != RC_OK)
		return;
	local_segment_begin(&segment, &again);
	for (uint32_t i = 0; i < segment.count; i++) {
		struct digest digest;
		uint32_t size;

		local_segment_entry(&segment, i, &digest, &size);
		local_segment_append(&again, &digest, size);
	}
	FUZZ_CHECK(view_equal(buf_view(&again), payload));
}

static void check_payload(uint8_t kind, struct view payload)
{
	struct local_pack_head head;
	struct local_commit commit;
	struct local_nar_facts facts;
	uint8_t again[LOCAL_PACK_HEAD_SIZE];

	if (kind == LOCAL_RECORD_PACK && local_pack_head_decode(payload, &head, NULL) == RC_OK) {
		local_pack_head_encode(&head, again);
		FUZZ_CHECK(head.version != LOCAL_PACK_VERSION ||
			   view_equal(view_of(again, LOCAL_PACK_HEAD_SIZE), payload));
	}
	if (kind == LOCAL_RECORD_COMMIT && local_commit_decode(payload, &commit, NULL) == RC_OK) {
		local_commit_encode(&commit, again);
		FUZZ_CHECK(payload.len == LOCAL_COMMIT_SIZE_1 ||
			   view_equal(view_of(again, LOCAL_COMMIT_SIZE), payload));
	}
	if (kind == LOCAL_RECORD_CHUNK_LIST)
		check_segment(payload);
	if (kind == LOCAL_RECORD_NAR_FACTS)
		(void)(local_nar_facts_decode(payload, &facts, NULL) == RC_OK);
}

static void check_record(struct local_codec *codec, const struct local_scanned *record)
{
	struct buf data CLEANUP(buf_release) = BUF_INIT;

	FUZZ_CHECK(record->frame.len == record->header.stored);
	if (record->header.raw > 1 << 20 || !buf_try_reserve(&data, record->header.raw + 1u))
		return;
	if (local_frame_decode(codec, record->frame, record->header.raw, data.ptr, NULL) == RC_OK)
		check_payload(record->header.kind, view_of(data.ptr, record->header.raw));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static struct local_codec *codec;
	struct local_scan scan;
	struct local_scanned record;
	uint64_t at = 0;
	bool end = false;

	if (!codec)
		codec = local_codec_new(&local_policy_default);
	int fd = memfd_create("pack", MFD_CLOEXEC);
	FUZZ_CHECK(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
	/* Of another version, or read. */
	enum rc rc = local_scan_init(&scan, fd, "pack", 0, NULL);
	FUZZ_CHECK(rc == RC_OK || rc == RC_UNSUPPORTED);
	for (; rc == RC_OK;) {
		FUZZ_CHECK(local_scan_next(&scan, &record, &end, NULL) == RC_OK);
		if (end)
			break;
		FUZZ_CHECK(record.offset >= at && scan.at > record.offset && scan.at <= len);
		FUZZ_CHECK(record.header.seq <= LOCAL_SEQ_MAX);
		FUZZ_CHECK(local_kind_belongs(record.header.kind, scan.head.class, record.offset));
		at = scan.at;
		check_record(codec, &record);
	}
	local_scan_release(&scan);
	close(fd);
	/* And each payload by itself, which a CRC keeps from most inputs. */
	if (len > 0)
		check_payload(bytes[0], view_of(bytes + 1, len - 1));
	return 0;
}
