/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vfio-user wire format: what client and device exchange over a stream socket.
 *
 * A message is a struct vfio_user_header and msg_size - 16 bytes of payload, without padding
 * between messages. All fields are in host byte order (both peers share a machine); the contents
 * of registers and of config space travel in little-endian order, as on the PCI bus. Descriptors
 * travel as SCM_RIGHTS with the first byte of a header.
 *
 * Source of the facts: the published vfio-user protocol text and the kernel's linux/vfio.h, whose
 * struct vfio_region_info, vfio_region_info_cap_sparse_mmap, vfio_irq_info and vfio_irq_set appear
 * on the wire as they are. Some definitions that later kernels have are repeated for older ones.
 */
#ifndef VFIO_USER_H
#define VFIO_USER_H

#include <assert.h>
#include <inttypes.h>
#include <linux/version.h>
#include <linux/vfio.h>
#include <stddef.h>

#if !defined(__cplusplus) && !defined(static_assert)
#define static_assert _Static_assert /* strict C99 */
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Version of the protocol. Only the major number decides whether peers understand each other. */
#define LIB_VFIO_USER_MAJOR 0
#define LIB_VFIO_USER_MINOR 2

/* Largest count of data bytes in one message unless a peer says otherwise. */
#define VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE 1048576

enum vfio_user_command {
    VFIO_USER_VERSION = 1,
    VFIO_USER_DMA_MAP = 2,
    VFIO_USER_DMA_UNMAP = 3,
    VFIO_USER_DEVICE_GET_INFO = 4,
    VFIO_USER_DEVICE_GET_REGION_INFO = 5,
    VFIO_USER_DEVICE_GET_REGION_IO_FDS = 6,
    VFIO_USER_DEVICE_GET_IRQ_INFO = 7,
    VFIO_USER_DEVICE_SET_IRQS = 8,
    VFIO_USER_REGION_READ = 9,
    VFIO_USER_REGION_WRITE = 10,
    VFIO_USER_DMA_READ = 11,  /* device to client */
    VFIO_USER_DMA_WRITE = 12, /* device to client */
    VFIO_USER_DEVICE_RESET = 13,
    VFIO_USER_REGION_WRITE_MULTI = 15,
    VFIO_USER_DEVICE_FEATURE = 16,
    VFIO_USER_MIG_DATA_READ = 17,
    VFIO_USER_MIG_DATA_WRITE = 18,
    VFIO_USER_MAX = 19
};

enum vfio_user_message_type { VFIO_USER_MESSAGE_COMMAND = 0, VFIO_USER_MESSAGE_REPLY = 1 };

/* An older name that nothing on the wire uses. */
#define VFIO_USER_FLAGS_NO_REPLY 0x1

/* vfio_user_header.flags */
#define VFIO_USER_F_TYPE_MASK 0xf
#define VFIO_USER_F_TYPE_COMMAND 0x0
#define VFIO_USER_F_TYPE_REPLY 0x1
#define VFIO_USER_F_NO_REPLY 0x10 /* in a command: send no reply, not even on failure */
#define VFIO_USER_F_ERROR 0x20    /* in a reply: the command failed, error_no says why */

struct vfio_user_header {
    uint16_t msg_id;   /* chosen by the sender of a command, repeated in the reply */
    uint16_t cmd;      /* enum vfio_user_command */
    uint32_t msg_size; /* bytes, this header included */
    uint32_t flags;    /* VFIO_USER_F_* */
    uint32_t error_no; /* a positive Linux errno if VFIO_USER_F_ERROR is set */
} __attribute__((packed));
static_assert(sizeof(struct vfio_user_header) == 16, "layout");

/* VERSION, both directions. */
struct vfio_user_version {
    uint16_t major;
    uint16_t minor;
    uint8_t data[]; /* JSON text, NUL-terminated; may be absent */
} __attribute__((packed));
static_assert(sizeof(struct vfio_user_version) == 4, "layout");

/* DEVICE_GET_INFO, both directions: the kernel's struct vfio_device_info as it first was. */
struct vfio_user_device_info {
    uint32_t argsz;
    uint32_t flags; /* VFIO_DEVICE_FLAGS_* */
    uint32_t num_regions;
    uint32_t num_irqs;
} __attribute__((packed));
static_assert(sizeof(struct vfio_user_device_info) == 16, "layout");

struct vfio_user_bitmap {
    uint64_t pgsize; /* bytes that one bit stands for */
    uint64_t size;   /* bytes of bitmap */
    char data[];
} __attribute__((packed));
static_assert(sizeof(struct vfio_user_bitmap) == 16, "layout");

/* vfio_user_dma_map.flags; what the device may do with the memory, and how to reach it. */
#define VFIO_USER_F_DMA_REGION_READ (1 << 0)
#define VFIO_USER_F_DMA_REGION_WRITE (1 << 1)
#define VFIO_USER_F_DMA_REGION_MMAP (1 << 2)
#define VFIO_USER_F_DMA_REGION_FILE_IO (1 << 3)

