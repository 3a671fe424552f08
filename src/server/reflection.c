/*
 * Server reflection over the descriptors that the build embedded: a serialized
 * google.protobuf.FileDescriptorSet of every .proto file, imports after what they import.
 * Source: descriptor.proto of protobuf; the field numbers below are its.
 */
#include "server/reflection.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/wire.h"
#include <grpc.reflection.v1.pb-c.h>

extern const unsigned char rpc_descriptors[];
extern const size_t rpc_descriptors_size;

enum {
	SET_FILE = 1,
	FILE_NAME = 1,
	FILE_PACKAGE = 2,
	FILE_DEPENDENCY = 3,
	FILE_MESSAGE = 4,
	FILE_ENUM = 5,
	FILE_SERVICE = 6,
	ANY_NAME = 1, /* of a message, enum, service, method, field */
	SERVICE_METHOD = 2,
	MESSAGE_FIELD = 2,
	MESSAGE_NESTED = 3,
	MESSAGE_ENUM = 4,
};

typedef Grpc__Reflection__V1__ServerReflectionRequest Request;
typedef Grpc__Reflection__V1__ServerReflectionResponse Response;

/* Calls found for each element of that field number; false: it said stop. */
static bool each(struct view message, uint32_t number,
		 bool (*found)(void *context, struct view bytes), void *context)
{
	struct cursor cursor = cursor_of(message);
	struct wire_field field;

	while (wire_next(&cursor, &field))
		if (field.number == number && field.type == WIRE_BYTES &&
		    !found(context, field.bytes))
			return false;
	return true;
}

static bool take_first(void *context, struct view bytes)
{
	*(struct view *)context = bytes;
	return false;
}

static struct view string_field(struct view message, uint32_t number)
{
	struct view found = { 0 };

	each(message, number, take_first, &found);
	return found;
}

static struct view all_files(void)
{
	return view_of(rpc_descriptors, rpc_descriptors_size);
}

/* ---- Search ---- */

struct search {
	struct view wanted; /* a file's name, or a symbol */
	struct view prefix; /* what of a symbol is still to be matched */
	struct view file;   /* found */
};

static bool file_is(void *context, struct view file)
{
	struct search *search = context;

	if (!view_equal(string_field(file, FILE_NAME), search->wanted))
		return true;
	search->file = file;
	return false;
}

/* Is name the first part of the dotted text? Then *rest is what follows its dot. */
static bool step(struct view text, struct view name, struct view *rest)
{
	if (text.len < name.len || memcmp(text.ptr, name.ptr, name.len) != 0)
		return false;
	if (text.len == name.len)
		*rest = (struct view){ 0 };
	else if (text.ptr[name.len] == '.')
		*rest = view_slice(text, name.len + 1, text.len - name.len - 1);
	else
		return false;
	return true;
}

static bool defines(struct view element, struct view symbol);

static bool not_defined(void *context, struct view element)
{
	return !defines(element, *(struct view *)context);
}

/* Does a message, enum or service, with all that is in it, define the symbol? Depth: as deep as our
 * own .proto files. */
static bool defines(struct view element, struct view symbol)
{
	struct view rest;

	if (!step(symbol, string_field(element, ANY_NAME), &rest))
		return false;
	if (rest.len == 0)
		return true;
	for (uint32_t number = SERVICE_METHOD; number <= MESSAGE_ENUM; number++)
		if (!each(element, number, not_defined, &rest))
			return true;
	return false;
}

static bool file_defines(void *context, struct view file)
{
	struct search *search = context;
	struct view rest;

	if (!step(search->wanted, string_field(file, FILE_PACKAGE), &rest) || rest.len == 0)
		return true;
	for (uint32_t number = FILE_MESSAGE; number <= FILE_SERVICE; number++)
		if (!each(file, number, not_defined, &rest)) {
			search->file = file;
			return false;
		}
	return true;
}

/* ---- Answers ---- */

static void pack(const ProtobufCMessage *message, struct buf *out)
{
	buf_reserve(out, protobuf_c_message_get_packed_size(message));
	out->len += protobuf_c_message_pack(message, out->ptr + out->len);
}

static void answer_error(Response *response, int status, const char *sentence, struct buf *out)
{
	Grpc__Reflection__V1__ErrorResponse error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;

	error.error_code = status;
	error.error_message = (char *)(uintptr_t)sentence;
	response->message_response_case =
		GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
	response->error_response = &error;
	pack(&response->base, out);
}

struct files {
	ProtobufCBinaryData files[8];
	size_t count;
};

/* The file, and what it imports. */
static bool add_file(void *context, struct view name)
{
	struct files *files = context;
	struct search search = { .wanted = name };

	each(all_files(), SET_FILE, file_is, &search);
	if (search.file.len == 0 || files->count == ARRAY_LEN(files->files))
		return true;
	files->files[files->count++] =
		(ProtobufCBinaryData){ .len = search.file.len,
				       .data = (uint8_t *)(uintptr_t)search.file.ptr };
	each(search.file, FILE_DEPENDENCY, add_file, files);
	return true;
}

