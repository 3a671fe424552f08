/* PEM files for TLS, checked before a library gets them: an error names the file and what is wrong with it. */
#ifndef CASTOR_NET_TLS_FILES_H
#define CASTOR_NET_TLS_FILES_H

#include "base/buf.h"
#include "base/err.h"

/* What is read of each; empty where there is no such file. */
struct tls_files {
	struct buf cert, key, ca;
};

/* cert: a certificate, and those that lead from it to an authority; key: its private key, without a
 * passphrase; ca: authorities' certificates. NULL: none; cert and key come together. RC_CERTIFICATE for
 * whatever is wrong with them. A certificate that is not valid now is a warning in the log. */
enum rc tls_files_read(const char *cert, const char *key, const char *ca, struct tls_files *out,
		       struct err *err) MUST_USE;
/* Forgets the key. */
void tls_files_release(struct tls_files *files);

#endif
