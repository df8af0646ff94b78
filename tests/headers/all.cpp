/* SPDX-License-Identifier: BSD-3-Clause */
/* A device program in C++: all public headers together, and what is different in that language. */
#include <libvfio-user.h>
#include <vfio-user/libvfio-user.h>
#include <vfio-user/pci_caps/common.h>
#include <vfio-user/pci_caps/dsn.h>
#include <vfio-user/pci_caps/msi.h>
#include <vfio-user/pci_caps/msix.h>
#include <vfio-user/pci_caps/pm.h>
#include <vfio-user/pci_caps/px.h>
#include <vfio-user/pci_defs.h>
#include <vfio-user/vfio-user.h>
#include <vfio-user/vfu-broker.h>

#include <cerrno>
#include <cstdio>

#define SOCKET "header-cpp.sock" /* in the directory of the build */

static_assert(sizeof(pxcap) == 0x3c && alignof(pxcap) == 1, "layout");
static_assert(sizeof(msixcap) == 12 && alignof(msixcap) == 4, "layout");
static_assert(sizeof(vfu_pci_config_space_t) == 256, "layout");

/* With the region limit, without it (issue 3, item 5), and the name alone. */
struct api {
    int (*vfu_setup_device_dma)(vfu_ctx_t *, size_t, vfu_dma_register_cb_t *,
                                vfu_dma_unregister_cb_t *) = ::vfu_setup_device_dma;
};

static bool set_up_dma(vfu_ctx_t *ctx)
{
    auto function = &vfu_setup_device_dma;
    api table;

    return vfu_setup_device_dma(
               ctx, [](vfu_ctx_t *, vfu_dma_info_t *) {}, nullptr) == 0 &&
           vfu_setup_device_dma(ctx, 16, nullptr, nullptr) == 0 &&
           table.vfu_setup_device_dma(ctx, 16, nullptr, nullptr) == 0 &&
           (vfu_setup_device_dma)(ctx, 16, nullptr, nullptr) == 0 &&
           function(ctx, 16, nullptr, nullptr) == 0;
}

int main()
{
    unlink(SOCKET); /* of a run that was interrupted */
    vfu_ctx_t *ctx = vfu_create_ctx(VFU_TRANS_SOCK, SOCKET, 0, nullptr, VFU_DEV_TYPE_PCI);

    if (ctx == nullptr || !set_up_dma(ctx)) {
        std::perror("DMA");
        return 1;
    }
    if (vfu_is_sealed() || vfu_policy_name() != nullptr || vfu_resource_fd("") != -1 ||
        vfu_msix_trigger(ctx, 0) != -1) {
        std::puts("this process is not what it was started as");
        return 1;
    }
    vfu_destroy_ctx(ctx);
    errno = 0;
    if (vfu_create_ctx(VFU_TRANS_MAX, "", 0, nullptr, VFU_DEV_TYPE_PCI) != nullptr ||
        errno != ENOTSUP) {
        std::puts("the library is not the one that the headers describe");
        return 1;
    }
    return 0;
}
