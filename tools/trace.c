/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A proxy between a client and a device that prints every message, one line each. Messages pass
 * whole, with their descriptors. What goes over a twin socket is not seen: its descriptor passes
 * like any other.
 */
#include "tools/vfu.h"

#include "ipc/fd.h"
#include "ipc/frame.h"
#include "ipc/socket.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MESSAGE_MAX (4u << 20)
#define PATIENCE_MS 30000 /* for somebody who does not read */

struct side {
    const char *arrow; /* of what it sends */
    int sock;
    struct frame frame;
    struct frame_source source;
};

static const char *const command_names[] = {
    [VFIO_USER_VERSION] = "VERSION",
    [VFIO_USER_DMA_MAP] = "DMA_MAP",
    [VFIO_USER_DMA_UNMAP] = "DMA_UNMAP",
    [VFIO_USER_DEVICE_GET_INFO] = "DEVICE_GET_INFO",
    [VFIO_USER_DEVICE_GET_REGION_INFO] = "DEVICE_GET_REGION_INFO",
    [VFIO_USER_DEVICE_GET_REGION_IO_FDS] = "DEVICE_GET_REGION_IO_FDS",
    [VFIO_USER_DEVICE_GET_IRQ_INFO] = "DEVICE_GET_IRQ_INFO",
    [VFIO_USER_DEVICE_SET_IRQS] = "DEVICE_SET_IRQS",
    [VFIO_USER_REGION_READ] = "REGION_READ",
    [VFIO_USER_REGION_WRITE] = "REGION_WRITE",
    [VFIO_USER_DMA_READ] = "DMA_READ",
    [VFIO_USER_DMA_WRITE] = "DMA_WRITE",
    [VFIO_USER_DEVICE_RESET] = "DEVICE_RESET",
    [VFIO_USER_REGION_WRITE_MULTI] = "REGION_WRITE_MULTI",
    [VFIO_USER_DEVICE_FEATURE] = "DEVICE_FEATURE",
    [VFIO_USER_MIG_DATA_READ] = "MIG_DATA_READ",
    [VFIO_USER_MIG_DATA_WRITE] = "MIG_DATA_WRITE",
};
#define COMMAND_NAMES (sizeof(command_names) / sizeof(command_names[0]))

/* --- a line for each message ----------------------------------------------------------------- */

static void print_bytes(const uint8_t *bytes, size_t size)
{
    printf(" data=");
    for (size_t i = 0; i < size && i < 16; i++) {
        printf("%02x", bytes[i]);
    }
    printf("%s", size > 16 ? "..." : "");
}

static void print_access(const uint8_t *payload, size_t size)
{
    const struct vfio_user_region_access *access = (const void *)payload;

    printf(" %s+%#" PRIx64 " count=%u", vfu_region_name(access->region), access->offset,
           access->count);
    if (size > sizeof(*access)) {
        print_bytes(access->data, size - sizeof(*access));
    }
}

static void print_map(const uint8_t *payload, size_t size)
{
    const struct vfio_user_dma_map *map = (const void *)payload;

    printf(" iova=%#" PRIx64 " size=%#" PRIx64 " offset=%#" PRIx64 " flags=%#x", map->addr,
           map->size, map->offset, map->flags);
}

static void print_unmap(const uint8_t *payload, size_t size)
{
    const struct vfio_user_dma_unmap *unmap = (const void *)payload;

    printf(" iova=%#" PRIx64 " size=%#" PRIx64 " flags=%#x", unmap->addr, unmap->size,
           unmap->flags);
}

static void print_dma(const uint8_t *payload, size_t size)
{
    const struct vfio_user_dma_region_access *access = (const void *)payload;

    printf(" iova=%#" PRIx64 " count=%" PRIu64, access->addr, access->count);
    if (size > sizeof(*access)) {
        print_bytes(access->data, size - sizeof(*access));
    }
}

