#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
Every kind of descriptor with every command, as the client sees it: the exact errno, under each policy
for guest memory; and nothing of it is kept. (What the gate finds each to be: tests/unit/test_vetting.c.)
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct

import harness
import vfio_user
from hostile_files import HangingFile

PAGE = 4096

MEMORY, NAMED, UNREADABLE, UNWRITABLE, EVENTFD, OTHER = range(6)

# Those that the gate does not receive: their descriptors are dropped unseen.
PLAIN = {
    "DMA_UNMAP": (vfio_user.DMA_UNMAP, struct.pack("=IIQQ", 24, 0, PAGE, PAGE), errno.ENOENT),
    "DEVICE_GET_INFO": (vfio_user.GET_INFO, struct.pack("=4I", 16, 0, 0, 0), 0),
    "REGION_READ": (vfio_user.REGION_READ, struct.pack("=QII", 0, 7, 4), 0),
    "REGION_WRITE": (vfio_user.REGION_WRITE, struct.pack("=QIIQ", 0x7F8, 0, 8, 0), 0),
    "DEVICE_RESET": (vfio_user.RESET, b"", 0),
    "unknown": (99, b"", errno.EINVAL),
}
REGION_INFO = struct.pack("=8I", 32, 0, 0, 0, 0, 0, 0, 0)

_libc = ctypes.CDLL(None, use_errno=True)
TIMERFD_NONBLOCK = SFD_NONBLOCK = os.O_NONBLOCK


def made(fd):
    if fd < 0:
        raise OSError(ctypes.get_errno(), "specimen")
    return fd


def reopened(fd, flags):
    """The same file with another access mode."""
    try:
        return os.open(f"/proc/self/fd/{fd}", flags)
    finally:
        os.close(fd)


def first(pair):
    """Of two descriptors, or what has one."""
    keep, drop = (end.detach() if hasattr(end, "detach") else end for end in pair)
    os.close(drop)
    return keep


def sealed():
    fd = os.memfd_create("guest", os.MFD_ALLOW_SEALING)
    os.truncate(fd, PAGE)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd


def tmpfs_file():
    fd = os.open("/dev/shm", os.O_TMPFILE | os.O_RDWR, 0o600)
    os.truncate(fd, PAGE)
    return fd


def full_eventfd():
    fd = os.eventfd(0)
    os.eventfd_write(fd, 2**64 - 2)
    return fd


def signalfd():
    return made(_libc.signalfd(-1, ctypes.create_string_buffer(128), SFD_NONBLOCK))


KINDS = {
    "memfd": (MEMORY, vfio_user.memory),
    "sealed memfd": (MEMORY, sealed),
    "file on tmpfs": (NAMED, tmpfs_file),
    "read-only memfd": (UNWRITABLE, lambda: reopened(vfio_user.memory(), os.O_RDONLY)),
    "write-only memfd": (UNREADABLE, lambda: reopened(vfio_user.memory(), os.O_WRONLY)),
    "eventfd": (EVENTFD, vfio_user.eventfd),
    "eventfd that is full and blocks": (EVENTFD, full_eventfd),
    "O_PATH of a memfd": (OTHER, lambda: reopened(vfio_user.memory(), os.O_PATH)),
    "O_PATH of an eventfd": (OTHER, lambda: reopened(vfio_user.eventfd(), os.O_PATH)),
    "file on a disk": (OTHER, lambda: os.open("/proc/self/exe", os.O_RDONLY)),
    "/proc/self/mem": (OTHER, lambda: os.open("/proc/self/mem", os.O_RDWR)),
    "directory": (OTHER, lambda: os.open("/", os.O_RDONLY)),
    "/dev/zero": (OTHER, lambda: os.open("/dev/zero", os.O_RDWR)),
    "pipe": (OTHER, lambda: first(os.pipe())),
    "socket": (OTHER, lambda: first(socket.socketpair())),
    "network socket": (OTHER, lambda: socket.socket().detach()),
    "terminal": (OTHER, lambda: first(os.openpty())),
    "epoll": (OTHER, lambda: made(_libc.epoll_create1(0))),
    "timerfd": (OTHER, lambda: made(_libc.timerfd_create(1, TIMERFD_NONBLOCK))),
    "signalfd": (OTHER, signalfd),
    "pidfd": (OTHER, lambda: os.pidfd_open(os.getpid())),
}


def map_error(kind, access):
    """Of DMA_MAP, for reading and writing."""
    if kind in (EVENTFD, OTHER):
        return errno.ENODEV
    welcome = {
        "none": (MEMORY, NAMED, UNREADABLE, UNWRITABLE),  # whatever it is, it is not mapped
        "ro": (MEMORY, UNWRITABLE),  # what has a name the gate cannot open again
        "rw": (MEMORY, NAMED),
    }
    return 0 if kind in welcome[access] else errno.EACCES