/* DMA_MAP request. With one descriptor, or none where only messages give access. */
struct vfio_user_dma_map {
    uint32_t argsz;
    uint32_t flags;  /* VFIO_USER_F_DMA_REGION_* */
    uint64_t offset; /* of the range in the descriptor's file, bytes */
    uint64_t addr;   /* IOVA */
    uint64_t size;   /* bytes */
} __attribute__((packed));
static_assert(sizeof(struct vfio_user_dma_map) == 32, "layout");

#ifndef VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP
#define VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP (1 << 0)
#endif
#ifndef VFIO_DMA_UNMAP_FLAG_ALL
#define VFIO_DMA_UNMAP_FLAG_ALL (1 << 1)
#endif

/* DMA_UNMAP, both directions. Not packed: its alignment is part of the ABI. */
struct vfio_user_dma_unmap {
    uint32_t argsz;
    uint32_t flags;                   /* VFIO_DMA_UNMAP_FLAG_* */
    uint64_t addr;                    /* IOVA; 0 with FLAG_ALL */
    uint64_t size;                    /* bytes; 0 with FLAG_ALL */
    struct vfio_user_bitmap bitmap[]; /* with FLAG_GET_DIRTY_BITMAP */
};
static_assert(sizeof(struct vfio_user_dma_unmap) == 24, "layout");

/* REGION_READ and REGION_WRITE, both directions. */
struct vfio_user_region_access {
    uint64_t offset; /* in the region, bytes */
    uint32_t region; /* index */
    uint32_t count;  /* bytes */
    uint8_t data[];
} __attribute__((packed));
static_assert(sizeof(struct vfio_user_region_access) == 16, "layout");

/* REGION_WRITE_MULTI: one write of at most 8 bytes to a region. */
struct vfio_user_region_write {
    uint64_t offset; /* in the region, bytes */
    uint32_t region; /* index */
    uint32_t count;  /* bytes, 1 to 8 */
    uint8_t data[8]; /* the first @count of them */
} __attribute__((packed));
static_assert(sizeof(struct vfio_user_region_write) == 24, "layout");

/* REGION_WRITE_MULTI request; the reply is the first member alone. */
struct vfio_user_region_write_multi {
    uint64_t wr_cnt; /* request: writes that follow; reply: writes that were completed */
    struct vfio_user_region_write writes[];
} __attribute__((packed));
static_assert(sizeof(struct vfio_user_region_write_multi) == 8, "layout");

/* DMA_READ and DMA_WRITE, both directions. */
struct vfio_user_dma_region_access {
    uint64_t addr;  /* IOVA */
    uint64_t count; /* bytes */
    uint8_t data[];
} __attribute__((packed));
static_assert(sizeof(struct vfio_user_dma_region_access) == 16, "layout");

struct vfio_user_irq_info {
    uint32_t subindex;
} __attribute__((packed));
static_assert(sizeof(struct vfio_user_irq_info) == 4, "layout");

/* DEVICE_GET_REGION_IO_FDS */
#define VFIO_USER_IO_FD_TYPE_IOEVENTFD 0
#define VFIO_USER_IO_FD_TYPE_IOREGIONFD 1
#define VFIO_USER_IO_FD_TYPE_IOEVENTFD_SHADOW 2

typedef struct vfio_user_region_io_fds_request {
    uint32_t argsz;
    uint32_t flags;
    uint32_t index;
    uint32_t count;
} __attribute__((packed)) vfio_user_region_io_fds_request_t;
static_assert(sizeof(vfio_user_region_io_fds_request_t) == 16, "layout");

typedef struct vfio_user_sub_region_ioeventfd {
    uint64_t gpa_offset;
    uint64_t size;
    uint32_t fd_index; /* 0xffffffff: none */
    uint32_t type;     /* VFIO_USER_IO_FD_TYPE_* */
    uint32_t flags;    /* KVM_IOEVENTFD_FLAG_* */
    uint32_t shadow_mem_fd_index;
    uint64_t shadow_offset;
    uint64_t datamatch;
} __attribute__((packed)) vfio_user_sub_region_ioeventfd_t;
static_assert(sizeof(vfio_user_sub_region_ioeventfd_t) == 48, "layout");

typedef struct vfio_user_sub_region_ioregionfd {
    uint64_t offset;
    uint64_t size;
    uint32_t fd_index;
    uint32_t type;
    uint32_t flags;
    uint32_t padding;
    uint64_t user_data;
} __attribute__((packed)) vfio_user_sub_region_ioregionfd_t;
static_assert(sizeof(vfio_user_sub_region_ioregionfd_t) == 40, "layout");

union sub_region {
    vfio_user_sub_region_ioeventfd_t ioeventfd;
    vfio_user_sub_region_ioregionfd_t ioregionfd;
};
static_assert(sizeof(union sub_region) == 48, "layout");