static void print_irqs(const uint8_t *payload, size_t size)
{
    const struct vfio_irq_set *set = (const void *)payload;

    printf(" %s start=%u count=%u flags=%#x", vfu_irq_name(set->index), set->start, set->count,
           set->flags);
}

static void print_device_info(const uint8_t *payload, size_t size)
{
    const struct vfio_user_device_info *info = (const void *)payload;

    printf(" flags=%#x regions=%u irqs=%u", info->flags, info->num_regions, info->num_irqs);
}

static void print_region_info(const uint8_t *payload, size_t size)
{
    const struct vfio_region_info *info = (const void *)payload;

    printf(" %s argsz=%u flags=%#x size=%#llx offset=%#llx", vfu_region_name(info->index),
           info->argsz, info->flags, (unsigned long long)info->size,
           (unsigned long long)info->offset);
}

static void print_io_fds(const uint8_t *payload, size_t size)
{
    const struct vfio_user_region_io_fds_request *request = (const void *)payload;

    printf(" %s argsz=%u count=%u", vfu_region_name(request->index), request->argsz,
           request->count);
}

static void print_irq_info(const uint8_t *payload, size_t size)
{
    const struct vfio_irq_info *info = (const void *)payload;

    printf(" %s count=%u flags=%#x", vfu_irq_name(info->index), info->count, info->flags);
}

/* The writes themselves are in the command, how many were done in the reply. */
static void print_writes(const uint8_t *payload, size_t size)
{
    const struct vfio_user_region_write_multi *multi = (const void *)payload;

    printf(" count=%" PRIu64, multi->wr_cnt);
    for (size_t i = 0; i < 4 && sizeof(*multi) + (i + 1) * sizeof(multi->writes[0]) <= size; i++) {
        const struct vfio_user_region_write *write = &multi->writes[i];

        printf(" %s+%#" PRIx64 "/%u", vfu_region_name(write->region), write->offset, write->count);
        print_bytes(write->data, write->count < 8 ? write->count : 8);
    }
}

static void print_state_data(const uint8_t *payload, size_t size)
{
    const struct vfio_user_mig_data *data = (const void *)payload;

    printf(" size=%u", data->size);
    if (size > sizeof(*data)) {
        print_bytes(data->data, size - sizeof(*data));
    }
}

static void print_feature(const uint8_t *payload, size_t size)
{
    const struct vfio_user_device_feature *feature = (const void *)payload;

    printf(" feature=%u%s%s%s", feature->flags & VFIO_DEVICE_FEATURE_MASK,
           feature->flags & VFIO_DEVICE_FEATURE_GET ? " get" : "",
           feature->flags & VFIO_DEVICE_FEATURE_SET ? " set" : "",
           feature->flags & VFIO_DEVICE_FEATURE_PROBE ? " probe" : "");
    if (size > sizeof(*feature)) {
        print_bytes(feature->data, size - sizeof(*feature));
    }
}

/* Printable characters of the capabilities. */
static void print_version(const uint8_t *payload, size_t size)
{
    const struct vfio_user_version *version = (const void *)payload;

    printf(" %u.%u ", version->major, version->minor);
    for (size_t i = sizeof(*version); i < size && i < 1000 && payload[i] != '\0'; i++) {
        putchar(payload[i] >= 0x20 && payload[i] < 0x7f ? payload[i] : '?');
    }
}

