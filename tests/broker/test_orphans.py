#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""However the supervisor ends, nobody stays. Orphans become children of this test: none is missed."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
import unittest

import device
import harness


class KillingTest(harness.BrokerTest):
    def remove_socket(self):
        """
        The next broker may not take it for a live one: a listening socket that was in flight to a
        gate when all died is closed by the kernel later, from a queue of its own (delayed_fput).
        """
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket)


class Killed(KillingTest):
    def kill(self, broker):
        broker.signal(signal.SIGKILL)
        self.assertEqual(broker.wait(), -signal.SIGKILL, broker.log())
        self.wait_no_orphans()
        self.remove_socket()

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

    def test_while_the_jail_of_a_deaf_device_is_built(self):
        """
        A change of ids clears the parent-death signal, and a program that never looks at its
        channel would not notice: the child has to, before it starts the program.
        """
        policy = self.policy(device=self.device("--wait"))
        for _ in range(60):
            broker = self.start(policy)
            broker.wait_log("info session-start .*")
            time.sleep(random.choice([0, 0, random.uniform(0, 0.01)]))
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


    def test_at_random_moments_of_serving(self):
        """While descriptors pass through the gate, and processes come and go."""
        policy = self.policy(dma={"access": "rw"})
        for _ in range(30):
            broker = self.broker(policy)
            with broker.client() as client, harness.owned(harness.vfio_user.memory()) as memory:
                until = time.monotonic() + random.uniform(0, 0.04)
                while time.monotonic() < until:
                    client.dma_map(memory)
                    client.read_register(device.SCRATCH)
                    client.dma_unmap()
                self.kill(broker)

    def test_while_nobody_below_it_runs(self):
        """Stopped processes do nothing for their own end."""
        broker = self.broker(None, "--log-level", "debug")
        with broker.client():
            broker.wait_log("debug device-verified session=2 .*")
            for pid in harness.children(broker.pid):
                os.kill(pid, signal.SIGSTOP)
            self.kill(broker)


# How often the supervisor makes each call from its start until it has served some clients: where
# strace kills it. The first ones are before, and the last ones after it is ready.
MOMENTS = {
    "clone3": range(1, 9),
    "sendmsg": range(1, 12),
    "recvmsg": range(1, 12),
    "socketpair": range(1, 6),
    "pidfd_getfd": range(1, 60, 12),
    "openat": range(1, 120, 14),
    "write": range(1, 30, 4),
    "close": range(1, 160, 17),
    "/^p?poll$": range(1, 30, 3),
    "pidfd_send_signal": range(1, 4),
}
CLIENTS = 3


@unittest.skipUnless(shutil.which("strace"), "needs strace")
@unittest.skipIf(harness.SANITIZED, "a leak checker and strace do not go together")
class KilledAtACall(KillingTest):
    """No moment is left to chance: the supervisor dies as it enters its so-and-so-many-th call."""

    def start_traced(self, policy, call, count):
        command = ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}"]
        command += ["-e", f"inject={call}:signal=SIGKILL:when={count}"]
        command += self.broker_command("--policy", policy, "--sock", self.socket)
        return harness.Broker(self, command)

    def serve(self, broker):
        """Until it is dead, or @CLIENTS have been served. Returns whether it is dead."""
        clients = 0
        while broker.process.poll() is None and clients < CLIENTS:
            with contextlib.suppress(OSError, harness.vfio_user.Closed):
                with broker.client() as client:
                    self.assert_served(client)
                    clients += 1
        with contextlib.suppress(subprocess.TimeoutExpired):
            broker.process.wait(0.2 if clients < CLIENTS else 0)
        return broker.process.returncode is not None

    def end(self, broker):
        """One that never got so far. strace ends with it."""
        for pid in harness.children(broker.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def test_at_calls_from_start_to_serving(self):
        policy = self.policy()
        killed = {call: 0 for call in MOMENTS}
        for call, counts in MOMENTS.items():
            for count in counts:
                broker = self.start_traced(policy, call, count)
                reached = self.serve(broker)
                if not reached:
                    self.end(broker)
                self.assertEqual(broker.wait(), -signal.SIGKILL, broker.log())
                self.wait_no_orphans()
                self.remove_socket()
                if not reached:
                    break
                killed[call] += 1
        print(f"killed at: {killed}", flush=True)
        self.assertGreater(killed["clone3"], 3)
        self.assertGreater(sum(killed.values()), 30)


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
