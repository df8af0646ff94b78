#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Device processes that hang, and such as do not (watchdog_seconds, restart.on_hang)."""

import os
import struct
import time

import device
import harness
import vfio_user

# What the watchdog takes to notice, at most: twice its time, which is a second here.
LONG = 2.5
HANGS = "warning device-hangs session={} device=[0-9]+ in={}"


class WatchdogTest(harness.BrokerTest):
    def watched(self, seconds=1, **restart):
        restart = {"restart": restart} if restart else {}
        return self.broker(self.policy(watchdog_seconds=seconds, **restart))

    def write(self, client, offset, value):
        """Without waiting for the answer."""
        payload = struct.pack("=QIIQ", offset, 0, 8, value)
        client.send(vfio_user.REGION_WRITE, payload)

    def spin(self, client):
        self.write(client, device.CRASH, device.CRASH_SPIN)

    def block(self, client):
        """In a write to an eventfd that is full, and blocking: the client's doing."""
        irq = vfio_user.eventfd()
        self.addCleanup(os.close, irq)
        os.eventfd_write(irq, 2**64 - 2)
        client.set_irqs([irq])
        self.write(client, device.TRIGGER, 0)
        return irq

    def assert_left_alone(self, broker, client):
        self.assert_served(client)
        self.assertEqual(broker.matches("(warning|error) .*"), [])
        broker.stop()


class Hanging(WatchdogTest):
    def test_endless_loop_is_ended(self):
        broker = self.watched()
        with broker.client() as client:
            self.spin(client)
            client.wait_closed()
        broker.wait_log(HANGS.format(1, "request"))
        broker.wait_log("info session-end session=1")
        self.assert_next_served(broker)
        broker.stop()

    def test_full_eventfd_is_ended(self):
        broker = self.watched()
        with broker.client() as client:
            self.block(client)
            client.wait_closed()
        broker.wait_log(HANGS.format(1, "client-call"))
        self.assert_next_served(broker)
        broker.stop()

    def test_endless_loop_counts_as_a_crash(self):
        broker = self.watched(max=0)
        with broker.client() as client:
            self.spin(client)
            client.wait_closed()
        self.assertEqual(broker.wait(), 5)
        self.assertIn("more than restart.max", broker.log())

    def test_endless_loop_can_end_the_broker(self):
        broker = self.watched(on_hang="stop", max=1000)
        with broker.client() as client:
            self.spin(client)
            client.wait_closed()
        self.assertEqual(broker.wait(), 5)
        self.assertIn("restart.on_hang is stop", broker.log())

    def test_full_eventfd_ends_its_own_session_alone(self):
        for restart in [{"max": 0}, {"on_hang": "stop"}, {"on_crash": "stop"}]:
            with self.subTest(restart=restart):
                broker = self.watched(**restart)
                with broker.client() as client:
                    self.block(client)
                    client.wait_closed()
                broker.wait_log("info session-end session=1")
                self.assert_next_served(broker)
                broker.stop()

    def test_log_leaves_it_alone(self):
        """It is told once for each time, and what goes on, goes on."""
        broker = self.watched(on_hang="log")
        with broker.client() as client:
            for count in range(1, 3):
                irq = self.block(client)
                broker.wait_log(HANGS.format(1, "client-call"), count)
                time.sleep(LONG)
                self.assertEqual(len(broker.matches(HANGS.format(1, "client-call"))), count)
                os.eventfd_read(irq)
                self.assertEqual(client.receive(client.next_id)[16:], b"")
                time.sleep(LONG)
            self.assert_served(client)
        broker.stop()


class NotHanging(WatchdogTest):
    def test_idle_device_is_left_alone(self):
        broker = self.watched()
        with broker.client() as client:
            time.sleep(LONG)
            self.assert_left_alone(broker, client)

    def test_device_without_a_client_is_left_alone(self):
        broker = self.watched()
        time.sleep(LONG)
        with broker.client() as client:
            self.assert_left_alone(broker, client)

    def test_busy_device_is_left_alone(self):
        broker = self.watched()
        with broker.client() as client, harness.owned(vfio_user.eventfd()) as irq:
            client.set_irqs([irq])
            end = time.monotonic() + LONG
            while time.monotonic() < end:
                client.write_register(device.TRIGGER, 0)
            self.assert_left_alone(broker, client)

    def test_nobody_looks_by_default(self):
        """The control of the others."""
        broker = self.watched(seconds=0)
        with broker.client() as client:
            self.spin(client)
            time.sleep(LONG)
            self.assertEqual(broker.matches("warning .*"), [])
            self.assertTrue(harness.alive(broker.serving().device))
        broker.stop()


if __name__ == "__main__":
    harness.main()
