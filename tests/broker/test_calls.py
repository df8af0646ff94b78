#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Calls of the base that devices make seldom, each by way of what a program does to make it."""

import os
import signal

import device
import harness


class Calls(harness.BrokerTest):
    def serve(self, what):
        """A client that has asked for @what, and the process that does it."""
        broker = self.broker()
        client = broker.client()
        self.addCleanup(client.close)
        return broker, client, broker.serving().device

    def finish(self, broker, client):
        self.assert_served(client)
        self.assertEqual(broker.matches("error .*"), [])
        client.close()
        broker.stop()

    def assert_can(self, what):
        broker, client, _ = self.serve(what)
        client.write_register(device.CRASH, what)
        self.finish(broker, client)

    def test_something_is_done_once(self):
        self.assert_can(device.CRASH_ONCE)

    def test_time_on_the_processor_is_asked_for(self):
        self.assert_can(device.CRASH_CLOCK)

    def test_wait_is_resumed_after_a_stop(self):
        broker, client, pid = self.serve(device.CRASH_WAIT)
        data = harness.vfio_user.struct.pack("=QIIQ", device.CRASH, 0, 8, device.CRASH_WAIT)
        sent = client.send(harness.vfio_user.REGION_WRITE, data)
        harness.wait_until("the device to sleep", lambda: self.waits(pid))
        os.kill(pid, signal.SIGSTOP)
        harness.wait_until(
            "the device to stop", lambda: harness.status_field(pid, "State")[0] == "T"
        )
        os.kill(pid, signal.SIGCONT)
        client.receive(sent)
        self.finish(broker, client)

    def waits(self, pid):
        """Asleep with its message read: in the wait, not before it."""
        with open(f"/proc/{pid}/wchan", encoding="ascii") as file:
            return "futex" in file.read()


if __name__ == "__main__":
    harness.main()
