/*
 * What the edges get to see of a store: the three services, the memory for NAR facts, the one for what
 * may be lost, and the documents beside store paths.
 *
 * A store has two views. What can be read is what the services answer, those of upstreams behind it
 * included. What is kept is less: an upstream that is gone takes nothing of it along. Whoever writes,
 * and asks first what is there already, asks what is kept.
 */
#ifndef CASTOR_SERVICE_SERVICES_H
#define CASTOR_SERVICE_SERVICES_H

#include "local/shared_commit.h"
#include "service/blob/blob_service.h"
#include "service/directory/directory_service.h"
#include "service/document/document_store.h"
#include "service/path_info/nar_facts.h"
#include "service/path_info/path_info_service.h"
#include "service/scratch/scratch_store.h"

/* References. Which of them may be NULL is said where one is taken. */
struct services {
	struct blob_service *blobs;
	struct directory_service *directories;
	struct path_info_service *path_infos;
	struct nar_facts_store *nar_facts;
	struct scratch_store *scratch;
	struct document_store *documents;
	struct local_store *local; /* borrowed: that all of them are of, or NULL */
	/* The services without what is read from upstreams where it is. All NULL: there is none. */
	struct {
		struct blob_service *blobs;
		struct directory_service *directories;
		struct path_info_service *path_infos;
	} kept;
};

/* New references to all that there is. */
struct services services_ref(const struct services *services);
void services_release(struct services *services); /* unrefs all, clears */

/* The bundle of what is kept. Borrows: not to be released. */
struct services services_kept(const struct services *services);

/* For calls on them, in the op; NULL where they are not of one store on this disk. */
struct shared_commit *services_shared_commit(const struct services *services);

#endif
