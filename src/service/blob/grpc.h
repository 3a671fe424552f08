#ifndef CASTOR_SERVICE_BLOB_GRPC_H
#define CASTOR_SERVICE_BLOB_GRPC_H

#include "net/rpc_channel.h"
#include "service/blob/blob_service.h"

/* The BlobService of a daemon; takes a reference on the channel. */
struct blob_service *blob_grpc_new(struct rpc_channel *channel);

/* The parts: grpc.c, grpc_reader.c, grpc_batch.c. */
enum rc blob_grpc_reader_open(struct rpc_channel *channel, const struct op *op,
			      const struct digest *digest, uint64_t size, struct blob_reader **out,
			      struct err *err) MUST_USE;
enum rc blob_grpc_stat(struct rpc_channel *channel, const struct op *op,
		       const struct digest *digest, struct blob_chunk_list *list,
		       struct err *err) MUST_USE;
struct blob_batch *blob_grpc_batch_new(struct rpc_channel *channel);

#endif
