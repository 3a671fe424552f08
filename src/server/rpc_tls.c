#include "server/rpc_tls.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"
#include "net/tls_files.h"

/* What an address has been given. */
struct user {
	struct user *next;
	struct rpc_tls *tls;
	unsigned generation;
};

struct rpc_tls {
	char *cert, *key, *ca;
	pthread_mutex_t lock; /* of all that follows */
	struct tls_files files;
	unsigned generation; /* from 1 on */
	struct user *users;
};

enum rc rpc_tls_new(const char *cert, const char *key, const char *ca, struct rpc_tls **out,
		    struct err *err)
{
	struct tls_files files;
	enum rc rc;

	*out = NULL;
	if (!cert && !key)
		return err_set(err, RC_CERTIFICATE, "%s: TLS needs a certificate and its key", ca);
	rc = tls_files_read(cert, key, ca, &files, err);
	if (rc != RC_OK)
		return rc;
	struct rpc_tls *tls = mem_zalloc(sizeof(*tls));
	tls->cert = mem_strdup(cert);
	tls->key = mem_strdup(key);
	tls->ca = ca ? mem_strdup(ca) : NULL;
	pthread_mutex_init(&tls->lock, NULL);
	tls->files = files;
	tls->generation = 1;
	*out = tls;
	return RC_OK;
}

void rpc_tls_free(struct rpc_tls *tls)
{
	struct user *user;

	if (!tls)
		return;
	while ((user = tls->users) != NULL) {
		tls->users = user->next;
		free(user);
	}
	tls_files_release(&tls->files);
	pthread_mutex_destroy(&tls->lock);
	free(tls->cert);
	free(tls->key);
	free(tls->ca);
	free(tls);
}

enum rc rpc_tls_reload(struct rpc_tls *tls, struct err *err)
{
	struct tls_files files;
	enum rc rc = tls_files_read(tls->cert, tls->key, tls->ca, &files, err);

	if (rc != RC_OK)
		return rc;
	pthread_mutex_lock(&tls->lock);
	struct tls_files before = tls->files;
	tls->files = files;
	tls->generation++;
	pthread_mutex_unlock(&tls->lock);
	tls_files_release(&before);
	return RC_OK;
}

/* Before each handshake. */
static grpc_ssl_certificate_config_reload_status fetch(void *context,
						       grpc_ssl_server_certificate_config **out)
{
	struct user *user = context;
	struct rpc_tls *tls = user->tls;
	grpc_ssl_certificate_config_reload_status status =
		GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;

	pthread_mutex_lock(&tls->lock);
	if (user->generation != tls->generation) {
		const grpc_ssl_pem_key_cert_pair pair = {
			.private_key = buf_string(&tls->files.key),
			.cert_chain = buf_string(&tls->files.cert),
		};
		/* The library wants authorities also where no client is asked for a certificate. */
		*out = grpc_ssl_server_certificate_config_create(
			buf_string(tls->ca ? &tls->files.ca : &tls->files.cert), &pair, 1);
		user->generation = tls->generation;
		status = GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
	}
	pthread_mutex_unlock(&tls->lock);
	return status;
}

grpc_server_credentials *rpc_tls_credentials(struct rpc_tls *tls)
{
	struct user *user = mem_zalloc(sizeof(*user));

	user->tls = tls;
	pthread_mutex_lock(&tls->lock);
	user->next = tls->users;
	tls->users = user;
	pthread_mutex_unlock(&tls->lock);
	return grpc_ssl_server_credentials_create_with_options(
		grpc_ssl_server_credentials_create_options_using_config_fetcher(
			tls->ca ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
				: GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
			fetch, user));
}
