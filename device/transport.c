/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/transport.h"

#include "device/fd_kind.h"
#include "ipc/control.h"

#include <errno.h>
#include <stdlib.h>

int transport_create(struct transport **transport, const char *path, bool nonblocking)
{
    const char *channel = getenv(CONTROL_ENV);

    return channel != NULL ? transport_broker_create(transport, channel, nonblocking)
                           : transport_socket_create(transport, path, nonblocking);
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
    if (vetting->kind[index] == DESCRIPTOR_WITHHELD && wanted == DESCRIPTOR_MEMORY) {
        return 1;
    }
    return vetting->kind[index] == wanted ? 0 : -EINVAL;
}
