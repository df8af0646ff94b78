/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/transport.h"

#include "device/context.h"
#include "device/fd_kind.h"
#include "ipc/control.h"

#include <errno.h>
#include <stdlib.h>

int transport_create(struct transport **transport, struct vfu_ctx *ctx, const char *path)
{
    const char *channels = getenv(CONTROL_ENV);

    return channels != NULL ? transport_broker_create(transport, ctx, channels, path)
                            : transport_socket_create(transport, path, ctx->nonblocking);
}

int transport_check_descriptor(struct transport *transport, const struct fd_list *fds, size_t index,
                               enum descriptor_kind wanted)
{
    const struct vetting *vetting = &transport->vetting;

    if (!transport->vets) {
        /* Memory may be whatever mmap(2) accepts. */
        return wanted == DESCRIPTOR_MEMORY || fd_is_eventfd(fds->fds[index]) ? 0 : -EINVAL;
    }
    if (index >= vetting->count) {
        return -EINVAL;
    }
    if (wanted == DESCRIPTOR_MEMORY && (vetting->kind[index] == DESCRIPTOR_WITHHELD ||
                                        vetting->kind[index] == DESCRIPTOR_READ_ONLY)) {
        return vetting->kind[index];
    }
    return vetting->kind[index] == wanted ? 0 : -EINVAL;
}
