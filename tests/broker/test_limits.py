#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""How long a client may keep a session waiting."""

import resource
import select
import struct
import time

import harness
import vfio_user


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


if __name__ == "__main__":
    harness.main()
