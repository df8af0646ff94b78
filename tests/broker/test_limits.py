#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
How long a client may keep a session waiting, how much of everything it may have, and how much work
it, or a process that was taken over, may make for others.

That something is slowed down is seen from how long it took at least, which no machine can change.
"""

import contextlib
import errno
import os
import resource
import select
import signal
import socket
import struct
import time

import device
import harness
import vfio_user

# Control messages (ipc/control.h), and what is where in a gate (gate.c) and a device process.
TAKE, TAKEN, REPORT = 8, 9, 22
DESCRIPTOR_REFUSED = 1
DEVICE_CHANNEL, GATE_REPORTS = 3, 5
PIPE_PACKETS = 16  # pipe(7); of somebody who has many pipes, fewer


class Limits(harness.BrokerTest):
    def impatient(self, handshake=3600, stall=3600):
        client = {"handshake_seconds": handshake, "stall_seconds": stall}
        return self.broker(self.policy(client=client))

    def assert_closed_after(self, seconds, client, started):
        """Not before, and with no other limit in reach of the deadline."""
        client.wait_closed()
        self.assertGreaterEqual(time.monotonic() - started, seconds)


class Descriptors(Limits):
    def test_soft_limit_is_raised(self):
        """Else clients whose sessions hang would use up what there is for the next one."""

        def few():
            _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (20, hard))

        broker = self.broker(preexec=few)
        with broker.client() as client:
            self.assert_served(client)
            broker.wait_log("info session-start session=2 .*")
            with broker.connect() as second:
                second.wait_closed()
        broker.stop()


class Handshake(Limits):
    def test_silent_client_is_closed(self):
        broker = self.impatient(handshake=1)
        started = time.monotonic()
        with broker.connect() as client:
            self.assert_closed_after(1, client, started)
        broker.wait_log("warning handshake-timeout session=1")
        self.assert_next_served(broker)
        broker.stop()

    def test_client_that_says_half_is_closed(self):
        broker = self.impatient(handshake=1)
        for size in [1, 15, 16, 18, 25]:
            with self.subTest(size=size), broker.connect() as client:
                hello = vfio_user.header(vfio_user.VERSION, 24) + struct.pack("=HH", 0, 1)
                started = time.monotonic()
                client.send_raw((hello + b"x" * 20)[:size])
                self.assert_closed_after(0.9, client, started)
        broker.wait_log("warning handshake-timeout .*", 5)
        self.assert_next_served(broker)
        broker.stop()

    def test_client_that_dribbles_is_closed(self):
        broker = self.impatient(handshake=1)
        with broker.connect() as client, self.assertRaises(vfio_user.Closed):
            client.send_raw(vfio_user.header(vfio_user.VERSION, 1024))
            for _ in range(1024):
                client.send_raw(b"\0")
                if harness.readable(client.socket, 0.05):
                    client.receive_raw(1)
        broker.wait_log("warning handshake-timeout session=1")
        self.assert_next_served(broker)
        broker.stop()

    def test_next_client_waits_in_no_queue(self):
        """While a silent client is served, others are told so."""
        broker = self.impatient()
        with broker.connect():
            broker.serving()
            with broker.connect() as second:
                second.wait_closed()
        broker.stop()

    def test_limits_end_with_what_they_are_about(self):
        """A client that has negotiated, and owes nothing, may be silent for ever."""
        broker = self.impatient(handshake=1, stall=1)
        with broker.client() as client:
            self.assert_served(client)
            # Nothing to wait for: both limits have to pass without any effect.
            time.sleep(2.2)
            self.assert_served(client)
        self.assertEqual(broker.matches("warning .*"), [])
        broker.stop()


class Stall(Limits):
    def assert_half_is_closed(self, data, fds=()):
        broker = self.impatient(stall=1)
        with broker.client() as client:
            started = time.monotonic()
            client.send_raw(data, fds)
            self.assert_closed_after(0.9, client, started)
        self.assert_next_served(broker)
        broker.stop()

    def test_half_a_header(self):
        self.assert_half_is_closed(vfio_user.header(vfio_user.REGION_READ, 16)[:7])

    def test_header_without_its_body(self):
        self.assert_half_is_closed(vfio_user.header(vfio_user.REGION_READ, 16))

    def test_half_a_large_write(self):
        access = struct.pack("=QII", 0, 0, 65536)
        header = vfio_user.header(vfio_user.REGION_WRITE, len(access) + 65536)
        self.assert_half_is_closed(header + access + b"x" * 30000)

    def test_half_a_header_with_a_descriptor(self):
        with harness.owned(vfio_user.memory()) as fd:
            self.assert_half_is_closed(vfio_user.header(vfio_user.DMA_MAP, 32)[:3], [fd])

    def test_half_a_message_with_descriptors(self):
        with harness.owned(vfio_user.memory()) as fd:
            self.assert_half_is_closed(vfio_user.header(vfio_user.DMA_MAP, 32) + b"x" * 9, [fd])

    def test_client_that_never_reads_is_closed(self):
        broker = self.impatient(stall=1)
        with broker.client() as client:
            request = vfio_user.header(vfio_user.GET_INFO, 16) + struct.pack("=IIII", 16, 0, 0, 0)
            self.fill(client.socket, request)
            poll = select.poll()
            poll.register(client.socket, select.POLLHUP)
            self.assertTrue(poll.poll(harness.DEADLINE * 1000))
        self.assert_next_served(broker)
        broker.stop()

    def fill(self, sock, request):
        """Sends requests until the server takes no more, because it waits for us to read."""
        sock.setblocking(False)
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        while any(event & select.POLLOUT for _, event in poll.poll(500)):
            try:
                sock.send(request * 64)
            except BlockingIOError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                return


class Grants(Limits):
    """What the policy lets a client have: one more is refused, and the rest stays as it was."""

    def granted(self, access, **dma):
        return self.broker(self.policy(dma={"access": access, **dma}))

    def assert_refused(self, error, attempt, *args):
        with self.assertRaises(vfio_user.Refused) as caught:
            attempt(*args)
        self.assertEqual(caught.exception.error, error)

    def assert_third_region(self, error, *accesses, **dma):
        """It is refused, or @error is 0; the second one's place can be taken."""
        for access in accesses:
            broker = self.granted(access, **dma)
            with self.subTest(access=access), broker.client() as client:
                with harness.owned(vfio_user.memory(1 << 20)) as fd:
                    client.dma_map(fd, 0)
                    client.dma_map(fd, 4096)
                    if error:
                        self.assert_refused(error, client.dma_map, fd, 8192)
                        client.dma_unmap(4096)
                    client.dma_map(fd, 8192)
            broker.stop()

    def test_dma_regions(self):
        self.assert_third_region(errno.EINVAL, "none", "ro", "rw", max_regions=2)

    def test_dma_bytes(self):
        """Of what is mapped."""
        self.assert_third_region(errno.EINVAL, "ro", "rw", max_bytes=2 * 4096 + 4095)

    def test_dma_within_the_limits(self):
        """The control."""
        self.assert_third_region(0, "none", "ro", "rw", max_regions=3, max_bytes=3 * 4096)

    def test_vectors(self):
        """A device that has more does not get as far as a client."""
        for limit, status in {252: 1, 253: 0}.items():
            policy = self.policy(irqs={"max_vectors": limit})
            self.assertEqual(self.run_broker("--check", "--policy", policy)[0], status)
        broker = self.broker(policy)
        with broker.client() as client, harness.owned(vfio_user.eventfd()) as fd:
            last = vfio_user.set_irqs_payload(1, start=252)
            client.command(vfio_user.SET_IRQS, last, [fd])
            beyond = vfio_user.set_irqs_payload(1, start=253)
            self.assert_refused(errno.EINVAL, client.command, vfio_user.SET_IRQS, beyond, [fd])
            client.write_register(device.TRIGGER, 252)
            self.assertEqual(os.eventfd_read(fd), 1)
        broker.stop()

    def test_descriptors_of_the_process(self):
        """Before the seal, for there is no call for them behind it; beyond what the policy grants."""
        for limit in [1, 50]:
            with self.subTest(limit=limit):
                policy = self.policy(
                    device=self.device("--use-descriptors"),
                    irqs={"max_vectors": 253},
                    jail={"limits": {"descriptors": limit}},
                )
                broker = self.broker(policy)
                used = broker.wait_log(r'info device-log .*text="descriptors (\d+)"')
                broker.stop()
                # 0-2 and the channel, the vectors, and what a message can bring.
                self.assertEqual(int(used[1]), 4 + 253 + 253 + limit)


