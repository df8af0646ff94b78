/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VERSION. The JSON of the reply is the server's and not trusted: what cannot be worked with ends
 * the negotiation, unknown members do not.
 */
#include "client/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

/* More than any sane server says of itself. */
#define MAX_XFER_SIZE (64u * 1024 * 1024)

static const struct vfu_client_offer default_offer = {
    .max_msg_fds = FD_LIST_MAX,
    .max_data_xfer_size = VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE,
    .write_multiple = true,
};

static uint64_t or_default(uint64_t value, uint64_t otherwise)
{
    return value != 0 ? value : otherwise;
}

/* Returns the size of the text with its NUL. */
static size_t describe(const struct vfu_client_offer *offer, char *text, size_t size)
{
    int n = snprintf(
        text, size,
        "{\"capabilities\":{\"max_msg_fds\":%" PRIu32 ",\"max_data_xfer_size\":%" PRIu64
        ",\"max_dma_maps\":%" PRIu64 ",\"pgsizes\":%" PRIu64 ",\"migration\":{\"pgsize\":%" PRIu64
        "},\"write_multiple\":%s%s}}",
        offer->max_msg_fds, offer->max_data_xfer_size, or_default(offer->max_dma_maps, 65535),
        or_default(offer->pgsizes, 4096), or_default(offer->migration_pgsize, 4096),
        offer->write_multiple ? "true" : "false",
        offer->twin_socket ? ",\"twin_socket\":{\"supported\":true}" : "");

    return (size_t)n + 1;
}

/* A member that is absent leaves @value as it is. */
static int read_number(const struct json_object *object, const char *key, uint64_t min,
                       uint64_t max, uint64_t *value)
{
    struct json_object *member;
    int64_t number;

    if (!json_object_object_get_ex(object, key, &member)) {
        return 0;
    }
    if (!json_object_is_type(member, json_type_int)) {
        return -EPROTO;
    }
    number = json_object_get_int64(member);
    if (number < 0 || (uint64_t)number < min || (uint64_t)number > max) {
        return -EPROTO;
    }
    *value = (uint64_t)number;
    return 0;
}

static int read_migration(const struct json_object *object, struct vfu_client_capabilities *server)
{
    struct json_object *member;

    if (!json_object_object_get_ex(object, "migration", &member)) {
        return 0;
    }
    if (!json_object_is_type(member, json_type_object)) {
        return -EPROTO;
    }
    server->migration_pgsize = 4096;
    return read_number(member, "pgsize", 4096, INT64_MAX, &server->migration_pgsize);
}

static int read_bool(const struct json_object *object, const char *key, bool *value)
{
    struct json_object *member;

    if (!json_object_object_get_ex(object, key, &member)) {
        return 0;
    }
    if (!json_object_is_type(member, json_type_boolean)) {
        return -EPROTO;
    }
    *value = json_object_get_boolean(member);
    return 0;
}

/* Granted, it names the descriptor that is our end. */
static int read_twin_socket(const struct json_object *object,
                            struct vfu_client_capabilities *server)
{
    struct json_object *member;
    uint64_t index = UINT64_MAX;
    int err;

    if (!json_object_object_get_ex(object, "twin_socket", &member)) {
        return 0;
    }
    if (!json_object_is_type(member, json_type_object)) {
        return -EPROTO;
    }
    err = read_bool(member, "supported", &server->twin_socket);
    if (err == 0 && server->twin_socket) {
        err = read_number(member, "fd_index", 0, FD_LIST_MAX - 1, &index);
        server->twin_fd_index = (uint32_t)index;
    }
    return err < 0 || (server->twin_socket && index == UINT64_MAX) ? -EPROTO : 0;
}

static int read_capabilities(const struct json_object *object,
                             struct vfu_client_capabilities *server)
{
    uint64_t max_msg_fds = server->max_msg_fds;
    int err = read_number(object, "max_msg_fds", 0, UINT32_MAX, &max_msg_fds);

