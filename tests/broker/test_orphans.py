#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""However the supervisor ends, nobody stays. Orphans become children of this test: none is missed."""

import os
import random
import signal
import time

import device
import harness


class Killed(harness.BrokerTest):
    def kill(self, broker):
        broker.signal(signal.SIGKILL)
        self.assertEqual(broker.wait(), -signal.SIGKILL)
        self.wait_no_orphans()

    def test_while_it_waits(self):
        self.kill(self.broker())

    def test_while_it_serves(self):
        broker = self.broker(None, "--log-level", "debug")
        with broker.client() as client:
            broker.wait_log("debug device-verified session=2 .*")
            self.assertEqual(len(harness.children(broker.pid)), 4)
            self.kill(broker)
            client.wait_closed()

    def test_while_a_device_runs_wild(self):
        broker = self.broker()
        with broker.client() as client:
            data = harness.vfio_user.struct.pack("=QIIQ", device.CRASH, 0, 8, device.CRASH_SPIN)
            client.send(harness.vfio_user.REGION_WRITE, data)
            self.kill(broker)

    def test_while_a_device_starts(self):
        broker = self.start(self.policy(device=self.device("--wait")))
        broker.wait_log("info session-start .*")
        self.kill(broker)

    def test_at_random_moments_of_its_start(self):
        policy = self.policy()
        for _ in range(50):
            broker = self.start(policy)
            time.sleep(random.uniform(0, 0.06))
            self.kill(broker)

    def test_at_random_moments_of_a_session_s_start(self):
        policy = self.policy()
        for _ in range(50):
            broker = self.broker(policy)
            with broker.client():
                time.sleep(random.uniform(0, 0.04))
                self.kill(broker)


class Terminated(harness.BrokerTest):
    def terminate(self, broker, number=signal.SIGTERM):
        broker.signal(number)
        self.assertEqual(broker.wait(), 0, broker.log())
        # At once: it has waited for them itself.
        self.assertEqual(harness.children(os.getpid()), {})

    def test_while_it_waits(self):
        for number in [signal.SIGTERM, signal.SIGINT]:
            broker = self.broker()
            self.terminate(broker, number)

    def test_while_it_serves(self):
        broker = self.broker()
        with broker.client() as client:
            self.terminate(broker)
            client.wait_closed()

    def test_while_a_device_starts(self):
        broker = self.start(self.policy(device=self.device("--wait")))
        broker.wait_log("info session-start .*")
        self.terminate(broker)

    def test_while_a_device_runs_wild(self):
        broker = self.broker()
        with broker.client() as client:
            data = harness.vfio_user.struct.pack("=QIIQ", device.CRASH, 0, 8, device.CRASH_SPIN)
            client.send(harness.vfio_user.REGION_WRITE, data)
            self.terminate(broker)

    def test_at_random_moments_of_a_session_s_start(self):
        policy = self.policy()
        for _ in range(30):
            broker = self.broker(policy)
            with broker.client():
                time.sleep(random.uniform(0, 0.04))
                self.terminate(broker)

    def test_twice(self):
        broker = self.broker()
        broker.signal(signal.SIGTERM)
        broker.signal(signal.SIGTERM)
        self.terminate(broker)


if __name__ == "__main__":
    harness.main()