class RequestsTest(Limits):
    """Work for the gate, and for the supervisor: jail.limits.requests_per_second."""

    RATE = 50
    TIMES = 3 * RATE

    def limited(self, **limits):
        limits = {"requests_per_second": self.RATE} | limits
        return self.broker(self.policy(dma={"access": "rw"}, jail={"limits": limits}))

    def assert_slowed(self, started):
        """TIMES have taken so long: a second's worth may come at once."""
        least = (self.TIMES - self.RATE) / self.RATE
        self.assertGreater(time.monotonic() - started, least - 0.1)


class Requests(RequestsTest):
    def flood(self, client):
        with harness.owned(vfio_user.memory()) as fd:
            for _ in range(self.TIMES):
                client.dma_map(fd)
                client.dma_unmap()

    def test_client(self):
        broker = self.limited()
        with broker.client() as client:
            started = time.monotonic()
            self.flood(client)
            self.assert_slowed(started)
            broker.wait_log("warning device-slowed session=1")
            self.assert_served(client)
        self.assert_next_served(broker)
        self.assertEqual(len(broker.matches("warning device-slowed .*")), 1)
        broker.stop()

    def test_client_within_the_limit(self):
        """The control."""
        broker = self.limited(requests_per_second=10 * self.TIMES)
        with broker.client() as client:
            self.flood(client)
        broker.wait_log("info session-end session=1")
        self.assertEqual(broker.matches("warning device-slowed .*"), [])
        broker.stop()

    def test_accesses_are_no_requests(self):
        """No gate has to do with them."""
        broker = self.limited(requests_per_second=10)
        with broker.client() as client:
            for _ in range(self.TIMES):
                client.read_register(device.SCRATCH)
            self.assertEqual(broker.matches("warning device-slowed .*"), [])
        broker.stop()


