/* SPDX-License-Identifier: BSD-3-Clause */
/* The real gate in the process of a fuzzer, apart from where the library's headers are. */
#pragma once

#include <stdint.h>

/* Serves @client (borrowed). Returns the other end of the gate's device channel: the caller's. */
int inline_gate_start(int client);
void inline_gate_declare_region(uint32_t index, int fd);
void inline_gate_declare_io_fd(int fd);

/* Lets it handle the message that waits; it may be that it ends its channel. */
void inline_gate_run(void);
void inline_gate_end(void);
