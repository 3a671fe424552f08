/*
 * The vhost-user protocol, from the back-end's side: one table of messages, one handler each.
 *
 * What a front-end asks for and castor refuses is said by the acknowledgement, where that was agreed
 * on and is asked for; otherwise the connection ends, for the front-end would go on with a device
 * that is not what it believes.
 */
#include "transport/vhost_user.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/machine.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pool.h"
#include "transport/guest_memory.h"
#include "transport/vhost_user_message.h"
#include "transport/virtio_fs.h"
#include "transport/virtqueue.h"

struct vhost_user {
	struct fs *fs;
	struct pool *pool;
	unsigned request_queues; /* that the configuration recommends */
	char *tag;
};

struct front_end {
	struct vhost_user *vhost;
	int fd;
	int backend_fd; /* for requests of ours, of which there are none; or -1 */
	struct virtio_fs *device;
	struct guest_memory *memory;
	uint64_t features, protocol_features;
};

/* size: of the answer; 0: there is none but an acknowledgement. */
typedef enum rc handler(struct front_end *front, struct vhost_user_message *message, uint32_t *size,
			struct err *err);

/* Features */

static uint64_t offered_features(void)
{
	return VIRTIO_F_VERSION_1 | VIRTIO_RING_F_INDIRECT_DESC | VIRTIO_RING_F_EVENT_IDX |
	       VHOST_USER_F_PROTOCOL_FEATURES;
}

static uint64_t offered_protocol_features(const struct front_end *front)
{
	uint64_t features = VHOST_USER_PROTOCOL_F_MQ | VHOST_USER_PROTOCOL_F_REPLY_ACK |
			    VHOST_USER_PROTOCOL_F_BACKEND_REQ | VHOST_USER_PROTOCOL_F_RESET |
			    VHOST_USER_PROTOCOL_F_MEM_SLOTS;
	return front->vhost->tag ? features | VHOST_USER_PROTOCOL_F_CONFIG : features;
}

static enum rc answer_u64(struct vhost_user_message *message, uint64_t value, uint32_t *size)
{
	message->body.u64 = value;
	*size = sizeof(value);
	return RC_OK;
}

static enum rc get_features(struct front_end *front, struct vhost_user_message *message,
			    uint32_t *size, struct err *err)
{
	(void)front;
	(void)err;
	return answer_u64(message, offered_features(), size);
}

static void enable_all(struct front_end *front, bool enabled)
{
	for (unsigned i = 0; i < VIRTIO_FS_QUEUES_MAX; i++)
		virtio_fs_enable(front->device, i, enabled);
}

static enum rc set_features(struct front_end *front, struct vhost_user_message *message,
			    uint32_t *size, struct err *err)
{
	(void)size;
	uint64_t wanted = message->body.u64;
	if (wanted & ~offered_features())
		return err_set(err, RC_UNSUPPORTED,
			       "the front-end wants features that were not offered: %llx",
			       (unsigned long long)(wanted & ~offered_features()));
	front->features = wanted;
	virtio_fs_set_features(
		front->device,
		(wanted & VIRTIO_RING_F_INDIRECT_DESC ? VIRTQUEUE_INDIRECT : 0u) |
			(wanted & VIRTIO_RING_F_EVENT_IDX ? VIRTQUEUE_EVENT_INDEX : 0u));
	/* A front-end that does not know of enabling never does it. */
	if (!(wanted & VHOST_USER_F_PROTOCOL_FEATURES))
		enable_all(front, true);
	return RC_OK;
}

static enum rc get_protocol_features(struct front_end *front, struct vhost_user_message *message,
				     uint32_t *size, struct err *err)
{
	(void)err;
	return answer_u64(message, offered_protocol_features(front), size);
}

static enum rc set_protocol_features(struct front_end *front, struct vhost_user_message *message,
				     uint32_t *size, struct err *err)
{
	(void)size;
	uint64_t unknown = message->body.u64 & ~offered_protocol_features(front);
	if (unknown)
		return err_set(err, RC_UNSUPPORTED,
			       "the front-end wants protocol features that were not offered: %llx",
			       (unsigned long long)unknown);
	front->protocol_features = message->body.u64;
	return RC_OK;
}

