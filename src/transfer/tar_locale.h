/*
 * libarchive translates names between UTF-8, which pax headers are, and the locale's encoding. With
 * one of UTF-8 for this thread, whatever the process has, names pass as they are; those that are not
 * UTF-8 are kept by libarchive as bytes, with a warning.
 */
#ifndef CASTOR_TRANSFER_TAR_LOCALE_H
#define CASTOR_TRANSFER_TAR_LOCALE_H

#include <locale.h>

struct tar_locale {
	locale_t own; /* 0 where the system has none: then more names are kept as bytes */
	locale_t before;
};

static inline struct tar_locale tar_locale_enter(void)
{
	struct tar_locale locale = { .own = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0) };

	if (locale.own)
		locale.before = uselocale(locale.own);
	return locale;
}

static inline void tar_locale_leave(struct tar_locale *locale)
{
	if (!locale->own)
		return;
	uselocale(locale->before);
	freelocale(locale->own);
}

#endif
