/*
 * The handler finds the mapping in a fixed table, and does nothing but atomic loads, mmap (a bare
 * system call) and an atomic store: it may interrupt anything, and takes no lock. Whoever touches a
 * mapping holds a reference to it, so that the entry of a mapping that faults stays; others may come
 * and go while the handler looks.
 */
#include "transport/guest_fault.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

#include "transport/guest_memory.h"

/* A device holds two tables while one takes the other's place, and requests may hold older ones. */
enum { GUARDS_MAX = 4 * GUEST_REGIONS_MAX };

struct guest_guard {
	atomic_bool taken;
	atomic_uintptr_t base; /* 0: nothing to look at; written last */
	atomic_size_t len;
	atomic_bool lost;
};

static struct guest_guard guards[GUARDS_MAX];
static struct sigaction before; /* the handler; written before ours is installed */

static bool covers(struct guest_guard *guard, uintptr_t address, uintptr_t *base, size_t *len)
{
	*base = atomic_load(&guard->base);
	*len = atomic_load(&guard->len);
	/* Loaded twice: in between the entry may have become another mapping's. */
	return *base && *base == atomic_load(&guard->base) && address - *base < *len;
}

/* The whole of it: what is left of the file would be of no use, and huge pages cannot be cut. */
static bool replace(uintptr_t address)
{
	for (size_t i = 0; i < GUARDS_MAX; i++) {
		uintptr_t base;
		size_t len;
		if (!covers(&guards[i], address, &base, &len))
			continue;
		if (mmap((void *)base, len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
			 0) == MAP_FAILED)
			return false;
		atomic_store(&guards[i].lost, true);
		return true;
	}
	return false;
}

static void go_the_old_way(int number, siginfo_t *info, void *context)
{
	if (before.sa_flags & SA_SIGINFO) {
		before.sa_sigaction(number, info, context);
	} else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
		before.sa_handler(number);
	} else {
		sigaction(number, &before, NULL);
		if (info->si_code <= 0)
			raise(number); /* it was sent; a fault comes again by itself */
	}
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	int errnum = errno;
	if (info->si_code != BUS_ADRERR || !replace((uintptr_t)info->si_addr))
		go_the_old_way(number, info, context);
	errno = errnum;
}

void guest_fault_install(void)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_RESTART };
	struct sigaction now;
	sigemptyset(&action.sa_mask);
	pthread_mutex_lock(&lock);
	sigaction(SIGBUS, NULL, &now);
	if (!(now.sa_flags & SA_SIGINFO) || now.sa_sigaction != on_fault) {
		before = now;
		sigaction(SIGBUS, &action, NULL);
	}
	pthread_mutex_unlock(&lock);
}

enum rc guest_guard_take(void *base, size_t len, struct guest_guard **out, struct err *err)
{
	*out = NULL;
	for (size_t i = 0; i < GUARDS_MAX; i++) {
		struct guest_guard *guard = &guards[i];
		if (atomic_exchange(&guard->taken, true))
			continue;
		atomic_store(&guard->lost, false);
		atomic_store(&guard->len, len);
		atomic_store(&guard->base, (uintptr_t)base);
		*out = guard;
		return RC_OK;
	}
	return err_set(err, RC_TOO_LARGE, "more than %d memory regions are in use", GUARDS_MAX);
}

void guest_guard_release(struct guest_guard *guard)
{
	atomic_store(&guard->base, 0);
	atomic_store(&guard->taken, false);
}

bool guest_guard_lost(const struct guest_guard *guard)
{
	return atomic_load(&guard->lost);
}
