/* SPDX-License-Identifier: BSD-3-Clause */
/* The ABI of the public headers, written down a second time from api.md, sections 1.1 to 1.8. */
#include <libvfio-user.h>

/* After it on purpose: 1.1 [C], names that programs get from the main header alone. */
typedef struct {
    bool truth;
    ssize_t size;
    struct iovec vector;
    LIST_HEAD(, node) list;
    TAILQ_HEAD(, node) tail;
    int levels[LOG_DEBUG + PCI_CFG_SPACE_EXP_SIZE + VFIO_PCI_NUM_IRQS];
} transitive_names_t;

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define SOCKET "header-layouts.sock" /* in the directory of the build */

#define LAYOUT(type, size, alignment)                                                              \
    static_assert(sizeof(type) == (size) && _Alignof(type) == (alignment), #type)
#define OFFSET(type, member, offset)                                                               \
    static_assert(offsetof(type, member) == (offset), #type "." #member)
#define VALUE(name, value) static_assert((name) == (value), #name)

/* 1.8 */
LAYOUT(vfu_pci_hdr_id_t, 4, 1);
LAYOUT(vfu_pci_hdr_cmd_t, 2, 1);
LAYOUT(vfu_pci_hdr_sts_t, 2, 1);
LAYOUT(vfu_pci_hdr_cc_t, 3, 1);
LAYOUT(vfu_pci_hdr_htype_t, 1, 1);
LAYOUT(vfu_pci_hdr_bist_t, 1, 1);
LAYOUT(vfu_bar_t, 4, 1);
LAYOUT(vfu_pci_hdr_ss_t, 4, 1);
LAYOUT(vfu_pci_hdr_intr_t, 2, 1);
LAYOUT(vfu_pci_hdr_t, 64, 1);
LAYOUT(vfu_pci_config_space_t, 256, 1);
LAYOUT(struct cap_hdr, 2, 1);
LAYOUT(struct vsc, 3, 1);
LAYOUT(struct pcie_ext_cap_hdr, 4, 1);
LAYOUT(struct pcie_ext_cap_vsc_hdr, 8, 1);
LAYOUT(struct dsncap, 12, 1);
LAYOUT(struct mc, 2, 1);
LAYOUT(struct ma, 4, 1);
LAYOUT(struct msicap, 24, 1);
LAYOUT(struct mxc, 2, 1);
LAYOUT(struct mtab, 4, 1);
LAYOUT(struct mpba, 4, 1);
LAYOUT(struct msixcap, 12, 4);
LAYOUT(struct pc, 2, 1);
LAYOUT(struct pmcs, 2, 1);
LAYOUT(struct pmcap, 8, 1);
LAYOUT(struct pxcap, 60, 1);
LAYOUT(union pxdc, 2, 1);
LAYOUT(union pxlc, 2, 1);
LAYOUT(union pxdc2, 2, 1);
LAYOUT(struct pxdcap, 4, 1);
LAYOUT(struct pxdcap2, 4, 1);
LAYOUT(struct vfio_user_header, 16, 1);
LAYOUT(struct vfio_user_version, 4, 1);
LAYOUT(struct vfio_user_device_info, 16, 1);
LAYOUT(struct vfio_user_bitmap, 16, 1);
LAYOUT(struct vfio_user_dma_map, 32, 1);
LAYOUT(struct vfio_user_dma_unmap, 24, 8);
LAYOUT(struct vfio_user_region_access, 16, 1);
LAYOUT(struct vfio_user_dma_region_access, 16, 1);
LAYOUT(struct vfio_user_irq_info, 4, 1);
LAYOUT(vfio_user_region_io_fds_request_t, 16, 1);
LAYOUT(vfio_user_sub_region_ioeventfd_t, 48, 1);
LAYOUT(vfio_user_sub_region_ioregionfd_t, 40, 1);
LAYOUT(vfio_user_region_io_fds_reply_t, 16, 1);
LAYOUT(struct vfio_user_device_feature, 8, 1);
LAYOUT(struct vfio_user_device_feature_migration, 8, 1);
LAYOUT(struct vfio_user_device_feature_mig_state, 8, 1);
LAYOUT(struct vfio_user_device_feature_dma_logging_range, 16, 1);
LAYOUT(struct vfio_user_device_feature_dma_logging_control, 16, 1);
LAYOUT(struct vfio_user_device_feature_dma_logging_report, 24, 1);
LAYOUT(struct vfio_user_mig_data, 8, 1);
LAYOUT(vfu_dma_info_t, 56, 8);
LAYOUT(vfu_migration_callbacks_t, 32, 8);

OFFSET(vfu_dma_info_t, iova, 0);
OFFSET(vfu_dma_info_t, vaddr, 16);
OFFSET(vfu_dma_info_t, mapping, 24);
OFFSET(vfu_dma_info_t, page_size, 40);
OFFSET(vfu_dma_info_t, prot, 48);
OFFSET(vfu_migration_callbacks_t, version, 0);
OFFSET(vfu_migration_callbacks_t, transition, 8);
OFFSET(vfu_migration_callbacks_t, read_data, 16);
OFFSET(vfu_migration_callbacks_t, write_data, 24);
OFFSET(vfu_pci_hdr_t, id, 0);
OFFSET(vfu_pci_hdr_t, cmd, 4);
OFFSET(vfu_pci_hdr_t, sts, 6);
OFFSET(vfu_pci_hdr_t, rid, 8);
OFFSET(vfu_pci_hdr_t, cc, 9);
OFFSET(vfu_pci_hdr_t, cls, 12);
OFFSET(vfu_pci_hdr_t, mlt, 13);
OFFSET(vfu_pci_hdr_t, htype, 14);
OFFSET(vfu_pci_hdr_t, bist, 15);
OFFSET(vfu_pci_hdr_t, bars, 16);
OFFSET(vfu_pci_hdr_t, ccptr, 40);
OFFSET(vfu_pci_hdr_t, ss, 44);
OFFSET(vfu_pci_hdr_t, erom, 48);
OFFSET(vfu_pci_hdr_t, cap, 52);
OFFSET(vfu_pci_hdr_t, res1, 53);
OFFSET(vfu_pci_hdr_t, intr, 60);
OFFSET(vfu_pci_hdr_t, mgnt, 62);
OFFSET(vfu_pci_hdr_t, mlat, 63);
OFFSET(vfu_pci_config_space_t, extended, 256);
OFFSET(vfio_user_sub_region_ioeventfd_t, gpa_offset, 0);
OFFSET(vfio_user_sub_region_ioeventfd_t, size, 8);
OFFSET(vfio_user_sub_region_ioeventfd_t, fd_index, 16);
OFFSET(vfio_user_sub_region_ioeventfd_t, type, 20);
OFFSET(vfio_user_sub_region_ioeventfd_t, flags, 24);
OFFSET(vfio_user_sub_region_ioeventfd_t, shadow_mem_fd_index, 28);
OFFSET(vfio_user_sub_region_ioeventfd_t, shadow_offset, 32);
OFFSET(vfio_user_sub_region_ioeventfd_t, datamatch, 40);
OFFSET(vfio_user_sub_region_ioregionfd_t, offset, 0);
OFFSET(vfio_user_sub_region_ioregionfd_t, size, 8);
OFFSET(vfio_user_sub_region_ioregionfd_t, fd_index, 16);
OFFSET(vfio_user_sub_region_ioregionfd_t, type, 20);
OFFSET(vfio_user_sub_region_ioregionfd_t, flags, 24);
OFFSET(vfio_user_sub_region_ioregionfd_t, padding, 28);
OFFSET(vfio_user_sub_region_ioregionfd_t, user_data, 32);
OFFSET(vfio_user_region_io_fds_reply_t, sub_regions, 16);
OFFSET(struct vfio_user_dma_unmap, bitmap, 24);
OFFSET(struct vsc, data, 3);
OFFSET(struct pcie_ext_cap_vsc_hdr, data, 8);
OFFSET(struct dsncap, sn_lo, 4);
OFFSET(struct dsncap, sn_hi, 8);
OFFSET(struct msicap, mc, 2);
OFFSET(struct msicap, ma, 4);
OFFSET(struct msicap, mua, 8);
OFFSET(struct msicap, md, 12);
OFFSET(struct msicap, padding, 14);
OFFSET(struct msicap, mmask, 16);
OFFSET(struct msicap, mpend, 20);
OFFSET(struct msixcap, mxc, 2);
OFFSET(struct msixcap, mtab, 4);
OFFSET(struct msixcap, mpba, 8);
OFFSET(struct pmcap, pc, 2);
OFFSET(struct pmcap, pmcs, 4);
OFFSET(struct pmcap, pmcsr_bse, 6);
OFFSET(struct pmcap, data, 7);

/* 1.2, 1.3 */
VALUE(LIB_VFIO_USER_MAJOR, 0);
VALUE(LIB_VFIO_USER_MINOR, 2);
VALUE(LIBVFIO_USER_FLAG_ATTACH_NB, 1);
VALUE(LIBVFIO_USER_MAX_DMA_REGIONS, 1000000);
VALUE(VFU_REGION_FLAG_READ, 1);
VALUE(VFU_REGION_FLAG_WRITE, 2);
VALUE(VFU_REGION_FLAG_RW, 3);
VALUE(VFU_REGION_FLAG_MEM, 4);
VALUE(VFU_REGION_FLAG_ALWAYS_CB, 8);
VALUE(VFU_REGION_FLAG_64_BITS, 16);
VALUE(VFU_REGION_FLAG_PREFETCH, 32);
VALUE(VFU_REGION_FLAG_MASK, 0x3f);
VALUE(VFU_SGL_DIRECT_ACCESS, 1);
VALUE(VFU_CAP_FLAG_EXTENDED, 1);
VALUE(VFU_CAP_FLAG_CALLBACK, 2);
VALUE(VFU_CAP_FLAG_READONLY, 4);
VALUE(VFU_MIGR_CALLBACKS_VERS, 2);
VALUE(PCI_BARS_NR, 6);
VALUE(PCI_BASE_ADDRESS_MEM_TYPE_LOCATABLE_32, 0);
VALUE(PCI_BASE_ADDRESS_MEM_TYPE_LOCATABLE_1M, 1);
VALUE(PCI_BASE_ADDRESS_MEM_TYPE_LOCATABLE_64, 2);
VALUE(VFIO_USER_PCI_CAP_MSI_SIZEOF, 0x18);
VALUE(VFIO_USER_PCI_CAP_EXP_SIZEOF, 0x3c);
VALUE(VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE, 1048576);
VALUE(VFIO_USER_FLAGS_NO_REPLY, 1);
VALUE(VFIO_USER_F_TYPE_MASK, 0xf);
VALUE(VFIO_USER_F_TYPE_COMMAND, 0);
VALUE(VFIO_USER_F_TYPE_REPLY, 1);
VALUE(VFIO_USER_F_NO_REPLY, 0x10);
VALUE(VFIO_USER_F_ERROR, 0x20);
VALUE(VFIO_USER_F_DMA_REGION_READ, 1);
VALUE(VFIO_USER_F_DMA_REGION_WRITE, 2);
VALUE(VFIO_USER_F_DMA_REGION_MMAP, 4);
VALUE(VFIO_USER_F_DMA_REGION_FILE_IO, 8);
VALUE(VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, 1);
VALUE(VFIO_DMA_UNMAP_FLAG_ALL, 2);
VALUE(VFIO_USER_IO_FD_TYPE_IOEVENTFD, 0);
VALUE(VFIO_USER_IO_FD_TYPE_IOREGIONFD, 1);
VALUE(VFIO_USER_IO_FD_TYPE_IOEVENTFD_SHADOW, 2);
VALUE(VFIO_DEVICE_FEATURE_MASK, 0xffff);
VALUE(VFIO_DEVICE_FEATURE_GET, (1 << 16));
VALUE(VFIO_DEVICE_FEATURE_SET, (1 << 17));
VALUE(VFIO_DEVICE_FEATURE_PROBE, (1 << 18));
VALUE(VFIO_DEVICE_FEATURE_MIGRATION, 1);
VALUE(VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, 2);
VALUE(VFIO_DEVICE_FEATURE_DMA_LOGGING_START, 6);
VALUE(VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, 7);
VALUE(VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, 8);
VALUE(VFIO_MIGRATION_STOP_COPY, 1);
VALUE(VFIO_MIGRATION_P2P, 2);
VALUE(VFIO_MIGRATION_PRE_COPY, 4);
VALUE(VFU_TRANS_SOCK, 0);
VALUE(VFU_TRANS_PIPE, 1);
VALUE(VFU_TRANS_MAX, 2);
VALUE(VFU_DEV_TYPE_PCI, 0);
VALUE(VFU_RESET_DEVICE, 0);
VALUE(VFU_RESET_LOST_CONN, 1);
VALUE(VFU_RESET_PCI_FLR, 2);
VALUE(VFU_DEV_INTX_IRQ, 0);
VALUE(VFU_DEV_MSI_IRQ, 1);
VALUE(VFU_DEV_MSIX_IRQ, 2);
VALUE(VFU_DEV_ERR_IRQ, 3);
VALUE(VFU_DEV_REQ_IRQ, 4);
VALUE(VFU_DEV_NUM_IRQS, 5);
VALUE(VFU_MIGR_STATE_STOP, 0);
VALUE(VFU_MIGR_STATE_RUNNING, 1);
VALUE(VFU_MIGR_STATE_STOP_AND_COPY, 2);
VALUE(VFU_MIGR_STATE_PRE_COPY, 3);
VALUE(VFU_MIGR_STATE_RESUME, 4);
VALUE(VFU_PCI_DEV_BAR0_REGION_IDX, 0);
VALUE(VFU_PCI_DEV_BAR5_REGION_IDX, 5);
VALUE(VFU_PCI_DEV_ROM_REGION_IDX, 6);
VALUE(VFU_PCI_DEV_CFG_REGION_IDX, 7);
VALUE(VFU_PCI_DEV_VGA_REGION_IDX, 8);
VALUE(VFU_PCI_DEV_NUM_REGIONS, 9);
VALUE(VFU_PCI_TYPE_CONVENTIONAL, 0);
VALUE(VFU_PCI_TYPE_PCI_X_1, 1);
VALUE(VFU_PCI_TYPE_PCI_X_2, 2);
VALUE(VFU_PCI_TYPE_EXPRESS, 3);
VALUE(VFU_GENERIC_DEV_MIGR_REGION_IDX, 0);
VALUE(VFU_GENERIC_DEV_NUM_REGIONS, 1);
VALUE(VFIO_USER_MESSAGE_COMMAND, 0);
VALUE(VFIO_USER_MESSAGE_REPLY, 1);
VALUE(VFIO_USER_VERSION, 1);
VALUE(VFIO_USER_DEVICE_RESET, 13);
VALUE(VFIO_USER_REGION_WRITE_MULTI, 15);
VALUE(VFIO_USER_DEVICE_FEATURE, 16);
VALUE(VFIO_USER_MIG_DATA_READ, 17);
VALUE(VFIO_USER_MIG_DATA_WRITE, 18);
VALUE(VFIO_USER_MAX, 19);
VALUE(VFIO_USER_DEVICE_STATE_ERROR, 0);
VALUE(VFIO_USER_DEVICE_STATE_PRE_COPY_P2P, 7);
VALUE(VFIO_USER_DEVICE_NUM_STATES, 8);

/* 1.4 [C]: callback types are function types. */
static vfu_reset_cb_t reset_declared_through_its_type;

static int reset_declared_through_its_type(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    return 0;
}

/* And a loff_t is as good as an off_t. */
static ssize_t access_with_loff_t(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset,
                                  bool is_write)
{
    return (ssize_t)count;
}

static void test_callback_types_are_function_types(void **state)
{
    vfu_reset_cb_t *reset = reset_declared_through_its_type;
    vfu_region_access_cb_t *access = access_with_loff_t;

    assert_int_equal(reset(NULL, VFU_RESET_DEVICE), 0);
    assert_int_equal(access(NULL, NULL, 4, 0, false), 4);
    assert_true(sizeof(transitive_names_t) > 0);
}

/* The bits of a type that change when a field alone is set, least significant first. */
#define CHECK_FIELD(type, member, first, count)                                                    \
    do {                                                                                           \
        const uint64_t ones = ((uint64_t)1 << (count)) - 1;                                        \
        uint64_t found = 0;                                                                        \
        type value;                                                                                \
        memset(&value, 0, sizeof(value));                                                          \
        value.member = (__typeof__(value.member + 0))ones;                                         \
        memcpy(&found, &value, sizeof(value));                                                     \
        if (found != ones << (first)) {                                                            \
            fail_msg("%s: bits %#lx", #type "." #member, (unsigned long)found);                    \
        }                                                                                          \
    } while (0)

/* 1.5, 1.6 */
static void test_bit_fields_are_where_they_belong(void **state)
{
    /* clang-format off */
    CHECK_FIELD(vfu_pci_hdr_cmd_t, iose, 0, 1);
    CHECK_FIELD(vfu_pci_hdr_cmd_t, mse, 1, 1);
    CHECK_FIELD(vfu_pci_hdr_cmd_t, bme, 2, 1);
    CHECK_FIELD(vfu_pci_hdr_cmd_t, sce, 3, 1);
    CHECK_FIELD(vfu_pci_hdr_cmd_t, mwie, 4, 1);
    CHECK_FIELD(vfu_pci_hdr_cmd_t, vga, 5, 1);
    CHECK_FIELD(vfu_pci_hdr_cmd_t, pee, 6, 1);
    CHECK_FIELD(vfu_pci_hdr_cmd_t, zero, 7, 1);
    CHECK_FIELD(vfu_pci_hdr_cmd_t, see, 8, 1);
    CHECK_FIELD(vfu_pci_hdr_cmd_t, fbe, 9, 1);
    CHECK_FIELD(vfu_pci_hdr_cmd_t, id, 10, 1);
    CHECK_FIELD(vfu_pci_hdr_cmd_t, res1, 11, 5);
    CHECK_FIELD(vfu_pci_hdr_sts_t, res1, 0, 3);
    CHECK_FIELD(vfu_pci_hdr_sts_t, is, 3, 1);
    CHECK_FIELD(vfu_pci_hdr_sts_t, cl, 4, 1);
    CHECK_FIELD(vfu_pci_hdr_sts_t, c66, 5, 1);
    CHECK_FIELD(vfu_pci_hdr_sts_t, res2, 6, 1);
    CHECK_FIELD(vfu_pci_hdr_sts_t, fbc, 7, 1);
    CHECK_FIELD(vfu_pci_hdr_sts_t, dpd, 8, 1);
    CHECK_FIELD(vfu_pci_hdr_sts_t, devt, 9, 2);
    CHECK_FIELD(vfu_pci_hdr_sts_t, sta, 11, 1);
    CHECK_FIELD(vfu_pci_hdr_sts_t, rta, 12, 1);
    CHECK_FIELD(vfu_pci_hdr_sts_t, rma, 13, 1);
    CHECK_FIELD(vfu_pci_hdr_sts_t, sse, 14, 1);
    CHECK_FIELD(vfu_pci_hdr_sts_t, dpe, 15, 1);
    CHECK_FIELD(vfu_bar_t, mem.region_type, 0, 1);
    CHECK_FIELD(vfu_bar_t, mem.locatable, 1, 2);
    CHECK_FIELD(vfu_bar_t, mem.prefetchable, 3, 1);
    CHECK_FIELD(vfu_bar_t, mem.base_address, 4, 28);
    CHECK_FIELD(vfu_bar_t, io.region_type, 0, 1);
    CHECK_FIELD(vfu_bar_t, io.reserved, 1, 1);
    CHECK_FIELD(vfu_bar_t, io.base_address, 2, 30);
    CHECK_FIELD(struct pcie_ext_cap_hdr, id, 0, 16);
    CHECK_FIELD(struct pcie_ext_cap_hdr, version, 16, 4);
    CHECK_FIELD(struct pcie_ext_cap_hdr, next, 20, 12);
    CHECK_FIELD(struct pcie_ext_cap_vsc_hdr, id, 32, 16);
    CHECK_FIELD(struct pcie_ext_cap_vsc_hdr, rev, 48, 4);
    CHECK_FIELD(struct pcie_ext_cap_vsc_hdr, len, 52, 12);
    CHECK_FIELD(struct mc, msie, 0, 1);
    CHECK_FIELD(struct mc, mmc, 1, 3);
    CHECK_FIELD(struct mc, mme, 4, 3);
    CHECK_FIELD(struct mc, c64, 7, 1);
    CHECK_FIELD(struct mc, pvm, 8, 1);
    CHECK_FIELD(struct mc, res1, 9, 7);
    CHECK_FIELD(struct ma, res1, 0, 2);
    CHECK_FIELD(struct ma, addr, 2, 30);
    CHECK_FIELD(struct mxc, ts, 0, 11);
    CHECK_FIELD(struct mxc, reserved, 11, 3);
    CHECK_FIELD(struct mxc, fm, 14, 1);
    CHECK_FIELD(struct mxc, mxe, 15, 1);
    CHECK_FIELD(struct mtab, tbir, 0, 3);
    CHECK_FIELD(struct mtab, to, 3, 29);
    CHECK_FIELD(struct mpba, pbir, 0, 3);
    CHECK_FIELD(struct mpba, pbao, 3, 29);
    CHECK_FIELD(struct pc, vs, 0, 3);
    CHECK_FIELD(struct pc, pmec, 3, 1);
    CHECK_FIELD(struct pc, res, 4, 1);
    CHECK_FIELD(struct pc, dsi, 5, 1);
    CHECK_FIELD(struct pc, auxc, 6, 3);
    CHECK_FIELD(struct pc, d1s, 9, 1);
    CHECK_FIELD(struct pc, d2s, 10, 1);
    CHECK_FIELD(struct pc, psup, 11, 5);
    CHECK_FIELD(struct pmcs, ps, 0, 2);
    CHECK_FIELD(struct pmcs, res1, 2, 1);
    CHECK_FIELD(struct pmcs, nsfrst, 3, 1);
    CHECK_FIELD(struct pmcs, res2, 4, 4);
    CHECK_FIELD(struct pmcs, pmee, 8, 1);
    CHECK_FIELD(struct pmcs, dse, 9, 4);
    CHECK_FIELD(struct pmcs, dsc, 13, 2);
    CHECK_FIELD(struct pmcs, pmes, 15, 1);
    CHECK_FIELD(struct pxcaps, ver, 0, 4);
    CHECK_FIELD(struct pxcaps, dpt, 4, 4);
    CHECK_FIELD(struct pxcaps, si, 8, 1);
    CHECK_FIELD(struct pxcaps, imn, 9, 5);
    CHECK_FIELD(struct pxcaps, res1, 14, 2);
    CHECK_FIELD(struct pxdcap, mps, 0, 3);
    CHECK_FIELD(struct pxdcap, pfs, 3, 2);
    CHECK_FIELD(struct pxdcap, etfs, 5, 1);
    CHECK_FIELD(struct pxdcap, l0sl, 6, 3);
    CHECK_FIELD(struct pxdcap, l1l, 9, 3);
    CHECK_FIELD(struct pxdcap, res1, 12, 3);
    CHECK_FIELD(struct pxdcap, rer, 15, 1);
    CHECK_FIELD(struct pxdcap, res2, 16, 2);
    CHECK_FIELD(struct pxdcap, csplv, 18, 8);
    CHECK_FIELD(struct pxdcap, cspls, 26, 2);
    CHECK_FIELD(struct pxdcap, flrc, 28, 1);
    CHECK_FIELD(struct pxdcap, res3, 29, 3);
    CHECK_FIELD(union pxdc, cere, 0, 1);
    CHECK_FIELD(union pxdc, nfere, 1, 1);
    CHECK_FIELD(union pxdc, fere, 2, 1);
    CHECK_FIELD(union pxdc, urre, 3, 1);
    CHECK_FIELD(union pxdc, ero, 4, 1);
    CHECK_FIELD(union pxdc, mps, 5, 3);
    CHECK_FIELD(union pxdc, ete, 8, 1);
    CHECK_FIELD(union pxdc, pfe, 9, 1);
    CHECK_FIELD(union pxdc, appme, 10, 1);
    CHECK_FIELD(union pxdc, ens, 11, 1);
    CHECK_FIELD(union pxdc, mrrs, 12, 3);
    CHECK_FIELD(union pxdc, iflr, 15, 1);
    CHECK_FIELD(union pxlc, aspmc, 0, 2);
    CHECK_FIELD(union pxlc, rsvdp1, 2, 1);
    CHECK_FIELD(union pxlc, rcb, 3, 1);
    CHECK_FIELD(union pxlc, ld, 4, 1);
    CHECK_FIELD(union pxlc, rl, 5, 1);
    CHECK_FIELD(union pxlc, ccc, 6, 1);
    CHECK_FIELD(union pxlc, es, 7, 1);
    CHECK_FIELD(union pxlc, clkreq_en, 8, 1);
    CHECK_FIELD(union pxlc, hawd, 9, 1);
    CHECK_FIELD(union pxlc, lbmie, 10, 1);
    CHECK_FIELD(union pxlc, labie, 11, 1);
    CHECK_FIELD(union pxlc, rsvdp2, 12, 4);
    CHECK_FIELD(struct pxdcap2, ctrs, 0, 4);
    CHECK_FIELD(struct pxdcap2, ctds, 4, 1);
    CHECK_FIELD(struct pxdcap2, arifs, 5, 1);
    CHECK_FIELD(struct pxdcap2, aors, 6, 1);
    CHECK_FIELD(struct pxdcap2, aocs32, 7, 1);
    CHECK_FIELD(struct pxdcap2, aocs64, 8, 1);
    CHECK_FIELD(struct pxdcap2, ccs128, 9, 1);
    CHECK_FIELD(struct pxdcap2, nprpr, 10, 1);
    CHECK_FIELD(struct pxdcap2, ltrs, 11, 1);
    CHECK_FIELD(struct pxdcap2, tphcs, 12, 2);
    CHECK_FIELD(struct pxdcap2, ln, 14, 2);
    CHECK_FIELD(struct pxdcap2, tcs, 16, 1);
    CHECK_FIELD(struct pxdcap2, trs, 17, 1);
    CHECK_FIELD(struct pxdcap2, obffs, 18, 2);
    CHECK_FIELD(struct pxdcap2, effs, 20, 1);
    CHECK_FIELD(struct pxdcap2, eetps, 21, 1);
    CHECK_FIELD(struct pxdcap2, meetp, 22, 2);
    CHECK_FIELD(struct pxdcap2, eprs, 24, 2);
    CHECK_FIELD(struct pxdcap2, eprir, 26, 1);
    CHECK_FIELD(struct pxdcap2, res1, 27, 1);
    CHECK_FIELD(struct pxdcap2, dmwcs, 28, 1);
    CHECK_FIELD(struct pxdcap2, dmwls, 29, 2);
    CHECK_FIELD(struct pxdcap2, frss, 31, 1);
    CHECK_FIELD(union pxdc2, comp_timeout, 0, 4);
    CHECK_FIELD(union pxdc2, comp_timout_dis, 4, 1);
    CHECK_FIELD(union pxdc2, ari, 5, 1);
    CHECK_FIELD(union pxdc2, atomic_req, 6, 1);
    CHECK_FIELD(union pxdc2, atomic_egress_block, 7, 1);
    CHECK_FIELD(union pxdc2, ido_req_en, 8, 1);
    CHECK_FIELD(union pxdc2, ido_cmp_en, 9, 1);
    CHECK_FIELD(union pxdc2, ltr_en, 10, 1);
    CHECK_FIELD(union pxdc2, obff_en, 11, 2);
    CHECK_FIELD(union pxdc2, end_end_tlp_prefix_block, 13, 1);
    CHECK_FIELD(struct pxds, stuff, 0, 16);
    CHECK_FIELD(struct pxls, stuff, 0, 16);
    CHECK_FIELD(struct pxsc, stuff, 0, 16);
    CHECK_FIELD(struct pxss, stuff, 0, 16);
    CHECK_FIELD(struct pxrc, stuff, 0, 16);
    CHECK_FIELD(struct pxrcap, stuff, 0, 16);
    CHECK_FIELD(struct pxds2, stuff, 0, 16);
    CHECK_FIELD(struct pxlc2, stuff, 0, 16);
    CHECK_FIELD(struct pxls2, stuff, 0, 16);
    CHECK_FIELD(struct pxsc2, stuff, 0, 16);
    CHECK_FIELD(struct pxss2, stuff, 0, 16);
    CHECK_FIELD(struct pxlcap, stuff, 0, 32);
    CHECK_FIELD(struct pxscap, stuff, 0, 32);
    CHECK_FIELD(struct pxrs, stuff, 0, 32);
    CHECK_FIELD(struct pxlcap2, stuff, 0, 32);
    CHECK_FIELD(struct pxscap2, stuff, 0, 32);
    /* clang-format on */
}

/* A function of this name can be declared, called in both forms, and pointed to. */
int vfu_setup_device_dma(vfu_ctx_t *ctx, size_t max_regions, vfu_dma_register_cb_t *dma_register,
                         vfu_dma_unregister_cb_t *dma_unregister);

static void on_range(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
}

/* Issue 3, item 5: the limit may be left out. */
static void test_dma_set_up_with_and_without_a_limit(void **state)
{
    int (*function)(vfu_ctx_t *, size_t, vfu_dma_register_cb_t *, vfu_dma_unregister_cb_t *) =
        vfu_setup_device_dma;
    vfu_ctx_t *ctx;

    unlink(SOCKET); /* of a run that was interrupted */
    ctx = vfu_create_ctx(VFU_TRANS_SOCK, SOCKET, 0, NULL, VFU_DEV_TYPE_PCI);
    assert_non_null(ctx);
    assert_int_equal(vfu_setup_device_dma(ctx, on_range, on_range), 0);
    assert_int_equal(vfu_setup_device_dma(ctx, NULL, NULL), 0);
    assert_int_equal(vfu_setup_device_dma(ctx, 16, on_range, on_range), 0);
    assert_int_equal((vfu_setup_device_dma)(ctx, 16, NULL, NULL), 0);
    assert_int_equal(function(ctx, 16, NULL, NULL), 0);
    assert_ptr_equal(function, &vfu_setup_device_dma);
    vfu_destroy_ctx(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dma_set_up_with_and_without_a_limit),
        cmocka_unit_test(test_callback_types_are_function_types),
        cmocka_unit_test(test_bit_fields_are_where_they_belong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