typedef struct vfio_user_region_io_fds_reply {
    uint32_t argsz;
    uint32_t flags;
    uint32_t index;
    uint32_t count;
    union sub_region sub_regions[];
} __attribute__((packed)) vfio_user_region_io_fds_reply_t;
static_assert(sizeof(vfio_user_region_io_fds_reply_t) == 16, "layout");

/* DEVICE_FEATURE, and the features that this protocol uses. */
#ifndef VFIO_DEVICE_FEATURE_MASK
#define VFIO_DEVICE_FEATURE_MASK 0xffff
#define VFIO_DEVICE_FEATURE_GET (1 << 16)
#define VFIO_DEVICE_FEATURE_SET (1 << 17)
#define VFIO_DEVICE_FEATURE_PROBE (1 << 18)
#endif
#ifndef VFIO_DEVICE_FEATURE_MIGRATION
#define VFIO_DEVICE_FEATURE_MIGRATION 1
#endif
#ifndef VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE
#define VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE 2
#endif
#ifndef VFIO_DEVICE_FEATURE_DMA_LOGGING_START
#define VFIO_DEVICE_FEATURE_DMA_LOGGING_START 6
#define VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP 7
#define VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT 8
#endif
#ifndef VFIO_MIGRATION_STOP_COPY
#define VFIO_MIGRATION_STOP_COPY (1 << 0)
#endif
#ifndef VFIO_MIGRATION_P2P
#define VFIO_MIGRATION_P2P (1 << 1)
#endif
#ifndef VFIO_MIGRATION_PRE_COPY
#define VFIO_MIGRATION_PRE_COPY (1 << 2)
#endif

struct vfio_user_device_feature {
    uint32_t argsz;
    uint32_t flags; /* feature number and VFIO_DEVICE_FEATURE_{GET,SET,PROBE} */
    uint8_t data[];
} __attribute__((packed));
static_assert(sizeof(struct vfio_user_device_feature) == 8, "layout");

struct vfio_user_device_feature_migration {
    uint64_t flags; /* VFIO_MIGRATION_* */
} __attribute__((packed));
static_assert(sizeof(struct vfio_user_device_feature_migration) == 8, "layout");

enum vfio_user_device_mig_state {
    VFIO_USER_DEVICE_STATE_ERROR = 0,
    VFIO_USER_DEVICE_STATE_STOP = 1,
    VFIO_USER_DEVICE_STATE_RUNNING = 2,
    VFIO_USER_DEVICE_STATE_STOP_COPY = 3,
    VFIO_USER_DEVICE_STATE_RESUMING = 4,
    VFIO_USER_DEVICE_STATE_RUNNING_P2P = 5,
    VFIO_USER_DEVICE_STATE_PRE_COPY = 6,
    VFIO_USER_DEVICE_STATE_PRE_COPY_P2P = 7,
    VFIO_USER_DEVICE_NUM_STATES = 8
};

struct vfio_user_device_feature_mig_state {
    uint32_t device_state; /* enum vfio_user_device_mig_state */
    uint32_t data_fd;      /* unused: data travels in messages */
} __attribute__((packed));
static_assert(sizeof(struct vfio_user_device_feature_mig_state) == 8, "layout");

struct vfio_user_device_feature_dma_logging_range {
    uint64_t iova;
    uint64_t length;
} __attribute__((packed));
static_assert(sizeof(struct vfio_user_device_feature_dma_logging_range) == 16, "layout");

struct vfio_user_device_feature_dma_logging_control {
    uint64_t page_size;
    uint32_t num_ranges;
    uint32_t reserved;
    struct vfio_user_device_feature_dma_logging_range ranges[];
} __attribute__((packed));
static_assert(sizeof(struct vfio_user_device_feature_dma_logging_control) == 16, "layout");

struct vfio_user_device_feature_dma_logging_report {
    uint64_t iova;
    uint64_t length;
    uint64_t page_size;
    uint8_t bitmap[];
} __attribute__((packed));
static_assert(sizeof(struct vfio_user_device_feature_dma_logging_report) == 24, "layout");

/* MIG_DATA_READ and MIG_DATA_WRITE. */
struct vfio_user_mig_data {
    uint32_t argsz;
    uint32_t size; /* bytes of data */
    uint8_t data[];
} __attribute__((packed));
static_assert(sizeof(struct vfio_user_mig_data) == 8, "layout");

/* The kernel's structures that are part of the wire format. */
static_assert(sizeof(struct vfio_region_info) == 32, "layout");
static_assert(sizeof(struct vfio_region_info_cap_sparse_mmap) == 16, "layout");
static_assert(sizeof(struct vfio_region_sparse_mmap_area) == 16, "layout");
static_assert(sizeof(struct vfio_irq_info) == 16, "layout");
static_assert(offsetof(struct vfio_irq_set, data) == 20, "layout");

#ifdef __cplusplus
}
#endif

#endif /* VFIO_USER_H */
