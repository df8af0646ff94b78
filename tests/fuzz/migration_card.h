/* SPDX-License-Identifier: BSD-3-Clause */
#pragma once

#include <vfio-user/libvfio-user.h>

/* The only one of the process. NULL and errno. */
vfu_ctx_t *card_create(const char *path);
