/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VERSION. The JSON of the reply is the server's and not trusted: what cannot be worked with ends
 * the negotiation, unknown members do not.
 */
#include "client/internal.h"

#include <errno.h>
#include <json-c/json.h>
#include <string.h>

/* More than any sane server says of itself. */
#define MAX_XFER_SIZE (64u * 1024 * 1024)

static const char offer[] = "{\"capabilities\":{\"max_msg_fds\":253,"
                            "\"max_data_xfer_size\":1048576,\"max_dma_maps\":65535,"
                            "\"pgsizes\":4096,\"migration\":{\"pgsize\":4096},"
                            "\"write_multiple\":true}}";

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

static int read_migration(const struct json_object *object, struct client_capabilities *server)
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

static int read_capabilities(const struct json_object *object, struct client_capabilities *server)
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
    return err;
}

static int parse_json(const char *text, struct client_capabilities *server)
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

static int parse_reply(const struct client_message *reply, struct client_capabilities *server)
{
    struct vfio_user_version version;
    const char *text = (const char *)reply->payload + sizeof(version);

    if (reply->size < sizeof(version) || reply->fds.count != 0) {
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

int client_negotiate(struct client *client)
{
    const struct vfio_user_version version = {
        .major = LIB_VFIO_USER_MAJOR,
        .minor = LIB_VFIO_USER_MINOR,
    };
    const struct client_request request = {
        .command = VFIO_USER_VERSION,
        .head = &version,
        .head_size = sizeof(version),
        .data = offer,
        .data_size = sizeof(offer),
    };
    AUTO_CLIENT_MESSAGE reply = { .size = 0 };
    struct client_capabilities server = client->server;
    int result = client_command(client, &request, &reply);

    if (result == 0) {
        result = parse_reply(&reply, &server);
    }
    if (result == 0) {
        client->server = server;
    }
    return result;
}

const struct client_capabilities *client_server_capabilities(const struct client *client)
{
    return &client->server;
}