static enum rc get_queue_num(struct front_end *front, struct vhost_user_message *message,
			     uint32_t *size, struct err *err)
{
	(void)front;
	(void)err;
	return answer_u64(message, VIRTIO_FS_QUEUES_MAX, size);
}

/* Of its own: DAX windows, which castor has not. It is taken so that a front-end that insists on it
 * goes on. */
static enum rc set_backend_fd(struct front_end *front, struct vhost_user_message *message,
			      uint32_t *size, struct err *err)
{
	(void)size;
	int fd = vhost_user_take_fd(message, 0);
	if (fd < 0)
		return err_set(err, RC_INVALID, "the front-end's channel has no descriptor");
	if (front->backend_fd >= 0)
		close(front->backend_fd);
	front->backend_fd = fd;
	return RC_OK;
}

static enum rc get_config(struct front_end *front, struct vhost_user_message *message,
			  uint32_t *size, struct err *err)
{
	struct vhost_user_config *config = &message->body.config;
	const struct vhost_user *vhost = front->vhost;
	struct virtio_fs_config space = { .num_request_queues = htole32(vhost->request_queues) };
	if (!vhost->tag)
		return err_set(err, RC_UNSUPPORTED, "no tag was given for the configuration");
	memcpy(space.tag, vhost->tag, strlen(vhost->tag));
	if (config->offset > sizeof(space) || config->size > VHOST_USER_CONFIG_MAX)
		return err_set(err, RC_INVALID, "%u bytes at %u of the configuration", config->size,
			       config->offset);
	memset(config->bytes, 0, sizeof(config->bytes));
	size_t len = sizeof(space) - config->offset;
	if (len > config->size)
		len = config->size;
	memcpy(config->bytes, (const char *)&space + config->offset, len);
	*size = (uint32_t)offsetof(struct vhost_user_config, bytes) + config->size;
	return RC_OK;
}

static enum rc nothing(struct front_end *front, struct vhost_user_message *message, uint32_t *size,
		       struct err *err)
{
	(void)front;
	(void)message;
	(void)size;
	(void)err;
	return RC_OK;
}

/* The old name for a stop: no ring takes requests any more. */
static enum rc reset_owner(struct front_end *front, struct vhost_user_message *message,
			   uint32_t *size, struct err *err)
{
	(void)message;
	(void)size;
	(void)err;
	enable_all(front, false);
	return RC_OK;
}

static enum rc reset_device(struct front_end *front, struct vhost_user_message *message,
			    uint32_t *size, struct err *err)
{
	(void)message;
	(void)size;
	(void)err;
	enable_all(front, false);
	for (unsigned i = 0; i < VIRTIO_FS_QUEUES_MAX; i++)
		virtio_fs_stop(front->device, i);
	return RC_OK;
}

/* Memory */

static struct guest_region region_of(const struct vhost_user_region *region)
{
	return (struct guest_region){ .guest_address = region->guest_address,
				      .size = region->size,
				      .user_address = region->user_address,
				      .offset = region->offset };
}

/* Takes memory over. */
static void use_memory(struct front_end *front, struct guest_memory *memory)
{
	virtio_fs_set_memory(front->device, memory);
	guest_memory_unref(front->memory);
	front->memory = memory;
}

static enum rc set_mem_table(struct front_end *front, struct vhost_user_message *message,
			     uint32_t *size, struct err *err)
{
	(void)size;
	const struct vhost_user_memory_table *table = &message->body.table;
	if (table->count > VHOST_USER_TABLE_REGIONS || table->count != message->fd_count ||
	    message->header.size < 8 + table->count * sizeof(table->regions[0]))
		return err_set(err, RC_INVALID,
			       "a memory table of %u regions with %u descriptors in %u bytes",
			       table->count, message->fd_count, message->header.size);
	struct guest_memory *memory = guest_memory_new();
	for (uint32_t i = 0; i < table->count; i++) {
		struct guest_region region = region_of(&table->regions[i]);
		struct guest_memory *longer;
		enum rc rc = guest_memory_with(memory, &region, message->fds[i], &longer, err);
		guest_memory_unref(memory);
		if (rc != RC_OK)
			return rc;
		memory = longer;
	}
	use_memory(front, memory);
	return RC_OK;
}