static const struct {
    uint16_t command;
    size_t size; /* a payload that is shorter is not decoded */
    void (*print)(const uint8_t *payload, size_t size);
} decoders[] = {
    { VFIO_USER_VERSION, sizeof(struct vfio_user_version), print_version },
    { VFIO_USER_REGION_READ, sizeof(struct vfio_user_region_access), print_access },
    { VFIO_USER_REGION_WRITE, sizeof(struct vfio_user_region_access), print_access },
    { VFIO_USER_DMA_MAP, sizeof(struct vfio_user_dma_map), print_map },
    { VFIO_USER_DMA_UNMAP, sizeof(struct vfio_user_dma_unmap), print_unmap },
    { VFIO_USER_DMA_READ, sizeof(struct vfio_user_dma_region_access), print_dma },
    { VFIO_USER_DMA_WRITE, sizeof(struct vfio_user_dma_region_access), print_dma },
    { VFIO_USER_DEVICE_GET_INFO, sizeof(struct vfio_user_device_info), print_device_info },
    { VFIO_USER_DEVICE_GET_REGION_INFO, sizeof(struct vfio_region_info), print_region_info },
    { VFIO_USER_DEVICE_GET_REGION_IO_FDS, sizeof(struct vfio_user_region_io_fds_request),
      print_io_fds },
    { VFIO_USER_DEVICE_GET_IRQ_INFO, sizeof(struct vfio_irq_info), print_irq_info },
    { VFIO_USER_REGION_WRITE_MULTI, sizeof(struct vfio_user_region_write_multi), print_writes },
    { VFIO_USER_MIG_DATA_READ, sizeof(struct vfio_user_mig_data), print_state_data },
    { VFIO_USER_MIG_DATA_WRITE, sizeof(struct vfio_user_mig_data), print_state_data },
    { VFIO_USER_DEVICE_SET_IRQS, sizeof(struct vfio_irq_set), print_irqs },
    { VFIO_USER_DEVICE_FEATURE, sizeof(struct vfio_user_device_feature), print_feature },
};

/* What a descriptor is, as far as its link in /proc tells: for the person who reads the trace. */
static void print_descriptor(int fd)
{
    char path[64];
    char link[128];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    n = readlink(path, link, sizeof(link) - 1);
    link[n > 0 ? n : 0] = '\0';
    for (char *c = link; *c != '\0'; c++) {
        *c = *c > 0x20 && *c < 0x7f ? *c : '?';
    }
    printf(" fd=%s", link);
}

static void print_message(const struct side *side, uint64_t start)
{
    const struct vfio_user_header *header = frame_header(&side->frame);
    const char *name = header->cmd < COMMAND_NAMES ? command_names[header->cmd] : NULL;
    bool reply = (header->flags & VFIO_USER_F_TYPE_MASK) == VFIO_USER_F_TYPE_REPLY;
    const uint8_t *payload = frame_payload(&side->frame);
    size_t size = frame_payload_size(&side->frame);

    printf("%.6f %s %u %s%s %u bytes", (double)(vfu_now() - start) / 1e9, side->arrow,
           header->msg_id, name != NULL ? name : "?", reply ? " reply" : "", header->msg_size);
    if (name == NULL) {
        printf(" command=%u", header->cmd);
    }
    if (header->flags & VFIO_USER_F_ERROR) {
        const char *error = strerrorname_np((int)header->error_no);

        printf(" error=%s", error != NULL ? error : "?");
    }
    if (header->flags & VFIO_USER_F_NO_REPLY) {
        printf(" no-reply");
    }
    for (size_t i = 0; i < sizeof(decoders) / sizeof(decoders[0]); i++) {
        if (decoders[i].command == header->cmd && size >= decoders[i].size) {
            decoders[i].print(payload, size);
        }
    }
    for (size_t i = 0; i < side->frame.fds.count; i++) {
        print_descriptor(side->frame.fds.fds[i]);
    }
    printf("\n");
    fflush(stdout);
}

/* --- passing on ------------------------------------------------------------------------------ */

static bool any_carries_fds(const struct vfio_user_header *header)
{
    return true;
}

static ssize_t take(void *opaque, uint16_t command, void *buffer, size_t size, struct fd_list *fds)
{
    const struct side *side = opaque;

    return socket_receive(side->sock, buffer, size, MSG_DONTWAIT, fds);
}

static int side_init(struct side *side, const char *arrow, int sock)
{
    *side = (struct side){ .arrow = arrow, .sock = sock };
    side->source = (struct frame_source){
        .sock = sock,
        .carries_fds = any_carries_fds,
        .take = take,
        .opaque = side,
    };
    return frame_init(&side->frame, MESSAGE_MAX);
}