class Matrix(harness.BrokerTest):
    """One connection for all, so that whatever was kept would add up in these processes."""

    needs_root = True

    @contextlib.contextmanager
    def session(self, access):
        broker = self.broker(self.policy(restart={"max": 0}, dma={"access": access}))
        with broker.client() as client:
            self.pids = [broker.serving().gate, broker.serving().device]
            client.dma_map(self.settled, iova=1 << 40)
            client.command(vfio_user.GET_REGION_INFO, REGION_INFO)
            yield client
            self.assert_served(client)
        self.assert_next_served(broker)
        self.assertEqual(broker.matches("error .*"), [])
        broker.stop()

    def setUp(self):
        super().setUp()
        self.settled = vfio_user.memory()
        self.addCleanup(os.close, self.settled)

    def kept(self):
        return [sorted(harness.descriptors(pid).items()) for pid in self.pids]

    def attempt(self, client, error, command, payload, fd):
        """Which is closed then."""
        with harness.owned(fd):
            try:
                client.command(command, payload, [fd])
                got = 0
            except vfio_user.Refused as refused:
                got = refused.error
        self.assertEqual(errno.errorcode.get(got, got), errno.errorcode.get(error, error))

    def each_kind(self):
        for name, (kind, make) in KINDS.items():
            yield name, kind, make
        if self.user.uid == 0:
            with HangingFile(os.path.join(self.dir, "fuse"), answers=True) as file:
                yield "file on FUSE", OTHER, lambda: os.dup(file.fileno())

    def check(self, access):
        payload = vfio_user.dma_map_payload(0, PAGE)
        with self.session(access) as client:
            before = self.kept()
            for name, kind, make in self.each_kind():
                with self.subTest(kind=name, access=access, command="DMA_MAP"):
                    error = map_error(kind, access)
                    self.attempt(client, error, vfio_user.DMA_MAP, payload, make())
                    if error == 0:
                        client.dma_unmap()
                with self.subTest(kind=name, access=access, command="SET_IRQS"):
                    error = 0 if kind == EVENTFD else errno.EINVAL
                    irqs = vfio_user.set_irqs_payload(1)
                    self.attempt(client, error, vfio_user.SET_IRQS, irqs, make())
                    client.command(vfio_user.SET_IRQS, struct.pack("=5I", 20, 0x21, 2, 0, 0))
                with self.subTest(kind=name, access=access, command="GET_REGION_INFO"):
                    self.attempt(client, 0, vfio_user.GET_REGION_INFO, REGION_INFO, make())
                for command, (number, body, error) in PLAIN.items():
                    with self.subTest(kind=name, access=access, command=command):
                        self.attempt(client, error, number, body, make())
                client.command(vfio_user.GET_REGION_INFO, REGION_INFO)
                with self.subTest(kind=name, access=access):
                    harness.wait_until("all of it to be closed", lambda: self.kept() == before)

    def test_without_dma(self):
        self.check("none")

    def test_with_dma(self):
        self.check("rw")

    def test_with_dma_that_reads(self):
        self.check("ro")

    def test_file_that_is_shorter_than_claimed(self):
        for access, wanted in [("none", 0), ("ro", errno.EINVAL), ("rw", errno.EINVAL)]:
            with self.session(access) as client:
                before = self.kept()
                for size, offset in [
                    (PAGE + 1, 0),
                    (PAGE, 1),
                    (PAGE, PAGE),
                    (PAGE, 2**64 - 1),
                    (PAGE, 2**64 - PAGE),
                ]:
                    with self.subTest(access=access, size=size, offset=offset):
                        payload = vfio_user.dma_map_payload(0, size, offset)
                        command = vfio_user.DMA_MAP
                        self.attempt(client, wanted, command, payload, vfio_user.memory(PAGE))
                        if wanted == 0:
                            client.dma_unmap(size=size)
                        self.assertEqual(self.kept(), before)

    def test_with_version_the_session_ends(self):
        broker = self.broker(self.policy(restart={"max": 0}))
        for name, (_, make) in KINDS.items():
            with self.subTest(kind=name), broker.connect() as client, harness.owned(make()) as fd:
                version = struct.pack("=HH", 0, 1) + b"{}\0"
                with self.assertRaises((vfio_user.Closed, vfio_user.Refused)):
                    client.command(vfio_user.VERSION, version, [fd])
                client.wait_closed()
        self.assert_next_served(broker)
        broker.stop()


if __name__ == "__main__":
    harness.main()