static enum rc get_max_mem_slots(struct front_end *front, struct vhost_user_message *message,
				 uint32_t *size, struct err *err)
{
	(void)front;
	(void)err;
	return answer_u64(message, GUEST_REGIONS_MAX, size);
}

static enum rc add_mem_reg(struct front_end *front, struct vhost_user_message *message,
			   uint32_t *size, struct err *err)
{
	(void)size;
	if (message->fd_count != 1)
		return err_set(err, RC_INVALID, "a memory region with %u descriptors",
			       message->fd_count);
	struct guest_region region = region_of(&message->body.slot.region);
	struct guest_memory *memory;
	enum rc rc = guest_memory_with(front->memory, &region, message->fds[0], &memory, err);
	if (rc == RC_OK)
		use_memory(front, memory);
	return rc;
}

static enum rc rem_mem_reg(struct front_end *front, struct vhost_user_message *message,
			   uint32_t *size, struct err *err)
{
	(void)size;
	struct guest_region region = region_of(&message->body.slot.region);
	struct guest_memory *memory;
	enum rc rc = guest_memory_without(front->memory, &region, &memory, err);
	if (rc == RC_OK)
		use_memory(front, memory);
	return rc;
}

/* Rings */

static enum rc check_index(uint64_t index, struct err *err)
{
	return index < VIRTIO_FS_QUEUES_MAX
		       ? RC_OK
		       : err_set(err, RC_INVALID, "queue %llu, but there are %d",
				 (unsigned long long)index, VIRTIO_FS_QUEUES_MAX);
}

static enum rc set_vring_num(struct front_end *front, struct vhost_user_message *message,
			     uint32_t *size, struct err *err)
{
	(void)size;
	const struct vhost_user_vring_state *state = &message->body.state;
	enum rc rc = check_index(state->index, err);
	return rc == RC_OK ? virtio_fs_set_size(front->device, state->index, state->value, err)
			   : rc;
}

static enum rc set_vring_base(struct front_end *front, struct vhost_user_message *message,
			      uint32_t *size, struct err *err)
{
	(void)size;
	const struct vhost_user_vring_state *state = &message->body.state;
	enum rc rc = check_index(state->index, err);
	return rc == RC_OK ? virtio_fs_set_base(front->device, state->index, state->value, err)
			   : rc;
}

static enum rc set_vring_addr(struct front_end *front, struct vhost_user_message *message,
			      uint32_t *size, struct err *err)
{
	(void)size;
	const struct vhost_user_vring_addr *address = &message->body.address;
	enum rc rc = check_index(address->index, err);
	return rc == RC_OK
		       ? virtio_fs_set_rings(front->device, address->index, address->descriptors,
					     address->available, address->used, err)
		       : rc;
}

static enum rc get_vring_base(struct front_end *front, struct vhost_user_message *message,
			      uint32_t *size, struct err *err)
{
	struct vhost_user_vring_state *state = &message->body.state;
	enum rc rc = check_index(state->index, err);
	if (rc != RC_OK)
		return rc;
	state->value = virtio_fs_stop(front->device, state->index);
	*size = sizeof(*state);
	return RC_OK;
}

static enum rc set_vring_enable(struct front_end *front, struct vhost_user_message *message,
				uint32_t *size, struct err *err)
{
	(void)size;
	const struct vhost_user_vring_state *state = &message->body.state;
	enum rc rc = check_index(state->index, err);
	if (rc == RC_OK)
		virtio_fs_enable(front->device, state->index, state->value != 0);
	return rc;
}

/* The queue and the descriptor, or -1, of a kick, a call or an error. */
static enum rc take_eventfd(struct vhost_user_message *message, unsigned *index, int *fd,
			    struct err *err)
{
	bool none = message->body.u64 & VHOST_USER_NO_FD;
	*index = message->body.u64 & 0xff;
	enum rc rc = check_index(*index, err);
	if (rc != RC_OK)
		return rc;
	if (message->fd_count != (none ? 0 : 1))
		return err_set(err, RC_INVALID, "queue %u: %u descriptors instead of %d", *index,
			       message->fd_count, none ? 0 : 1);
	*fd = vhost_user_take_fd(message, 0);
	return RC_OK;
}

