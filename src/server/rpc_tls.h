/* The credentials of a gRPC server: none, or TLS with files that can be read again while it serves. */
#ifndef CASTOR_SERVER_RPC_TLS_H
#define CASTOR_SERVER_RPC_TLS_H

#include <grpc/grpc_security.h>

#include "base/err.h"

struct rpc_tls;

/* cert, key: PEM files; ca: that of authorities whose certificates clients have to show, NULL: none has to.
 * RC_CERTIFICATE, tls_files_read. */
enum rc rpc_tls_new(const char *cert, const char *key, const char *ca, struct rpc_tls **out,
		    struct err *err) MUST_USE;
/* After the server and its credentials. NULL is fine. */
void rpc_tls_free(struct rpc_tls *tls);
/* Reads the files again: connections from here on get what they say now. Where they cannot be used, all stays
 * as it was. Any thread. */
enum rc rpc_tls_reload(struct rpc_tls *tls, struct err *err) MUST_USE;
/* For one address (the library asks for each by itself what is new); the caller's. */
grpc_server_credentials *rpc_tls_credentials(struct rpc_tls *tls);

#endif
