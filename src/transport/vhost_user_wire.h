/*
 * The vhost-user protocol, as far as a filesystem device meets it. Source: QEMU's
 * docs/interop/vhost-user.rst. All fields are in the byte order of the machine.
 */
#ifndef CASTOR_TRANSPORT_VHOST_USER_WIRE_H
#define CASTOR_TRANSPORT_VHOST_USER_WIRE_H

#include <stdint.h>

enum vhost_user_request {
	VHOST_USER_GET_FEATURES = 1,
	VHOST_USER_SET_FEATURES = 2,
	VHOST_USER_SET_OWNER = 3,
	VHOST_USER_RESET_OWNER = 4,
	VHOST_USER_SET_MEM_TABLE = 5,
	VHOST_USER_SET_VRING_NUM = 8,
	VHOST_USER_SET_VRING_ADDR = 9,
	VHOST_USER_SET_VRING_BASE = 10,
	VHOST_USER_GET_VRING_BASE = 11,
	VHOST_USER_SET_VRING_KICK = 12,
	VHOST_USER_SET_VRING_CALL = 13,
	VHOST_USER_SET_VRING_ERR = 14,
	VHOST_USER_GET_PROTOCOL_FEATURES = 15,
	VHOST_USER_SET_PROTOCOL_FEATURES = 16,
	VHOST_USER_GET_QUEUE_NUM = 17,
	VHOST_USER_SET_VRING_ENABLE = 18,
	VHOST_USER_SET_BACKEND_REQ_FD = 21,
	VHOST_USER_GET_CONFIG = 24,
	VHOST_USER_RESET_DEVICE = 34,
	VHOST_USER_GET_MAX_MEM_SLOTS = 36,
	VHOST_USER_ADD_MEM_REG = 37,
	VHOST_USER_REM_MEM_REG = 38,
	VHOST_USER_REQUEST_COUNT_,
};

enum {
	VHOST_USER_VERSION = 1, /* in the low two bits of flags */
	VHOST_USER_VERSION_MASK = 3,
	VHOST_USER_REPLY = 4,
	VHOST_USER_NEED_REPLY = 8,
	VHOST_USER_FDS_MAX = 8, /* of one message: a memory table's */
	VHOST_USER_TABLE_REGIONS = 8,
	VHOST_USER_CONFIG_MAX = 256,
	VHOST_USER_NO_FD = 1 << 8, /* in the u64 of a kick, a call, an error */
};

#define VHOST_USER_F_PROTOCOL_FEATURES    (UINT64_C(1) << 30)
#define VIRTIO_RING_F_INDIRECT_DESC       (UINT64_C(1) << 28)
#define VIRTIO_RING_F_EVENT_IDX           (UINT64_C(1) << 29)
#define VIRTIO_F_VERSION_1                (UINT64_C(1) << 32)
#define VHOST_USER_PROTOCOL_F_MQ          (UINT64_C(1) << 0)
#define VHOST_USER_PROTOCOL_F_REPLY_ACK   (UINT64_C(1) << 3)
#define VHOST_USER_PROTOCOL_F_BACKEND_REQ (UINT64_C(1) << 5)
#define VHOST_USER_PROTOCOL_F_CONFIG      (UINT64_C(1) << 9)
#define VHOST_USER_PROTOCOL_F_RESET       (UINT64_C(1) << 13)
#define VHOST_USER_PROTOCOL_F_MEM_SLOTS   (UINT64_C(1) << 15)

struct vhost_user_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* of what follows */
};

struct vhost_user_vring_state {
	uint32_t index, value;
};

struct vhost_user_vring_addr {
	uint32_t index, flags;
	uint64_t descriptors, used, available, log;
};

struct vhost_user_region {
	uint64_t guest_address, size, user_address, offset;
};

struct vhost_user_memory_table {
	uint32_t count, padding;
	struct vhost_user_region regions[VHOST_USER_TABLE_REGIONS];
};

struct vhost_user_memory_slot {
	uint64_t padding;
	struct vhost_user_region region;
};

struct vhost_user_config {
	uint32_t offset, size, flags;
	uint8_t bytes[VHOST_USER_CONFIG_MAX];
};

union vhost_user_body {
	uint64_t u64;
	struct vhost_user_vring_state state;
	struct vhost_user_vring_addr address;
	struct vhost_user_memory_table table;
	struct vhost_user_memory_slot slot;
	struct vhost_user_config config;
};

_Static_assert(sizeof(struct vhost_user_header) == 12, "vhost_user_header");
_Static_assert(sizeof(struct vhost_user_vring_addr) == 40, "vhost_user_vring_addr");
_Static_assert(sizeof(struct vhost_user_memory_table) == 264, "vhost_user_memory_table");

/* The device's configuration space; num_request_queues is little-endian. */
enum { VIRTIO_FS_TAG_MAX = 36 };
struct virtio_fs_config {
	char tag[VIRTIO_FS_TAG_MAX]; /* filled up with NULs */
	uint32_t num_request_queues;
};

#endif
