#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Private memory of the processes of a session, in KiB, against the limits that VFU_MEMORY names."""

import os

import harness

BROKER_LIMIT, DEVICE_LIMIT = map(int, os.environ["VFU_MEMORY"].split())


class Memory(harness.BrokerTest):
    needs_root = True

    def test_private_memory(self):
        broker = self.broker(self.shipped("gpio.json"))
        with broker.client() as client:
            for _ in range(1000):
                client.read(2, 0, 1)
            session = broker.serving()
            supervisor, gate, device = map(
                harness.private_memory, [broker.pid, session.gate, session.device]
            )
        broker.stop()
        print(f"supervisor {supervisor} KiB, gate {gate} KiB, device {device} KiB", flush=True)
        for found in [supervisor, gate, device]:
            self.assertGreater(found, 0)
        self.assertLessEqual(supervisor + gate, BROKER_LIMIT)
        self.assertLessEqual(device, DEVICE_LIMIT)


if __name__ == "__main__":
    harness.main()