static void answer_file(Response *response, struct view file, struct buf *out)
{
	Grpc__Reflection__V1__FileDescriptorResponse found =
		GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
	struct files files = { 0 };

	if (file.len == 0) {
		answer_error(response, rc_to_grpc(RC_NOT_FOUND), "no such file or symbol", out);
		return;
	}
	add_file(&files, string_field(file, FILE_NAME));
	found.n_file_descriptor_proto = files.count;
	found.file_descriptor_proto = files.files;
	response->message_response_case =
		GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
	response->file_descriptor_response = &found;
	pack(&response->base, out);
}

struct services {
	struct view package;
	Grpc__Reflection__V1__ServiceResponse *services[16];
	size_t count;
};

static bool add_service(void *context, struct view service)
{
	struct services *list = context;
	struct view name = string_field(service, ANY_NAME);
	Grpc__Reflection__V1__ServiceResponse *added;

	if (list->count == ARRAY_LEN(list->services))
		return false;
	added = mem_alloc(sizeof(*added));
	grpc__reflection__v1__service_response__init(added);
	added->name =
		mem_printf("%.*s.%.*s", (int)list->package.len, (const char *)list->package.ptr,
			   (int)name.len, (const char *)name.ptr);
	list->services[list->count++] = added;
	return true;
}

static bool add_services(void *context, struct view file)
{
	struct services *list = context;

	list->package = string_field(file, FILE_PACKAGE);
	return each(file, FILE_SERVICE, add_service, list);
}

static void answer_services(Response *response, struct buf *out)
{
	Grpc__Reflection__V1__ListServiceResponse found =
		GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
	struct services list = { 0 };

	each(all_files(), SET_FILE, add_services, &list);
	found.n_service = list.count;
	found.service = list.services;
	response->message_response_case =
		GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
	response->list_services_response = &found;
	pack(&response->base, out);
	for (size_t i = 0; i < list.count; i++) {
		free(list.services[i]->name);
		free(list.services[i]);
	}
}

enum rc reflection_answer(struct view message, struct buf *out, struct err *err)
{
	Request *request = grpc__reflection__v1__server_reflection_request__unpack(
		NULL, message.len, message.ptr);
	Response response;
	struct search search = { 0 };

	if (!request)
		return err_set(err, RC_INVALID, "malformed ServerReflectionRequest message");
	grpc__reflection__v1__server_reflection_response__init(&response);
	response.valid_host = request->host;
	response.original_request = request;
	switch (request->message_request_case) {
	case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
		search.wanted = view_of_string(request->file_by_filename);
		each(all_files(), SET_FILE, file_is, &search);
		answer_file(&response, search.file, out);
		break;
	case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
		search.wanted = view_of_string(request->file_containing_symbol);
		each(all_files(), SET_FILE, file_defines, &search);
		answer_file(&response, search.file, out);
		break;
	case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
		answer_services(&response, out);
		break;
	default:
		answer_error(&response, rc_to_grpc(RC_NOT_FOUND),
			     "proto3 messages have no extensions", out);
		break;
	}
	grpc__reflection__v1__server_reflection_request__free_unpacked(request, NULL);
	return RC_OK;
}

/* ---- The method: every request is answered at once, for as long as the client likes ---- */

struct reflection_state {
	struct buf reply;
	bool pending;
};

static enum rc info_message(struct rpc_call *call, struct view message, struct err *err)
{
	struct reflection_state *state = rpc_call_state(call);

	buf_clear(&state->reply);
	state->pending = true;
	return reflection_answer(message, &state->reply, err);
}

static enum rc info_more(struct rpc_call *call, struct buf *out, enum rpc_next *next,
			 struct err *err)
{
	struct reflection_state *state = rpc_call_state(call);

	(void)err;
	*next = state->pending ? RPC_NEXT_MESSAGE : RPC_NEXT_END;
	if (state->pending)
		buf_append_view(out, buf_view(&state->reply));
	state->pending = false;
	return RC_OK;
}

static void info_close(struct rpc_call *call)
{
	struct reflection_state *state = rpc_call_state(call);

	buf_release(&state->reply);
}

/* clang-format off */
#define METHOD(version) \
	{ .path = "/grpc.reflection." version ".ServerReflection/ServerReflectionInfo", .client_streams = true, \
	  .bidirectional = true, .state_size = sizeof(struct reflection_state), .message = info_message, \
	  .more = info_more, .close = info_close }
/* clang-format on */

static const struct rpc_method methods[] = { METHOD("v1"), METHOD("v1alpha") };

void reflection_register(struct rpc_server *server)
{
	rpc_server_register(server, methods, ARRAY_LEN(methods), NULL, true);
}
