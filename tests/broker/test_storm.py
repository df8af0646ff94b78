#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
Hostile sessions without end against one broker: random bytes, descriptors and hang-ups, devices that
crash in every way. It lives; a well-behaved client in between always gets through; and what the
supervisor has in descriptors and memory does not grow with the number of sessions.

VFU_SESSIONS says how many by the user who runs the tests; the other one gets a tenth.
"""

import contextlib
import fcntl
import os
import random
import socket
import struct
import time

import device
import harness
import vfio_user

SESSIONS = int(os.environ.get("VFU_SESSIONS", "2000"))

# A well-behaved client comes after so many hostile ones.
BETWEEN = 20

# Looks at the supervisor, at even distances. The first ones are its warming up.
SAMPLES, WARM_UP = 40, 8

# KiB, over the whole run: what a sum of pages may seem to grow by that does not.
MEMORY_GROWTH = 64

CRASHES = [device.CRASH_SEGV, device.CRASH_ABORT, device.CRASH_EXIT, device.CRASH_CALL,
           device.CRASH_LEAVE]  # fmt: skip


class Arsenal:
    """Descriptors to send, one of each kind that a client can have."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "arsenal")
        with open(self.path, "wb") as file:
            file.write(b"x" * 8192)
        sealed = os.memfd_create("sealed", os.MFD_ALLOW_SEALING)
        os.truncate(sealed, 8192)
        fcntl.fcntl(sealed, 1033, 2)  # F_ADD_SEALS, F_SEAL_SHRINK
        self.fds = [
            vfio_user.memory(),
            sealed,
            vfio_user.eventfd(),
            os.open(self.path, os.O_RDWR),
            os.open("/proc/self/mem", os.O_RDONLY),
            os.open("/", os.O_RDONLY),
            os.open("/", os.O_PATH),
            os.open("/dev/null", os.O_RDWR),
            *os.pipe(),
            *(end.detach() for end in socket.socketpair()),
        ]

    def some(self, numbers):
        return numbers.choices(self.fds, k=numbers.choice([0, 0, 1, 2, 16, 253]))

    def close(self):
        for fd in self.fds:
            os.close(fd)


# --- what a hostile client does: the connection, a source of numbers, what it may send ------------


def garbage(client, numbers, arsenal):
    client.send_raw(numbers.randbytes(numbers.randint(1, 3000)), arsenal.some(numbers))


def garbage_after_negotiation(client, numbers, arsenal):
    client.negotiate()
    garbage(client, numbers, arsenal)


def messages(client, numbers, arsenal):
    """Whole headers, then payloads that mean something or nothing, one after the other."""
    client.negotiate()
    for _ in range(numbers.randint(1, 12)):
        payload = numbers.choice(
            [
                vfio_user.dma_map_payload(numbers.choice([0, 4096, 2**64 - 4096]), 4096),
                vfio_user.set_irqs_payload(numbers.randint(0, 300)),
                struct.pack("=QII", numbers.choice([0, 2**63]), numbers.randint(0, 12), 8),
                numbers.randbytes(numbers.randint(0, 64)),
            ]
        )
        command = numbers.choice([*range(0, 24), 0xFFFF])
        size = len(payload) + numbers.choice([0, 0, 0, 1, 2**31])
        message = vfio_user.header(command, size, flags=numbers.choice([0, 0, 0x10, 1]))
        client.send_raw(message + payload, arsenal.some(numbers))


def half_a_message(client, numbers, arsenal):
    client.negotiate()
    message = vfio_user.header(numbers.choice([vfio_user.DMA_MAP, vfio_user.SET_IRQS]), 4096)
    client.send_raw(message[: numbers.randint(1, 16)], arsenal.some(numbers))


def nothing(client, numbers, arsenal):
    """Comes and goes."""


def many_requests(client, numbers, arsenal):
    """Whose answers it does not read."""
    client.negotiate()
    request = vfio_user.header(vfio_user.REGION_READ, 16) + struct.pack("=QII", 0, 0, 8)
    client.send_raw(request * numbers.randint(1, 200))


def crash(client, numbers, arsenal):
    client.negotiate()
    payload = struct.pack("=QIIQ", device.CRASH, 0, 8, numbers.choice(CRASHES))
    client.send(vfio_user.REGION_WRITE, payload)
    client.wait_closed()


