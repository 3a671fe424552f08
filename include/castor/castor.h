/*
 * libcastor: a content-addressed store for Nix-like package trees.
 *
 * Outcomes: every call that can fail returns an enum castor_rc (0 is success), and fills a struct
 * castor_error, which may be NULL. Threads: a store may be used by many threads at once; a blob by
 * one at a time. The library installs no signal handler; threads live only inside objects that the
 * caller opened. Do not fork between opening and closing.
 */
#ifndef CASTOR_CASTOR_H
#define CASTOR_CASTOR_H

#endif
