#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
What a hostile client sends, a thousand times over: an error reply or a closed connection, no
descriptor kept by any process, nothing that counts as a crash, and the next client is served.
"""

import errno
import os
import random
import struct

import harness
import vfio_user

# So often by the user who runs the tests, and a few times by the other one.
TIMES, FEW_TIMES = 1000, 100


class HostileTest(harness.BrokerTest):
    def strict_broker(self, access="none"):
        """It ends with the first thing that it takes for a crash."""
        return self.broker(self.policy(restart={"max": 0}, dma={"access": access}))

    def times(self):
        return range(TIMES if self.user.uid == os.getuid() else FEW_TIMES)

    def finish(self, broker):
        self.assert_next_served(broker)
        self.assertEqual(broker.matches("error .*"), [])
        broker.stop()


class InOneSession(HostileTest):
    """The connection survives, so that whatever was kept would add up in these processes."""

    needs_root = True

    def census(self, broker, session):
        return {
            name: sorted(harness.descriptors(pid).items())
            for name, pid in [
                ("supervisor", broker.pid),
                ("gate", session.gate),
                ("device", session.device),
            ]
        }

    def repeat(self, attack, access="none"):
        broker = self.strict_broker(access)
        with broker.client() as client:
            session = broker.serving()
            attack(client)
            # The gate has closed its copies before it takes anything else.
            client.command(vfio_user.GET_REGION_INFO, struct.pack("=8I", 32, 0, 0, 0, 0, 0, 0, 0))
            self.wait_for_reserve(broker)
            before = self.census(broker, session)
            for _ in self.times():
                attack(client)
            # The gate closes its copies when it has passed on what they came with.
            harness.wait_until(
                "every descriptor to be closed", lambda: self.census(broker, session) == before
            )
            self.assert_served(client)
        self.finish(broker)

    def wait_for_reserve(self, broker):
        """Its start comes and goes with descriptors of the supervisor."""
        with broker.connect() as other:
            other.wait_closed()

    def refused(self, error, command, payload, fds):
        def attack(client):
            with self.assertRaises(vfio_user.Refused) as caught:
                client.command(command, payload, fds)
            self.assertEqual(caught.exception.error, error)

        return attack

    def answered(self, command, payload, fds):
        """Whether it succeeds or not does not matter here."""

        def attack(client):
            try:
                client.command(command, payload, fds)
            except vfio_user.Refused:
                pass

        return attack

    def test_fifo_as_guest_memory(self):
        path = os.path.join(self.dir, "fifo")
        os.mkfifo(path)
        for access in ["none", "rw"]:
            with self.subTest(access=access), harness.owned(os.open(path, os.O_RDWR)) as fifo:
                payload = vfio_user.dma_map_payload(0, 4096)
                self.repeat(self.refused(errno.ENODEV, vfio_user.DMA_MAP, payload, [fifo]), access)

    def test_pipe_as_interrupt(self):
        with harness.owned(*os.pipe()) as (ours, theirs):
            payload = vfio_user.set_irqs_payload(2)
            self.repeat(self.refused(errno.EINVAL, vfio_user.SET_IRQS, payload, [ours, theirs]))

    def test_memory_as_interrupt(self):
        with harness.owned(vfio_user.memory()) as fd:
            payload = vfio_user.set_irqs_payload(1)
            self.repeat(self.refused(errno.EINVAL, vfio_user.SET_IRQS, payload, [fd]))

    def test_eventfd_as_guest_memory(self):
        with harness.owned(vfio_user.eventfd()) as fd:
            payload = vfio_user.dma_map_payload(0, 4096)
            self.repeat(self.refused(errno.ENODEV, vfio_user.DMA_MAP, payload, [fd]), "rw")

    def assert_many(self, count):
        fds = [vfio_user.memory() if i % 2 else vfio_user.eventfd() for i in range(count)]
        with harness.owned(*fds):
            access = struct.pack("=QII", 0, 7, 4)
            for command, payload in [
                (vfio_user.DMA_MAP, vfio_user.dma_map_payload(0, 4096)),
                (vfio_user.SET_IRQS, vfio_user.set_irqs_payload(count)),
                (vfio_user.REGION_READ, access),
            ]:
                with self.subTest(command=command):
                    self.repeat(self.answered(command, payload, fds))

    def test_16_descriptors(self):
        self.assert_many(16)

    def test_253_descriptors(self):
        self.assert_many(253)

    def test_more_eventfds_than_vectors(self):
        with harness.owned(*[vfio_user.eventfd() for _ in range(253)]) as fds:
            payload = vfio_user.set_irqs_payload(1)
            self.repeat(self.answered(vfio_user.SET_IRQS, payload, fds))

    def test_eventfds_that_replace_others(self):
        with harness.owned(*[vfio_user.eventfd() for _ in range(16)]) as fds:
            self.repeat(lambda client: client.set_irqs(fds))

    def test_memory_that_is_mapped_and_unmapped(self):
        with harness.owned(*[vfio_user.memory() for _ in range(16)]) as fds:
            for access in ["none", "rw"]:
                with self.subTest(access=access):

                    def attack(client):
                        client.command(vfio_user.DMA_MAP, vfio_user.dma_map_payload(0, 4096), fds)
                        client.dma_unmap()

                    self.repeat(attack, access)

    def test_header_in_pieces(self):
        """The descriptors come with its first byte, when nobody knows what it will be."""
        payload = vfio_user.dma_map_payload(0, 4096)
        message = vfio_user.header(vfio_user.DMA_MAP, len(payload)) + payload
        with harness.owned(vfio_user.eventfd(), vfio_user.memory()) as fds:

            def attack(client):
                client.send_raw(message[:1], fds)
                client.send_raw(message[1:7])
                client.send_raw(message[7:])
                with self.assertRaises(vfio_user.Refused):
                    client.receive(1)

            for access in ["none", "rw"]:
                with self.subTest(access=access):
                    self.repeat(attack, access)

    def test_descriptors_with_later_pieces(self):
        payload = vfio_user.dma_map_payload(0, 4096)
        message = vfio_user.header(vfio_user.DMA_MAP, len(payload)) + payload
        with harness.owned(vfio_user.eventfd()) as fd:

            def attack(client):
                for start in range(0, len(message), 12):
                    client.send_raw(message[start : start + 12], [fd])
                try:
                    client.receive(1)
                except vfio_user.Refused:
                    pass

            self.repeat(attack)


class InManySessions(HostileTest):
    """The connection ends, and its processes with it: what stays could only be the supervisor's."""

    def census(self, broker):
        return sorted(os.listdir(f"/proc/{broker.pid}/fd"), key=int)

    def repeat(self, attack):
        broker = self.strict_broker()
        self.assert_next_served(broker)
        self.wait_for_rest(broker)
        before = len(self.census(broker))
        for i in self.times():
            with broker.connect() as client:
                attack(client, i)
        harness.wait_until(
            "the supervisor to have as many descriptors as before",
            lambda: len(self.census(broker)) == before,
        )
        self.finish(broker)

    def wait_for_rest(self, broker):
        """One session in reserve, none ending, and nothing of its start left to do."""
        harness.wait_until("two processes", lambda: len(harness.children(broker.pid)) == 2)
        last = [None]

        def settled():
            census = self.census(broker)
            same = census == last[-1]
            last[:] = last + [census] if same else [census]
            return len(last) > 20

        harness.wait_until("descriptors to settle", settled)

    def send_then_leave(self, client, data, fds=()):
        """Whether or not the server has closed the connection by then."""
        try:
            client.send_raw(data, fds)
        except vfio_user.Closed:
            pass

    def test_garbage(self):
        def attack(client, i):
            numbers = random.Random(i)
            if i % 2:
                client.negotiate()
            self.send_then_leave(client, numbers.randbytes(numbers.randint(16, 2000)))
            client.socket.shutdown(1)  # what announces a body gets none
            client.wait_closed()

        self.repeat(attack)

    def test_body_that_never_comes(self):
        commands = [vfio_user.DMA_MAP, vfio_user.REGION_WRITE, vfio_user.SET_IRQS]
        with harness.owned(vfio_user.memory()) as fd:

            def attack(client, i):
                if i % 4:
                    client.negotiate()
                    message = vfio_user.header(commands[i % 3], 4096)
                else:
                    message = vfio_user.header(vfio_user.VERSION, 64)
                self.send_then_leave(client, message + b"x" * (i % 50), [fd])

            self.repeat(attack)

    def test_descriptors_that_are_never_read(self):
        """Hung up while they are in flight."""
        with harness.owned(*[vfio_user.eventfd() for _ in range(253)]) as fds:
            self.repeat(lambda client, _: self.send_then_leave(client, b"\0", fds))


if __name__ == "__main__":
    harness.main()