static enum rc set_vring_kick(struct front_end *front, struct vhost_user_message *message,
			      uint32_t *size, struct err *err)
{
	(void)size;
	unsigned index;
	int fd = -1;
	enum rc rc = take_eventfd(message, &index, &fd, err);
	return rc == RC_OK ? virtio_fs_set_kick(front->device, index, fd, err) : rc;
}

static enum rc set_vring_call(struct front_end *front, struct vhost_user_message *message,
			      uint32_t *size, struct err *err)
{
	(void)size;
	unsigned index;
	int fd = -1;
	enum rc rc = take_eventfd(message, &index, &fd, err);
	if (rc == RC_OK)
		virtio_fs_set_call(front->device, index, fd);
	return rc;
}

static enum rc set_vring_err(struct front_end *front, struct vhost_user_message *message,
			     uint32_t *size, struct err *err)
{
	(void)size;
	unsigned index;
	int fd = -1;
	enum rc rc = take_eventfd(message, &index, &fd, err);
	if (rc == RC_OK)
		virtio_fs_set_error(front->device, index, fd);
	return rc;
}

/* The messages */

struct message_kind {
	const char *name;
	uint32_t least; /* bytes of its body */
	unsigned fds;   /* at most */
	handler *handle;
};

static const struct message_kind kinds[VHOST_USER_REQUEST_COUNT_] = {
	[VHOST_USER_GET_FEATURES] = { "GET_FEATURES", 0, 0, get_features },
	[VHOST_USER_SET_FEATURES] = { "SET_FEATURES", 8, 0, set_features },
	[VHOST_USER_SET_OWNER] = { "SET_OWNER", 0, 0, nothing },
	[VHOST_USER_RESET_OWNER] = { "RESET_OWNER", 0, 0, reset_owner },
	[VHOST_USER_SET_MEM_TABLE] = { "SET_MEM_TABLE", 8, VHOST_USER_FDS_MAX, set_mem_table },
	[VHOST_USER_SET_VRING_NUM] = { "SET_VRING_NUM", 8, 0, set_vring_num },
	[VHOST_USER_SET_VRING_ADDR] = { "SET_VRING_ADDR", 40, 0, set_vring_addr },
	[VHOST_USER_SET_VRING_BASE] = { "SET_VRING_BASE", 8, 0, set_vring_base },
	[VHOST_USER_GET_VRING_BASE] = { "GET_VRING_BASE", 8, 0, get_vring_base },
	[VHOST_USER_SET_VRING_KICK] = { "SET_VRING_KICK", 8, 1, set_vring_kick },
	[VHOST_USER_SET_VRING_CALL] = { "SET_VRING_CALL", 8, 1, set_vring_call },
	[VHOST_USER_SET_VRING_ERR] = { "SET_VRING_ERR", 8, 1, set_vring_err },
	[VHOST_USER_GET_PROTOCOL_FEATURES] = { "GET_PROTOCOL_FEATURES", 0, 0,
					       get_protocol_features },
	[VHOST_USER_SET_PROTOCOL_FEATURES] = { "SET_PROTOCOL_FEATURES", 8, 0,
					       set_protocol_features },
	[VHOST_USER_GET_QUEUE_NUM] = { "GET_QUEUE_NUM", 0, 0, get_queue_num },
	[VHOST_USER_SET_VRING_ENABLE] = { "SET_VRING_ENABLE", 8, 0, set_vring_enable },
	[VHOST_USER_SET_BACKEND_REQ_FD] = { "SET_BACKEND_REQ_FD", 0, 1, set_backend_fd },
	[VHOST_USER_GET_CONFIG] = { "GET_CONFIG", 12, 0, get_config },
	[VHOST_USER_RESET_DEVICE] = { "RESET_DEVICE", 0, 0, reset_device },
	[VHOST_USER_GET_MAX_MEM_SLOTS] = { "GET_MAX_MEM_SLOTS", 0, 0, get_max_mem_slots },
	[VHOST_USER_ADD_MEM_REG] = { "ADD_MEM_REG", 40, 1, add_mem_reg },
	/* Some send the region's descriptor along. */
	[VHOST_USER_REM_MEM_REG] = { "REM_MEM_REG", 40, 1, rem_mem_reg },
};

