# SPDX-License-Identifier: BSD-3-Clause
"""A vfio-user client for the broker's tests: it can do everything right, and everything wrong."""

import array
import os
import socket
import struct
import time

VERSION = 1
DMA_MAP = 2
DMA_UNMAP = 3
GET_INFO = 4
GET_REGION_INFO = 5
SET_IRQS = 8
REGION_READ = 9
REGION_WRITE = 10
RESET = 13

HEADER = struct.Struct("=HHIII")
REPLY = 1
ERROR = 0x20

IRQ_DATA_EVENTFD_TRIGGER = 0x24
MSIX = 2
DMA_READ_WRITE = 3

# Nothing waits for so long unless it fails.
DEADLINE = float(os.environ.get("VFU_DEADLINE", "60"))


class Refused(Exception):
    """The server answered with an error."""

    def __init__(self, error):
        super().__init__(os.strerror(error))
        self.error = error


class Closed(Exception):
    """The server closed the connection."""


def header(command, payload_size, message_id=1, flags=0):
    return HEADER.pack(message_id, command, HEADER.size + payload_size, flags, 0)


def dma_map_payload(iova, size, offset=0, flags=DMA_READ_WRITE):
    return struct.pack("=IIQQQ", 32, flags, offset, iova, size)


def set_irqs_payload(count, index=MSIX, start=0, flags=IRQ_DATA_EVENTFD_TRIGGER):
    return struct.pack("=IIIII", 20, flags, index, start, count)


class Client:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(DEADLINE)
        self.next_id = 1
        try:
            connect(self.socket, path)
        except BaseException:
            self.socket.close()
            raise

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # --- bytes ---

    def send_raw(self, data, fds=()):
        """The descriptors go with the first byte."""
        try:
            sent = self.socket.sendmsg(
                [data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            )
            self.socket.sendall(data[sent:])
        except (BrokenPipeError, ConnectionResetError):
            raise Closed from None

    def receive_raw(self, size):
        data = b""
        while len(data) < size:
            try:
                piece = self.socket.recv(size - len(data))
            except ConnectionResetError:
                piece = b""
            if not piece:
                raise Closed
            data += piece
        return data

    def wait_closed(self):
        """Until the server closes, whatever it says before."""
        try:
            while True:
                self.receive_raw(1)
        except Closed:
            pass

    # --- messages ---

    def send(self, command, payload=b"", fds=()):
        self.next_id = self.next_id % 0xFFFF + 1
        self.send_raw(header(command, len(payload), self.next_id) + payload, fds)
        return self.next_id

    def receive(self, message_id):
        got_id, _, size, flags, error = HEADER.unpack(self.receive_raw(HEADER.size))
        payload = self.receive_raw(size - HEADER.size)
        if got_id != message_id or not flags & REPLY:
            raise AssertionError(f"message {got_id} with flags {flags:#x}, wanted {message_id}")
        if flags & ERROR:
            raise Refused(error)
        return payload

    def command(self, command, payload=b"", fds=()):
        return self.receive(self.send(command, payload, fds))

    def negotiate(self):
        self.command(VERSION, struct.pack("=HH", 0, 1) + b'{"capabilities":{"max_msg_fds":253}}\0')
        return self

    def read(self, region, offset, count):
        return self.command(REGION_READ, struct.pack("=QII", offset, region, count))[16:]

    def write(self, region, offset, data):
        self.command(REGION_WRITE, struct.pack("=QII", offset, region, len(data)) + data)

    def read_register(self, offset):
        return struct.unpack("=Q", self.read(0, offset, 8))[0]

    def write_register(self, offset, value):
        self.write(0, offset, struct.pack("=Q", value))

    def dma_map(self, fd, iova=0, size=4096):
        self.command(DMA_MAP, dma_map_payload(iova, size), [fd])

    def dma_unmap(self, iova=0, size=4096):
        self.command(DMA_UNMAP, struct.pack("=IIQQ", 24, 0, iova, size))

    def set_irqs(self, fds):
        self.command(SET_IRQS, set_irqs_payload(len(fds)), fds)


def connect(sock, path):
    """The listening socket's queue may be full for a moment."""
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            return sock.connect(path)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.002)


def eventfd():
    return os.eventfd(0)


def memory(size=4096):
    fd = os.memfd_create("guest")
    os.truncate(fd, size)
    return fd
