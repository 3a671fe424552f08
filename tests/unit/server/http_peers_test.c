/* Who may have connections, how long they are waited for, and what bodies must do: with a clock of our
 * own. */
#include "unit/testing.h"

#include <pthread.h>

#include "base/clock.h"
#include "server/http_peers.h"
#include "server/http_rate.h"
#include "server/http_work.h"

enum { MANY = 64 };

static bool hung_up[MANY];

static void hang_up(int fd)
{
	assert_false(hung_up[fd]);
	hung_up[fd] = true;
}

static struct client_key client(const char *address)
{
	struct client_key key;

	assert_true(client_key_parse(view_of_string(address), &key));
	return key;
}

static const struct http_limits limits = {
	.connections = 8,
	.client_connections = 3,
	.health_connections = 2,
	.head_ns = 10 * NS_PER_S,
	.idle_ns = 60 * NS_PER_S,
};

static struct http_peers *begin(void)
{
	memset(hung_up, 0, sizeof(hung_up));
	return http_peers_new(&limits, hang_up);
}

static struct http_peer *add(struct http_peers *peers, const char *address, int fd, int64_t now)
{
	struct client_key key = client(address);
	struct http_peer *peer = http_peers_add(peers, &key, false, fd, now);

	if (peer)
		assert_ptr_equal(http_peers_open(peers, fd), peer);
	return peer;
}

/* A byte now and then keeps nothing open: only the end of the head does. */
static void heads_are_overdue(void **state)
{
	struct http_peers *peers = begin();
	struct http_peer *peer = add(peers, "10.0.0.1", 1, 0),
			 *other = add(peers, "10.0.0.2", 2, 0);

	(void)state;
	http_peer_begin(peers, other);
	http_peers_check(peers, 10 * NS_PER_S);
	assert_false(hung_up[1]);
	http_peers_check(peers, 10 * NS_PER_S + 1);
	assert_true(hung_up[1]);
	assert_false(hung_up[2]);
	/* A request is under way for as long as it likes; then the next one has longer to come. */
	http_peers_check(peers, 1000 * NS_PER_S);
	assert_false(hung_up[2]);
	http_peer_end(peers, other, 1000 * NS_PER_S);
	http_peers_check(peers, 1060 * NS_PER_S);
	assert_false(hung_up[2]);
	http_peers_check(peers, 1061 * NS_PER_S);
	assert_true(hung_up[2]);
	/* Once. */
	http_peers_check(peers, 1062 * NS_PER_S);
	http_peers_remove(peers, peer);
	http_peers_remove(peers, other);
	http_peers_free(peers);
}

/* A client past its share closes its own connections: the oldest without a request. */
static void shares(void **state)
{
	struct http_peers *peers = begin();
	struct http_peer *of[4], *more;

	(void)state;
	for (int i = 0; i < 3; i++)
		of[i] = add(peers, i == 1 ? "2001:db8::1" : "2001:db8::2", i, i);
	assert_non_null(add(peers, "2001:db8:0:1::1", 10, 4));
	http_peer_begin(peers, of[0]);
	of[3] = add(peers, "2001:db8::3", 3, 5);
	assert_non_null(of[3]);
	assert_true(hung_up[1]);
	assert_false(hung_up[0] || hung_up[2] || hung_up[10]);
	/* What all have requests gives no room. */
	http_peer_begin(peers, of[2]);
	http_peer_begin(peers, of[3]);
	assert_null(add(peers, "2001:db8::4", 4, 6));
	assert_false(hung_up[10]);
	http_peers_remove(peers, of[2]);
	more = add(peers, "2001:db8::4", 4, 7);
	assert_non_null(more);
	http_peers_free(peers);
}

static void local_clients_and_proxies_have_none(void **state)
{
	struct http_peers *peers = begin();
	struct client_key local = { { 0 } }, proxy = client("10.0.0.1");

	(void)state;
	for (int i = 0; i < 4; i++) {
		assert_non_null(http_peers_add(peers, &local, false, i, 1));
		assert_non_null(http_peers_add(peers, &proxy, true, 10 + i, 1));
	}
	http_peers_free(peers);
}

static void a_full_server(void **state)
{
	struct http_peers *peers = begin();
	struct http_peer *of[8], *more;
	char address[16];

	(void)state;
	for (int i = 0; i < 8; i++) {
		snprintf(address, sizeof(address), "10.0.0.%d", i);
		of[i] = add(peers, address, i, 10 - i);
	}
	/* Whoever waits longest without a request makes room. */
	more = add(peers, "10.0.1.1", 8, 20);
	assert_true(hung_up[7]);
	assert_false(more->reserve);
	assert_int_equal(http_peers_count(peers), 8);
	http_peer_begin(peers, more);
	for (int i = 0; i < 7; i++)
		http_peer_begin(peers, of[i]);
	/* No one does: health checks have room of their own, and not for ever. */
	more = add(peers, "10.0.1.2", 9, 21);
	assert_true(more->reserve);
	assert_true(add(peers, "10.0.1.3", 10, 22)->reserve);
	assert_null(add(peers, "10.0.1.4", 11, 23));
	http_peers_remove(peers, more);
	assert_true(add(peers, "10.0.1.5", 12, 24)->reserve);
	http_peers_remove(peers, of[0]);
	assert_false(add(peers, "10.0.1.6", 13, 25)->reserve);
	http_peers_free(peers);
}