static int send_message(const struct side *from, int to)
{
    const struct fd_list *fds = &from->frame.fds;
    size_t size = frame_header(&from->frame)->msg_size;

    for (size_t sent = 0; sent < size;) {
        struct pollfd room = { .fd = to, .events = POLLOUT };
        ssize_t n = socket_send(to, from->frame.data + sent, size - sent, MSG_DONTWAIT,
                                sent == 0 ? fds : NULL);

        if (n > 0) {
            sent += (size_t)n;
        } else if (n != -EAGAIN) {
            return (int)n;
        } else if (poll(&room, 1, PATIENCE_MS) == 0) {
            return -ETIMEDOUT;
        }
    }
    return 0;
}

/* Passes on what has come from @from. Returns 0, or a negative errno at the end. */
static int pass(struct side *from, int to, uint64_t start)
{
    int result;

    while ((result = frame_receive(&from->frame, &from->source)) == FRAME_COMPLETE) {
        int err;

        print_message(from, start);
        err = send_message(from, to);
        frame_reset(&from->frame);
        if (err < 0) {
            return err;
        }
    }
    return result;
}

static int relay(int client, int device)
{
    struct side sides[2];
    uint64_t start = vfu_now();
    int err = side_init(&sides[0], ">", client);

    if (err == 0) {
        err = side_init(&sides[1], "<", device);
    }
    while (err == 0) {
        struct pollfd fds[] = { { .fd = client, .events = POLLIN },
                                { .fd = device, .events = POLLIN } };

        if (poll(fds, 2, -1) < 0 && errno != EINTR) {
            err = -errno;
        }
        for (int i = 0; i < 2 && err == 0; i++) {
            err = fds[i].revents ? pass(&sides[i], sides[1 - i].sock, start) : 0;
        }
    }
    frame_fini(&sides[0].frame);
    frame_fini(&sides[1].frame);
    return err;
}

static int address_of(struct sockaddr_un *address, const char *path)
{
    *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof(address->sun_path)) {
        return -ENAMETOOLONG;
    }
    strcpy(address->sun_path, path);
    return 0;
}

/* Waits for the one client on @path. Returns its socket or a negative errno. */
static int accept_client(const char *path)
{
    AUTO_FD listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address;
    int err = address_of(&address, path);
    int client;

    if (err < 0) {
        return err;
    }
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0) {
        return -errno;
    }
    client = listen(listener, 1) < 0 ? -1 : accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    err = -errno;
    unlink(path);
    return client >= 0 ? client : err;
}

static int connect_device(const char *path)
{
    AUTO_FD device = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address;
    int err = address_of(&address, path);

    if (err < 0) {
        return err;
    }
    if (device < 0 || connect(device, (struct sockaddr *)&address, sizeof(address)) < 0) {
        return -errno;
    }
    return fd_take(&device);
}

int vfu_trace(int argc, char **argv)
{
    static const struct option options[] = {
        { "listen", required_argument, NULL, 'l' },
        { "connect", required_argument, NULL, 'c' },
        { NULL, 0, NULL, 0 },
    };
    const char *listen_path = NULL;
    const char *connect_path = NULL;
    AUTO_FD client = -1;
    AUTO_FD device = -1;
    int result;

    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) >= 0;) {
        *(option == 'l' ? &listen_path : &connect_path) = optarg;
        if (option == '?') {
            return VFU_USAGE;
        }
    }
    if (listen_path == NULL || connect_path == NULL || optind != argc) {
        return vfu_usage("trace", "--listen SOCKET --connect SOCKET");
    }
    client = accept_client(listen_path);
    if (client < 0) {
        return vfu_failed(listen_path, client);
    }
    device = connect_device(connect_path);
    if (device < 0) {
        return vfu_failed(connect_path, device);
    }
    result = relay(client, device);
    return result == -ENOTCONN || result == -EPIPE ? VFU_OK : vfu_failed("trace", result);
}
