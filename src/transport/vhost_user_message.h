/* Messages of vhost-user on their socket, with descriptors. */
#ifndef CASTOR_TRANSPORT_VHOST_USER_MESSAGE_H
#define CASTOR_TRANSPORT_VHOST_USER_MESSAGE_H

#include "base/err.h"
#include "transport/vhost_user_wire.h"

struct vhost_user_message {
	struct vhost_user_header header;
	union vhost_user_body body; /* zeros after what came */
	int fds[VHOST_USER_FDS_MAX];
	unsigned fd_count;
};

/* Waits for a whole message; its descriptors are the caller's. RC_NOT_FOUND, without a sentence: the
 * front-end hung up between messages; RC_CANCELLED: stop_fd is readable. More descriptors than
 * VHOST_USER_FDS_MAX are RC_INVALID. After a failure all that came are closed. */
enum rc vhost_user_receive(int fd, int stop_fd, struct vhost_user_message *out,
			   struct err *err) MUST_USE;
/* The answer to that message: the first `size` bytes of its body. Never blocks. */
enum rc vhost_user_answer(int fd, struct vhost_user_message *message, uint32_t size,
			  struct err *err) MUST_USE;
/* Takes descriptor i out of the message, -1 where it has none. */
int vhost_user_take_fd(struct vhost_user_message *message, unsigned i);
void vhost_user_close_fds(struct vhost_user_message *message);

#endif