static enum rc dispatch(struct front_end *front, struct vhost_user_message *message, uint32_t *size,
			struct err *err)
{
	uint32_t request = message->header.request;
	if (request >= VHOST_USER_REQUEST_COUNT_ || !kinds[request].handle)
		return err_set(err, RC_UNSUPPORTED,
			       "the front-end sent message %u, which castor does not know",
			       request);
	const struct message_kind *kind = &kinds[request];
	if (message->header.size < kind->least)
		return err_set(err, RC_INVALID, "the front-end sent %s with %u bytes", kind->name,
			       message->header.size);
	if (message->fd_count > kind->fds)
		return err_set(err, RC_INVALID, "the front-end sent %s with %u descriptors",
			       kind->name, message->fd_count);
	log_debug("vhost-user: %s", kind->name);
	enum rc rc = kind->handle(front, message, size, err);
	return rc == RC_OK ? rc : err_context(err, rc, "%s", kind->name);
}

static enum rc handle_message(struct front_end *front, struct vhost_user_message *message,
			      struct err *err)
{
	uint32_t size = 0;
	enum rc rc = dispatch(front, message, &size, err);
	vhost_user_close_fds(message);
	if (rc == RC_OK && size > 0)
		return vhost_user_answer(front->fd, message, size, err);
	bool acknowledge = message->header.flags & VHOST_USER_NEED_REPLY &&
			   front->protocol_features & VHOST_USER_PROTOCOL_F_REPLY_ACK;
	if (!acknowledge)
		return rc;
	if (rc != RC_OK)
		log_warning("%s", err->message);
	message->body.u64 = rc == RC_OK ? 0 : 1;
	return vhost_user_answer(front->fd, message, sizeof(message->body.u64), err);
}

enum rc vhost_user_serve(struct vhost_user *vhost, int fd, int stop_fd, struct err *err)
{
	struct front_end front = {
		.vhost = vhost,
		.fd = fd,
		.backend_fd = -1,
		.device = virtio_fs_new(vhost->fs, vhost->pool),
		.memory = guest_memory_new(),
	};
	struct vhost_user_message message;
	enum rc rc = RC_OK;
	while (rc == RC_OK) {
		rc = vhost_user_receive(fd, stop_fd, &message, err);
		if (rc == RC_OK)
			rc = handle_message(&front, &message, err);
	}
	/* The guest's memory is not touched any more once the front-end sees the end. */
	virtio_fs_free(front.device);
	guest_memory_unref(front.memory);
	if (front.backend_fd >= 0)
		close(front.backend_fd);
	close(fd);
	return rc == RC_NOT_FOUND ? RC_OK : rc;
}

enum rc vhost_user_new(struct fs *fs, const struct vhost_user_options *options,
		       struct vhost_user **out, struct err *err)
{
	unsigned threads = options->threads ? options->threads : machine_cpus();
	*out = NULL;
	if (options->tag && (*options->tag == '\0' || strlen(options->tag) > VIRTIO_FS_TAG_MAX))
		return err_set(err, RC_INVALID, "a tag has 1 to %d bytes, not \"%s\"",
			       VIRTIO_FS_TAG_MAX, options->tag);
	struct vhost_user *vhost = mem_zalloc(sizeof(*vhost));
	vhost->fs = fs;
	vhost->request_queues =
		threads < VIRTIO_FS_QUEUES_MAX - 1 ? threads : VIRTIO_FS_QUEUES_MAX - 1;
	vhost->tag = options->tag ? mem_strdup(options->tag) : NULL;
	/* A READ that does not fit into it is answered by its queue's thread. */
	vhost->pool = pool_new("castor-read", threads, (size_t)threads * 2);
	*out = vhost;
	return RC_OK;
}

void vhost_user_free(struct vhost_user *vhost)
{
	if (!vhost)
		return;
	pool_free(vhost->pool);
	free(vhost->tag);
	free(vhost);
}
