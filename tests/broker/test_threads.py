#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Devices with threads (jail.threads): all of them are sealed, and work in the jail."""

import contextlib
import os
import select
import signal
import struct

import harness
import vfio_user

COPY, ALLOCATE, RETURN, CALL, BEGIN = 0x00, 0x08, 0x10, 0x18, 0x20
PAGE = 4096


def tasks(pid):
    return os.listdir(f"/proc/{pid}/task")


class ThreadsTest(harness.BrokerTest):
    def threads_policy(self, count, allowed, *options):
        program = self.built("tests/broker/broker-test-workers")
        jail = {} if allowed is None else {"threads": allowed}
        return self.policy(
            device={"program": program, "args": [*options, str(count), "{socket}"]},
            dma={"access": "rw"},
            jail=jail,
        )

    @contextlib.contextmanager
    def session(self, count, *options):
        """A client of a device with so many workers: (broker, client, memory, interrupts)."""
        broker = self.broker(self.threads_policy(count, count, *options))
        irqs = [vfio_user.eventfd() for _ in range(count)]
        with harness.owned(vfio_user.memory(PAGE), *irqs) as fds, broker.client() as client:
            client.dma_map(fds[0], size=PAGE)
            client.set_irqs(irqs)
            yield broker, client, fds[0], irqs
        broker.stop()

    def have(self, client, worker, job, value=0):
        client.write_register(job, worker << 32 | value)

    def work(self, client, worker, irq, job, value=0):
        self.have(client, worker, job, value)
        self.interrupted(client, irq)

    def interrupted(self, client, irq):
        """Before the device dies."""
        ready = select.select([irq, client.socket], [], [], harness.DEADLINE)[0]
        self.assertEqual(ready, [irq])
        self.assertEqual(os.eventfd_read(irq), 1)


class Work(ThreadsTest):
    def test_each_thread_does_dma_and_raises_interrupts(self):
        for count in [1, 12]:
            with self.subTest(count=count), self.session(count) as (_, client, memory, irqs):
                for turn in range(3):
                    for worker, irq in enumerate(irqs):
                        self.work(client, worker, irq, COPY, 8 * worker)
                        value = struct.unpack("=Q", os.pread(memory, 8, 8 * worker))[0]
                        self.assertEqual(value, turn + 1)

    def test_each_thread_allocates(self):
        """From its own heap, which grows and would shrink; more threads than there are heaps."""
        with self.session(24) as (_, client, _, irqs):
            for size in [100, 100000, 500000, 100000]:
                for worker, irq in enumerate(irqs):
                    self.work(client, worker, irq, ALLOCATE, size)

    def test_threads_work_at_the_same_time(self):
        with self.session(8) as (_, client, _, irqs):
            for size in [1000, 120000]:
                for worker in range(len(irqs)):
                    self.have(client, worker, ALLOCATE, size)
                for irq in irqs:
                    self.interrupted(client, irq)

    def test_thread_may_end(self):
        for options in [[], ["--detached"]]:
            with self.session(3, *options) as (broker, client, _, irqs):
                device = broker.serving().device
                self.assertEqual(len(tasks(device)), 4)
                for worker in range(3):
                    self.have(client, worker, RETURN)
                    left = 3 - worker
                    harness.wait_until("its end", lambda left=left: len(tasks(device)) == left)
                self.assert_served(client)
                self.assertEqual(broker.matches("error .*"), [])

    def test_thread_may_begin_after_the_seal(self):
        with self.session(1, "--late") as (broker, client, _, irqs):
            device = broker.serving().device
            self.assertEqual(len(tasks(device)), 2)
            self.work(client, 0, irqs[0], BEGIN)
            harness.wait_until("its end", lambda: len(tasks(device)) == 1)
            self.assert_served(client)
            self.assertEqual(broker.matches("error .*"), [])


class Seal(ThreadsTest):
    def test_each_thread_is_confined(self):
        with self.session(5) as (broker, _, _, _):
            device = broker.serving().device
            own = int(harness.status_field(os.getpid(), "Seccomp_filters")[0])
            self.assertEqual(len(tasks(device)), 6)
            for task in tasks(device):
                path = f"{device}/task/{task}"
                self.assertEqual(harness.status_field(path, "Seccomp"), ["2"])
                self.assertEqual(harness.status_field(path, "Seccomp_filters"), [str(own + 3)])
                self.assertEqual(harness.status_field(path, "NoNewPrivs"), ["1"])
                for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]:
                    self.assertEqual(int(harness.status_field(path, name)[0], 16), 0)

    def test_call_of_a_thread_is_blocked_and_named(self):
        with self.session(2) as (broker, client, _, _):
            with self.assertRaises(vfio_user.Closed):
                self.have(client, 1, CALL)
                client.wait_closed()
                raise vfio_user.Closed
            broker.wait_log("error blocked-call session=1 call=socket .*")

    def test_killed_broker_leaves_no_thread(self):
        broker = self.broker(self.threads_policy(4, 4))
        with broker.client():
            broker.serving()
            broker.signal(signal.SIGKILL)
            broker.wait()
            self.wait_no_orphans()

    def assert_refused(self, count, allowed):
        policy = self.threads_policy(count, allowed)
        status, out, err = self.run_broker("--policy", policy, "--sock", self.socket)
        self.assertEqual(status, 4, out + err)
        self.assertIn(f"{count} threads besides the first, ", out + err)
        self.assertIn(f"the policy allows {allowed or 0} (jail.threads)", out + err)

    def test_threads_are_refused_by_default(self):
        self.assert_refused(1, None)

    def test_more_threads_than_allowed_are_refused(self):
        self.assert_refused(3, 2)

    def test_fewer_threads_than_allowed_are_fine(self):
        broker = self.broker(self.threads_policy(0, 1))
        self.assert_next_served(broker)
        broker.stop()


if __name__ == "__main__":
    harness.main()
