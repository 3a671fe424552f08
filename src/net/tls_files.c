#include "net/tls_files.h"

#include <fcntl.h>
#include <limits.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/file.h"
#include "base/log.h"

enum { TLS_FILE_MAX = 1 << 20 };

static enum rc read_file(const char *path, struct buf *out, struct err *err)
{
	return file_read_path(AT_FDCWD, path, TLS_FILE_MAX, out, err) == RC_OK ? RC_OK
									       : RC_CERTIFICATE;
}

static BIO *bio_of(const struct buf *text)
{
	return BIO_new_mem_buf(text->ptr, text->len > INT_MAX ? INT_MAX : (int)text->len);
}

/* Reads every certificate of the text; *first is the caller's. */
static enum rc parse_certificates(const char *path, const struct buf *text, X509 **first,
				  struct err *err)
{
	BIO *bio = bio_of(text);
	X509 *next;

	*first = NULL;
	ERR_clear_error();
	while ((next = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
		if (!*first)
			*first = next;
		else
			X509_free(next);
	}
	BIO_free(bio);
	/* The end of the text is an error, too. */
	bool ended = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
	ERR_clear_error();
	if (*first && ended)
		return RC_OK;
	if (!*first && ended)
		return err_set(err, RC_CERTIFICATE, "%s: there is no certificate in it (PEM)",
			       path);
	X509_free(*first);
	*first = NULL;
	return err_set(err, RC_CERTIFICATE, "%s: a certificate in it is damaged", path);
}

static void warn_of_time(const char *path, const X509 *certificate)
{
	if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0)
		log_warning("%s: the certificate has expired", path);
	else if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0)
		log_warning("%s: the certificate is not valid yet", path);
}

static int no_passphrase(char *out, int size, int writing, void *asked)
{
	(void)out, (void)size, (void)writing;
	*(bool *)asked = true;
	return -1;
}

static enum rc parse_key(const char *path, const struct buf *text, EVP_PKEY **out, struct err *err)
{
	BIO *bio = bio_of(text);
	bool encrypted = false;

	*out = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &encrypted);
	BIO_free(bio);
	ERR_clear_error();
	if (*out)
		return RC_OK;
	return err_set(err, RC_CERTIFICATE, "%s: %s", path,
		       encrypted ? "the key is locked by a passphrase"
				 : "there is no private key in it (PEM)");
}

static enum rc read_pair(const char *cert, const char *key, struct tls_files *out, struct err *err)
{
	X509 *certificate = NULL;
	EVP_PKEY *private_key = NULL;
	enum rc rc;

	if (!cert && !key)
		return RC_OK;
	if (!cert || !key)
		return err_set(err, RC_CERTIFICATE, "%s: TLS needs both a certificate and its key",
			       cert ? cert : key);
	rc = read_file(cert, &out->cert, err);
	if (rc == RC_OK)
		rc = read_file(key, &out->key, err);
	if (rc == RC_OK)
		rc = parse_certificates(cert, &out->cert, &certificate, err);
	if (rc == RC_OK)
		rc = parse_key(key, &out->key, &private_key, err);
	if (rc == RC_OK && X509_check_private_key(certificate, private_key) != 1)
		rc = err_set(err, RC_CERTIFICATE,
			     "%s: the key is not that of the certificate in %s", key, cert);
	if (rc == RC_OK)
		warn_of_time(cert, certificate);
	ERR_clear_error();
	X509_free(certificate);
	EVP_PKEY_free(private_key);
	return rc;
}

static enum rc read_ca(const char *ca, struct tls_files *out, struct err *err)
{
	X509 *first = NULL;
	enum rc rc;

	if (!ca)
		return RC_OK;
	rc = read_file(ca, &out->ca, err);
	if (rc == RC_OK)
		rc = parse_certificates(ca, &out->ca, &first, err);
	X509_free(first);
	return rc;
}

enum rc tls_files_read(const char *cert, const char *key, const char *ca, struct tls_files *out,
		       struct err *err)
{
	enum rc rc;

	*out = (struct tls_files){ .cert = BUF_INIT };
	rc = read_pair(cert, key, out, err);
	if (rc == RC_OK)
		rc = read_ca(ca, out, err);
	if (rc != RC_OK)
		tls_files_release(out);
	return rc;
}

void tls_files_release(struct tls_files *files)
{
	if (files->key.ptr)
		OPENSSL_cleanse(files->key.ptr, files->key.cap);
	buf_release(&files->cert);
	buf_release(&files->key);
	buf_release(&files->ca);
}
