/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/negotiation.h"

#include "device/context.h"

#include <errno.h>
#include <json-c/json.h>
#include <string.h>
#include <unistd.h>

/* QEMU has room for 198 bytes of payload: a struct vfio_user_version and this much text. */
#define REPLY_TEXT_MAX 194

#define MAX_CLIENT_FDS 1024

static const struct client_capabilities default_capabilities = {
    .max_msg_fds = 1,
    .max_data_xfer_size = VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE,
};

/* Whether @parent has @key; a wrong type is an error. Returns 1, 0 or -EINVAL. */
static int find_member(json_object *parent, const char *key, json_type type, json_object **value)
{
    if (!json_object_object_get_ex(parent, key, value)) {
        return 0;
    }
    return json_object_is_type(*value, type) ? 1 : -EINVAL;
}

static int parse_max_msg_fds(json_object *capabilities, struct client_capabilities *client)
{
    json_object *value;
    int found = find_member(capabilities, "max_msg_fds", json_type_int, &value);

    if (found == 1) {
        int64_t fds = json_object_get_int64(value);

        if (fds < 0 || fds > MAX_CLIENT_FDS) {
            return -EINVAL;
        }
        client->max_msg_fds = (uint32_t)fds;
    }
    return found < 0 ? found : 0;
}

static int parse_max_data_xfer_size(json_object *capabilities, struct client_capabilities *client)
{
    json_object *value;
    int found = find_member(capabilities, "max_data_xfer_size", json_type_int, &value);

    if (found == 1) {
        int64_t size = json_object_get_int64(value);

        if (size <= 0) {
            return -EINVAL;
        }
        if (size < VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE) {
            client->max_data_xfer_size = (uint64_t)size;
        }
    }
    return found < 0 ? found : 0;
}

/* Any page size will do unless the device can migrate; that is looked at later. */
static int parse_migration(json_object *capabilities, struct client_capabilities *client)
{
    json_object *migration;
    json_object *value;
    int found = find_member(capabilities, "migration", json_type_object, &migration);

    if (found == 1) {
        found = find_member(migration, "pgsize", json_type_int, &value);
    }
    if (found == 1) {
        client->migration_pgsize = json_object_get_int64(value);
        /* No page has that size, but it was said. */
        client->migration_pgsize += client->migration_pgsize == 0 ? -1 : 0;
    }
    return found < 0 ? found : 0;
}

static int parse_twin_socket(json_object *capabilities, struct client_capabilities *client)
{
    json_object *twin_socket;
    json_object *value;
    int found = find_member(capabilities, "twin_socket", json_type_object, &twin_socket);

    if (found == 1) {
        found = find_member(twin_socket, "supported", json_type_boolean, &value);
    }
    if (found == 1) {
        client->twin_socket = json_object_get_boolean(value);
    }
    return found < 0 ? found : 0;
}

static void parse_write_multiple(json_object *capabilities, struct client_capabilities *client)
{
    json_object *value;

    if (find_member(capabilities, "write_multiple", json_type_boolean, &value) == 1) {
        client->write_multiple = json_object_get_boolean(value);
    }
}

static int parse_capabilities(json_object *capabilities, struct client_capabilities *client)
{
    int err = parse_max_msg_fds(capabilities, client);

    if (err == 0) {
        err = parse_max_data_xfer_size(capabilities, client);
    }
    if (err == 0) {
        err = parse_migration(capabilities, client);
    }
    if (err == 0) {
        err = parse_twin_socket(capabilities, client);
    }
    parse_write_multiple(capabilities, client);
    return err;
}

int negotiation_parse(const char *text, struct client_capabilities *client)
{
    json_object *capabilities;
    json_object *root;
    int found = 0;

    *client = default_capabilities;
    if (text == NULL) {
        return 0;
    }
    root = json_tokener_parse(text);
    if (root == NULL) {
        return -EINVAL;
    }
    /* What is not an object has no capabilities: clients in the field are not refused for that. */
    if (json_object_is_type(root, json_type_object)) {
        found = find_member(root, "capabilities", json_type_object, &capabilities);
    }
    if (found == 1) {
        found = parse_capabilities(capabilities, client);
    }
    json_object_put(root);
    return found < 0 ? found : 0;
}

