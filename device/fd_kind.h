/* SPDX-License-Identifier: BSD-3-Clause */
/* What a descriptor is. Not for a sealed process, in which /proc is out of reach. */
#pragma once

#include <stdbool.h>

/*
 * Whether @fd is an eventfd that can be written to. Anything else that a client passes as an
 * interrupt could block the device, or kill it by SIGPIPE.
 */
bool fd_is_eventfd(int fd);