class TakenOver(RequestsTest):
    """Processes that are somebody else's by now: we act in their place."""

    needs_root = True

    @contextlib.contextmanager
    def stolen(self, pid, number):
        """A descriptor of a process that does nothing more itself."""
        os.kill(pid, signal.SIGSTOP)
        with harness.owned(os.pidfd_open(pid)) as pidfd:
            with harness.owned(harness.pidfd_getfd(pidfd, number)) as fd:
                yield fd

    def test_device(self):
        """Asks for a piece of the client's stream, in which there is nothing."""
        take = struct.pack("=IIIHH", TAKE, 0, 1, 0, 0)
        broker = self.limited()
        with broker.client():
            with self.stolen(broker.serving().device, DEVICE_CHANNEL) as fd:
                channel = socket.socket(fileno=os.dup(fd))
                started = time.monotonic()
                for _ in range(self.TIMES):
                    channel.send(take)
                    answer = struct.unpack_from("=IIi", channel.recv(8192))
                    self.assertEqual(answer, (TAKEN, 0, -errno.EAGAIN))
                channel.close()
            self.assert_slowed(started)
            broker.wait_log("warning device-slowed session=1")
        self.assert_next_served(broker)
        broker.stop()

    def test_gate(self):
        """Reports without end: so many, and what is in the pipe."""
        report = struct.pack("=IIIIII", REPORT, 0, DESCRIPTOR_REFUSED, 2, 22, 1)
        broker = self.limited()
        with broker.client():
            with self.stolen(broker.serving().gate, GATE_REPORTS) as fd:
                started = time.monotonic()
                for _ in range(2 * self.TIMES + PIPE_PACKETS):
                    os.write(fd, report)
            self.assert_slowed(started)
        self.assert_next_served(broker)
        broker.stop()


if __name__ == "__main__":
    harness.main()