static int add_number(json_object *parent, const char *key, int64_t number)
{
    json_object *value = json_object_new_int64(number);

    if (value == NULL || json_object_object_add(parent, key, value) != 0) {
        json_object_put(value);
        return -ENOMEM;
    }
    return 0;
}

static int add_flag(json_object *parent, const char *key)
{
    json_object *value = json_object_new_boolean(true);

    if (value == NULL || json_object_object_add(parent, key, value) != 0) {
        json_object_put(value);
        return -ENOMEM;
    }
    return 0;
}

static int add_migration(json_object *parent)
{
    json_object *migration = json_object_new_object();

    if (migration == NULL || json_object_object_add(parent, "migration", migration) != 0) {
        json_object_put(migration);
        return -ENOMEM;
    }
    return add_number(migration, "pgsize", sysconf(_SC_PAGESIZE));
}

/* Ours is the only descriptor of the reply. */
static int add_twin_socket(json_object *parent)
{
    json_object *twin_socket = json_object_new_object();

    if (twin_socket == NULL || json_object_object_add(parent, "twin_socket", twin_socket) != 0) {
        json_object_put(twin_socket);
        return -ENOMEM;
    }
    return add_flag(twin_socket, "supported") < 0 ? -ENOMEM
                                                  : add_number(twin_socket, "fd_index", 0);
}

static int add_capabilities(json_object *root, const struct client_capabilities *client)
{
    json_object *capabilities = json_object_new_object();

    if (capabilities == NULL || json_object_object_add(root, "capabilities", capabilities) != 0) {
        json_object_put(capabilities);
        return -ENOMEM;
    }
    if (add_number(capabilities, "max_msg_fds", NEGOTIATION_MAX_MSG_FDS) < 0 ||
        add_number(capabilities, "max_data_xfer_size", VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE) < 0) {
        return -ENOMEM;
    }
    if (client->migration && add_migration(capabilities) < 0) {
        return -ENOMEM;
    }
    if (client->twin_socket && add_twin_socket(capabilities) < 0) {
        return -ENOMEM;
    }
    return client->write_multiple ? add_flag(capabilities, "write_multiple") : 0;
}

int negotiation_describe(const struct client_capabilities *client, char *buffer, size_t size)
{
    json_object *root = json_object_new_object();
    const char *text = NULL;
    int result = -ENOMEM;

    if (root != NULL && add_capabilities(root, client) == 0) {
        text = json_object_to_json_string_ext(root, JSON_C_TO_STRING_PLAIN);
    }
    if (text != NULL && strlen(text) < size) {
        result = (int)strlen(text) + 1;
        memcpy(buffer, text, (size_t)result);
    }
    json_object_put(root);
    return result;
}

void negotiation_warm_up(void)
{
    struct client_capabilities client = {
        .twin_socket = true,
        .write_multiple = true,
        .migration = true,
    };
    char text[REPLY_TEXT_MAX];

    if (negotiation_describe(&client, text, sizeof(text)) > 0) {
        negotiation_parse(text, &client);
    }
    negotiation_parse("{", &client);
}

/* The part of the request that its header does not tell. Returns 0 or a negative errno. */
static int read_request(const struct frame *frame, struct client_capabilities *client)
{
    const struct vfio_user_version *version = frame_payload(frame);
    size_t size = frame_payload_size(frame);
    const char *text = NULL;
    int err;

    if (frame_header(frame)->cmd != VFIO_USER_VERSION || size < sizeof(*version) ||
        version->major != LIB_VFIO_USER_MAJOR) {
        return -EINVAL;
    }
    if (size > sizeof(*version)) {
        text = (const char *)version->data;
        if (text[size - sizeof(*version) - 1] != '\0') {
            return -EINVAL;
        }
    }
    err = negotiation_parse(text, client);
    client->minor =
        version->minor < LIB_VFIO_USER_MINOR ? version->minor : (uint16_t)LIB_VFIO_USER_MINOR;
    return err;
}

