/* SPDX-License-Identifier: BSD-3-Clause */
/* The capabilities that the library knows. */
#pragma once

#include "device/pci_caps.h"

/* Returns NULL if there is none. */
const struct pci_cap_kind *pci_cap_kind_find(bool extended, unsigned id);