    if (err == 0) {
        server->max_msg_fds = (uint32_t)max_msg_fds;
        err = read_number(object, "max_data_xfer_size", 1, MAX_XFER_SIZE,
                          &server->max_data_xfer_size);
    }
    if (err == 0) {
        err = read_number(object, "max_dma_maps", 0, INT64_MAX, &server->max_dma_maps);
    }
    if (err == 0) {
        err = read_number(object, "pgsizes", 0, INT64_MAX, &server->pgsizes);
    }
    if (err == 0) {
        err = read_migration(object, server);
    }
    if (err == 0) {
        err = read_bool(object, "write_multiple", &server->write_multiple);
    }
    if (err == 0) {
        err = read_twin_socket(object, server);
    }
    return err;
}

static int parse_json(const char *text, struct vfu_client_capabilities *server)
{
    struct json_object *top = json_tokener_parse(text);
    struct json_object *capabilities;
    int err = 0;

    if (!json_object_is_type(top, json_type_object)) {
        err = -EPROTO;
    } else if (json_object_object_get_ex(top, "capabilities", &capabilities)) {
        err = json_object_is_type(capabilities, json_type_object)
                  ? read_capabilities(capabilities, server)
                  : -EPROTO;
    }
    json_object_put(top);
    return err;
}

static int parse_reply(const struct vfu_client_message *reply,
                       struct vfu_client_capabilities *server)
{
    struct vfio_user_version version;
    const char *text = (const char *)reply->payload + sizeof(version);

    if (reply->size < sizeof(version)) {
        return -EPROTO;
    }
    memcpy(&version, reply->payload, sizeof(version));
    if (version.major != LIB_VFIO_USER_MAJOR || version.minor > LIB_VFIO_USER_MINOR) {
        return -EPROTO;
    }
    server->minor = version.minor;
    if (reply->size == sizeof(version)) {
        return 0;
    }
    if (reply->payload[reply->size - 1] != '\0') {
        return -EPROTO;
    }
    return parse_json(text, server);
}

/* There is a descriptor if it was granted, and it was granted only if it was asked for. */
static int take_twin_socket(struct vfu_client *client, const struct vfu_client_offer *offer,
                            const struct vfu_client_capabilities *server,
                            struct vfu_client_message *reply)
{
    if (!server->twin_socket) {
        return reply->fds.count == 0 ? 0 : -EPROTO;
    }
    if (!offer->twin_socket || server->twin_fd_index >= reply->fds.count) {
        return -EPROTO;
    }
    return stream_open(&client->twin, fd_list_take(&reply->fds, server->twin_fd_index));
}

int vfu_client_negotiate_as(struct vfu_client *client, const struct vfu_client_offer *offer)
{
    const struct vfio_user_version version = {
        .major = LIB_VFIO_USER_MAJOR,
        .minor = LIB_VFIO_USER_MINOR,
    };
    char text[512];
    const struct vfu_client_request request = {
        .command = VFIO_USER_VERSION,
        .head = &version,
        .head_size = sizeof(version),
        .data = text,
        .data_size = describe(offer, text, sizeof(text)),
    };
    AUTO_VFU_CLIENT_MESSAGE reply = { .size = 0 };
    struct vfu_client_capabilities server = client->server;
    int result;

    client->max_data_xfer_size = offer->max_data_xfer_size;
    result = vfu_client_command(client, &request, &reply);
    if (result == 0) {
        result = parse_reply(&reply, &server);
    }
    if (result == 0) {
        result = take_twin_socket(client, offer, &server, &reply);
    }
    if (result == 0) {
        client->server = server;
    }
    return result;
}

int vfu_client_negotiate(struct vfu_client *client)
{
    return vfu_client_negotiate_as(client, &default_offer);
}

const struct vfu_client_capabilities *
vfu_client_server_capabilities(const struct vfu_client *client)
{
    return &client->server;
}