static void draining(void **state)
{
	struct http_peers *peers = begin();
	struct http_peer *busy = add(peers, "10.0.0.1", 1, 0);
	struct client_key key = client("10.0.0.3");

	(void)state;
	add(peers, "10.0.0.2", 2, 0);
	http_peer_begin(peers, busy);
	assert_non_null(http_peers_add(peers, &key, false, 3, 0));
	http_peers_drain(peers);
	assert_true(hung_up[2]);
	assert_false(hung_up[1] || hung_up[3]);
	assert_null(add(peers, "10.0.0.4", 4, 0));
	/* One that was on its way ends when it is there; the one at work when it is done. */
	http_peers_open(peers, 3);
	assert_true(hung_up[3]);
	http_peer_end(peers, busy, 1);
	assert_true(hung_up[1]);
	http_peers_free(peers);
}

static void what_the_library_did_not_take(void **state)
{
	struct http_peers *peers = begin();
	struct client_key key = client("10.0.0.1");

	(void)state;
	http_peers_add(peers, &key, false, 1, 0);
	http_peers_check(peers, 100 * NS_PER_S);
	assert_false(hung_up[1]);
	http_peers_forget(peers, 1);
	assert_int_equal(http_peers_count(peers), 0);
	assert_null(http_peers_open(peers, 1));
	http_peers_free(peers);
}

static void rates(void **state)
{
	const int64_t window = 30 * NS_PER_S;
	struct http_rate rate = { 0 };

	(void)state;
	assert_false(http_rate_is_low(&rate, 1, 0, 1000, window));
	assert_false(http_rate_is_low(&rate, window, 0, 1000, window));
	assert_true(http_rate_is_low(&rate, window + 1, 29999, 1000, window));
	assert_false(http_rate_is_low(&rate, window + 1, 30000, 1000, window));
	/* A new window: what was fast before is no excuse. */
	assert_true(http_rate_is_low(&rate, 2 * window + 1, 59999, 1000, window));
	/* Time that somebody else took. */
	http_rate_pause(&rate);
	assert_false(http_rate_is_low(&rate, 3 * window, 30000, 1000, window));
	assert_false(http_rate_is_low(&rate, 4 * window - 1, 30000, 1000, window));
	assert_true(http_rate_is_low(&rate, 4 * window, 30000, 1000, window));
	assert_false(http_rate_is_low(&rate, 5 * window, 30000, 0, window));
}

/* ---- Fair work ---- */

struct bench {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool open;
	unsigned running, ran_of_other;
	unsigned most;
};

struct piece {
	struct http_job job;
	struct bench *bench;
	bool other;
};

static void run(struct http_job *job)
{
	struct piece *piece = CONTAINER_OF(job, struct piece, job);
	struct bench *bench = piece->bench;

	pthread_mutex_lock(&bench->lock);
	if (piece->other) {
		bench->ran_of_other++;
	} else {
		bench->running++;
		if (bench->running > bench->most)
			bench->most = bench->running;
		while (!bench->open)
			pthread_cond_wait(&bench->changed, &bench->lock);
		bench->running--;
	}
	pthread_cond_broadcast(&bench->changed);
	pthread_mutex_unlock(&bench->lock);
}

/* One client's work that waits leaves threads to others; and all of it is done in the end. */
static void fair_work(void **state)
{
	struct http_work *work = http_work_new("test", 8);
	struct bench bench = { .lock = PTHREAD_MUTEX_INITIALIZER,
			       .changed = PTHREAD_COND_INITIALIZER };
	struct piece pieces[MANY];

	(void)state;
	for (int i = 0; i < MANY; i++) {
		pieces[i] = (struct piece){
			.job = { .run = run,
				 .client = client(i % 4 == 3 ? "10.0.0.2" : "10.0.0.1") },
			.bench = &bench,
			.other = i % 4 == 3,
		};
		http_work_submit(work, &pieces[i].job);
	}
	pthread_mutex_lock(&bench.lock);
	while (bench.ran_of_other < MANY / 4 || bench.running < 6)
		pthread_cond_wait(&bench.changed, &bench.lock);
	assert_int_equal(bench.running, 6);
	bench.open = true;
	pthread_cond_broadcast(&bench.changed);
	pthread_mutex_unlock(&bench.lock);
	http_work_free(work);
	assert_int_equal(bench.running, 0);
	assert_int_equal(bench.most, 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(heads_are_overdue),
		cmocka_unit_test(shares),
		cmocka_unit_test(local_clients_and_proxies_have_none),
		cmocka_unit_test(a_full_server),
		cmocka_unit_test(draining),
		cmocka_unit_test(what_the_library_did_not_take),
		cmocka_unit_test(rates),
		cmocka_unit_test(fair_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