def noise(client, numbers, arsenal):
    client.negotiate()
    client.write_register(device.LOG, numbers.randint(1, 400))
    client.write_register(device.NASTY, 1)


ATTACKS = [garbage, garbage_after_negotiation, messages, half_a_message, nothing, many_requests,
           crash, noise]  # fmt: skip


# --- what the supervisor has ----------------------------------------------------------------------


def slope(values):
    """Of the line through them by least squares: what is added from one to the next."""
    count = len(values)
    middle, mean = (count - 1) / 2, sum(values) / count
    return sum((i - middle) * (value - mean) for i, value in enumerate(values)) / sum(
        (i - middle) ** 2 for i in range(count)
    )


def anonymous_memory(pid):
    """In KiB. Not what is private of it, which changes with every child that shares it."""
    return int(harness.status_field(pid, "RssAnon")[0])


class Storm(harness.BrokerTest):
    def at_rest(self, broker):
        """
        Descriptors and memory of the supervisor while one session waits and none ends, which is
        when its children are two and the same a while later.
        """

        def look():
            before = harness.children(broker.pid)
            if len(before) != 2:
                return None
            found = len(os.listdir(f"/proc/{broker.pid}/fd")), anonymous_memory(broker.pid)
            return found if harness.children(broker.pid) == before else None

        looks = []
        while len(looks) < 5:
            looks.append(harness.wait_until("the supervisor to be at rest", look))
        return min(looks)

    def strike(self, broker, i, arsenal):
        numbers = random.Random(i)
        attack = numbers.choice(ATTACKS)
        with broker.connect() as client:
            with contextlib.suppress(vfio_user.Closed, vfio_user.Refused):
                attack(client, numbers, arsenal)
                if numbers.random() < 0.3:
                    client.socket.shutdown(socket.SHUT_WR)
                    client.wait_closed()

    def visit(self, broker, i):
        """Of a client that behaves: a device that nobody has used before it, memory, interrupts."""
        with broker.client() as client:
            self.assertEqual(client.read_register(device.SCRATCH), 0, f"after session {i}")
            client.write_register(device.SCRATCH, i)
            self.assertEqual(client.read_register(device.SCRATCH), i)
            with harness.owned(vfio_user.memory(), vfio_user.eventfd()) as (memory, event):
                client.dma_map(memory)
                self.assertEqual(client.read_register(device.MAPPED), 1)
                client.set_irqs([event])
                client.write_register(device.TRIGGER, 0)
                self.assertEqual(os.eventfd_read(event), 1)

    def count(self):
        return SESSIONS if self.user.uid == os.getuid() else SESSIONS // 10

    def test_hostile_sessions(self):
        restart = {"on_crash": "restart", "max": 1000, "within_seconds": 1}
        broker = self.broker(self.policy(restart=restart, dma={"access": "rw"}))
        count = self.count()
        distance = max(count // SAMPLES, 1)
        samples = []
        started = time.monotonic()
        arsenal = Arsenal(self.dir)
        with contextlib.closing(arsenal):
            for i in range(1, count + 1):
                self.strike(broker, i, arsenal)
                if i % BETWEEN == 0:
                    self.visit(broker, i)
                if i % distance == 0 and os.geteuid() == 0:
                    samples.append(self.at_rest(broker))
                    print(f"{i} sessions: %d descriptors, %d KiB" % samples[-1], flush=True)
                    os.truncate(broker.log_path, 0)
        print(
            f"{count} hostile sessions, {count // BETWEEN} others between them, in "
            f"{time.monotonic() - started:.0f} s",
            flush=True,
        )
        self.visit(broker, count)
        if samples:
            self.assert_no_growth(samples)
        broker.stop()

    def assert_no_growth(self, samples):
        settled = samples[WARM_UP:]
        descriptors, memory = zip(*settled)
        self.assertEqual(set(descriptors), {settled[0][0]})
        grown = slope(memory) * len(memory)
        self.assertLess(grown, MEMORY_GROWTH, f"KiB of private memory: {memory}")


if __name__ == "__main__":
    harness.main()
