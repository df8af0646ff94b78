# SPDX-License-Identifier: BSD-3-Clause
"""Files whose close(2) does not come back: what a hostile client may send."""

import contextlib
import ctypes
import errno
import os
import signal
import socket
import struct
import threading

import harness

# Seconds that nobody in these tests waits.
LINGER = 3600

_libc = ctypes.CDLL(None, use_errno=True)
_MNT_FORCE = 1
_MNT_DETACH = 2


class LingeringSocket:
    """
    A TCP connection with unsent data and a peer that lives but does not read. Whoever closes it as
    the last one waits for LINGER seconds; a signal ends that.
    """

    def __init__(self, linger=LINGER):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            self.socket = socket.create_connection(listener.getsockname())
            self.peer, _ = listener.accept()
        self.port = self.socket.getsockname()[1]
        if linger > 0:
            option = struct.pack("ii", 1, linger)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.socket.send(b"x" * 65536)

    def fileno(self):
        return self.socket.fileno()

    def leave(self):
        """Closes our copy while another one exists: returns at once."""
        self.socket.close()

    def is_being_closed(self):
        """Nobody has it any more: TCP has begun to close it."""
        established = "01"
        with open("/proc/net/tcp", encoding="ascii") as file:
            states = {line.split()[1]: line.split()[3] for line in file}
        return states.get(f"0100007F:{self.port:04X}") != established

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # A reset: whoever lingers has nothing left to wait for.
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.peer.close()
        self.socket.close()


class HangingFile:
    """
    A file on a FUSE file system whose server, this process, never answers FLUSH: every close(2) of
    it waits, and not even SIGKILL ends that. Only root can mount it where other users' processes
    meet it. One that @answers is like any other file.
    """

    LOOKUP, FORGET, GETATTR, OPEN, FLUSH, INIT, INTERRUPT = 1, 2, 3, 14, 25, 26, 36
    ROOT = 1

    def __init__(self, folder, answers=False):
        self.folder = folder
        self.answers = answers
        self.flushes = 0
        os.mkdir(folder)
        self.device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self.device},rootmode=40000,user_id=0,group_id=0,allow_other"
        if _libc.mount(b"test", folder.encode(), b"fuse.test", 0, options.encode()) < 0:
            raise OSError(ctypes.get_errno(), "mount")
        self.server = threading.Thread(target=self._serve)
        self.server.start()
        self.fd = os.open(os.path.join(folder, "file"), os.O_RDWR | os.O_CLOEXEC)

    def fileno(self):
        return self.fd

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Aborts the connection: whoever waits gets an error.
        _libc.umount2(self.folder.encode(), _MNT_FORCE | _MNT_DETACH)
        self.server.join()
        with contextlib.suppress(OSError):
            os.close(self.fd)
        os.close(self.device)
        os.rmdir(self.folder)

    def _serve(self):
        with contextlib.suppress(OSError):  # ENODEV: unmounted
            while True:
                self._answer(os.read(self.device, 1 << 17))

    def _answer(self, request):
        _, opcode, unique, node = struct.unpack_from("=IIQQ", request)
        if opcode == self.FLUSH:
            self.flushes += 1
        if opcode in (self.FORGET, self.INTERRUPT) or (opcode == self.FLUSH and not self.answers):
            return
        body = self._body(opcode, node)
        error = 0 if body else -errno.ENOSYS
        os.write(self.device, struct.pack("=IiQ", 16 + len(body), error, unique) + body)

    def _body(self, opcode, node):
        """Of a reply, as linux/fuse.h lays it out; empty for what is not supported."""
        hour = 3600
        if opcode == self.INIT:
            return struct.pack("=IIIIHHIIHHI28x", 7, 31, 65536, 0, 12, 10, 65536, 1, 0, 0, 0)
        if opcode == self.LOOKUP:
            return struct.pack("=QQQQII", 2, 0, hour, hour, 0, 0) + self._attributes(2)
        if opcode == self.GETATTR:
            return struct.pack("=QII", hour, 0, 0) + self._attributes(node)
        if opcode == self.OPEN:
            return struct.pack("=QII", 1, 0, 0)
        return b""

    def _attributes(self, node):
        mode = 0o40755 if node == self.ROOT else 0o100666
        return struct.pack("=QQQQQQ10I", node, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def closes(fd):
    """Whether a process that closes @fd, as the last one, comes back from that within a second."""
    go, started = os.pipe()
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(started)
        os.read(go, 1)  # the end of our parent's copies
        os.close(fd)
        os.write(tell, b"closed")
        os._exit(0)
    for ours in [fd, go, tell, started]:
        os.close(ours)
    with harness.owned(told):
        came_back = harness.readable(told, 1)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return came_back
