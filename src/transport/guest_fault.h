/*
 * Guest memory that goes away. A front-end may make the file that it shares shorter, or the file's
 * filesystem may have no page left: the next touch of the mapping is then a SIGBUS, which would end
 * the process, and with it everything else that it serves. With a handler installed, zeros of our
 * own take the whole mapping's place instead, and the mapping counts as lost: whoever finds nonsense
 * in it asks here why. (A memfd sealed against shrinking cannot become shorter, but may lack pages.)
 *
 * How a process handles SIGBUS is for its program to say, not for a library: nothing here installs
 * the handler by itself. Without it everything works but for that.
 *
 * It helps whoever touches the memory in the program. System calls get EFAULT for it; castor makes
 * none on guest memory. Thread-safe.
 */
#ifndef CASTOR_TRANSPORT_GUEST_FAULT_H
#define CASTOR_TRANSPORT_GUEST_FAULT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct guest_guard;

/* Handles SIGBUS of guarded mappings, in the whole process. Any other SIGBUS goes to the handler that
 * was there before. Called again, it takes the place of a handler that came in between. */
void guest_fault_install(void);

/* Guards a mapping from here until guest_guard_release, which comes before munmap; meanwhile nothing
 * else may be mapped there. RC_TOO_LARGE where too many are guarded. */
enum rc guest_guard_take(void *base, size_t len, struct guest_guard **out,
			 struct err *err) MUST_USE;
void guest_guard_release(struct guest_guard *guard);
/* It was gone when it was touched, and is zeros now. */
bool guest_guard_lost(const struct guest_guard *guard);

#endif