static int build_reply(struct reply *reply, const struct client_capabilities *client)
{
    struct vfio_user_version *version;
    char text[REPLY_TEXT_MAX];
    int size = negotiation_describe(client, text, sizeof(text));

    if (size < 0) {
        return size;
    }
    version = reply_payload(reply, sizeof(*version) + (size_t)size);
    if (version == NULL) {
        return -ENOMEM;
    }
    version->major = LIB_VFIO_USER_MAJOR;
    version->minor = client->minor;
    memcpy(version->data, text, (size_t)size);
    if (client->twin_socket) {
        reply->attachment.kind = ATTACHMENT_TWIN;
    }
    return 0;
}

/* A device that can migrate does so in pages of this machine. */
static int agree_on_migration(const struct vfu_ctx *ctx, struct client_capabilities *client)
{
    client->migration = ctx->session.migration.enabled;
    return client->migration && client->migration_pgsize != 0 &&
                   client->migration_pgsize != sysconf(_SC_PAGESIZE)
               ? -EINVAL
               : 0;
}

/* A twin socket is for those who want one and can receive it. */
static void grant(struct client_capabilities *client, const struct vfio_user_header *header)
{
    client->twin_socket =
        client->twin_socket && client->max_msg_fds > 0 && !(header->flags & VFIO_USER_F_NO_REPLY);
}

static bool brought_descriptors(const struct vfu_ctx *ctx)
{
    return ctx->connection.frame.fds.count > 0 || ctx->transport->vetting.count > 0 ||
           ctx->transport->vetting.error != 0;
}

/* Answers the first message, which is complete. */
static int answer(struct vfu_ctx *ctx)
{
    struct connection *connection = &ctx->connection;
    const struct vfio_user_header *header = frame_header(&connection->frame);
    struct reply *reply = &connection->reply;
    int err;

    if ((header->flags & VFIO_USER_F_TYPE_MASK) != VFIO_USER_F_TYPE_COMMAND) {
        return -EINVAL;
    }
    reply_begin(reply, header);
    err =
        brought_descriptors(ctx) ? -EFAULT : read_request(&connection->frame, &ctx->session.client);
    if (err == 0) {
        err = agree_on_migration(ctx, &ctx->session.client);
    }
    if (err == 0) {
        grant(&ctx->session.client, header);
        err = build_reply(reply, &ctx->session.client);
    }
    if (err < 0) {
        reply_fail(reply, err == -EFAULT ? -EINVAL : err);
    }
    if (header->flags & VFIO_USER_F_NO_REPLY) {
        reply_reset(reply);
    } else {
        reply_finish(reply);
    }
    return err;
}

/* Maps the ways in which a message can fail to come to what vfu_attach_ctx() reports. */
static int receive_error(const struct frame *frame, int err)
{
    switch (err) {
    case -ENOTCONN:
        return frame_started(frame) ? -ECONNRESET : -ENOMSG;
    case -ESHUTDOWN:
        return -ETIMEDOUT; /* the gate keeps this limit: it ended the session with the client */
    case -EBADMSG:
    case -EPROTO: /* out-of-band data: the client's fault, which EPROTO is not */
        return -EINVAL;
    default:
        return err;
    }
}

int negotiation_run(struct vfu_ctx *ctx)
{
    struct connection *connection = &ctx->connection;
    int result = connection_receive(connection, !ctx->nonblocking);
    int err;

    if (result != FRAME_COMPLETE) {
        return receive_error(&connection->frame, result);
    }
    result = answer(ctx);
    err = connection_flush(connection, false);
    connection_message_done(connection);
    if (result == 0 && err < 0 && err != -EAGAIN) {
        result = err == -ENOTCONN ? -ECONNRESET : err;
    }
    if (result == 0 && connection->attach_error < 0) {
        result =
            connection->attach_error; /* the client has got an error instead of a twin socket */
    }
    return result;
}
