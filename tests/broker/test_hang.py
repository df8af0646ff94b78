#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A gate that hangs over what its client sent: the next client is served all the same."""

import array
import contextlib
import os
import signal
import socket
import struct
import time

import harness
import vfio_user
from hostile_files import LINGER, HangingFile, LingeringSocket, closes


# The gate's descriptor of its channel from the supervisor.
GATE_CHANNEL = 3


class Control(harness.BrokerTest):
    """What the other tests send does block whoever closes it."""

    def test_close_of_a_lingering_socket_blocks(self):
        with LingeringSocket() as lingering:
            self.assertFalse(closes(lingering.socket.detach()))

    def test_close_of_the_same_socket_without_linger_does_not(self):
        with LingeringSocket(linger=0) as plain:
            self.assertTrue(closes(plain.socket.detach()))


class HangTest(harness.BrokerTest):
    def forgiving_nothing(self):
        """A broker that would end if it took what a client did for a crash."""
        return self.broker(self.policy(restart={"max": 0}))

    def wait_closing(self, lingering):
        harness.wait_until("the gate to close the socket", lingering.is_being_closed)

    def send_lingering(self, client, session, command, payload, lingering):
        """The gate gets the last copy, and is inside close(2) of it by the end."""
        os.kill(session.gate, signal.SIGSTOP)
        client.send(command, payload, [lingering.fileno()])
        lingering.leave()
        os.kill(session.gate, signal.SIGCONT)
        self.wait_closing(lingering)

    def assert_next_served_soon(self, broker):
        started = time.monotonic()
        self.assert_next_served(broker)
        self.assertLess(time.monotonic() - started, LINGER / 10)

    def assert_left(self, broker, session):
        broker.wait_log(f"warning gate-hung session={session.number}")
        broker.wait_log(f"info session-end session={session.number}")
        self.assertFalse(harness.alive(session.gate))
        self.assertFalse(harness.alive(session.device))


class Lingering(HangTest):
    """The socket is no memory and no eventfd: the gate closes it, and does not come back."""

    def assert_hangs(self, broker, client, command, payload):
        session = broker.serving(len(broker.matches("info client-accepted .*")))
        with LingeringSocket() as lingering:
            with client:
                self.send_lingering(client, session, command, payload, lingering)
            self.assert_next_served_soon(broker)
            self.assert_left(broker, session)

    def test_as_guest_memory(self):
        broker = self.forgiving_nothing()
        payload = vfio_user.dma_map_payload(0, 4096)
        self.assert_hangs(broker, broker.client(), vfio_user.DMA_MAP, payload)
        broker.stop()

    def test_as_interrupt(self):
        broker = self.forgiving_nothing()
        payload = vfio_user.set_irqs_payload(1)
        self.assert_hangs(broker, broker.client(), vfio_user.SET_IRQS, payload)
        broker.stop()

    def test_with_the_first_message(self):
        broker = self.forgiving_nothing()
        client = broker.connect()
        broker.serving()
        payload = struct.pack("=HH", 0, 1) + b"{}\0"
        self.assert_hangs(broker, client, vfio_user.VERSION, payload)
        broker.stop()

    def test_again_and_again(self):
        broker = self.forgiving_nothing()
        for _ in range(3):
            payload = vfio_user.dma_map_payload(0, 4096)
            self.assert_hangs(broker, broker.client(), vfio_user.DMA_MAP, payload)
        broker.stop()

    def test_client_that_stays_does_not_keep_the_next_one_out(self):
        broker = self.forgiving_nothing()
        with LingeringSocket() as lingering, broker.client() as client:
            session = broker.serving()
            payload = vfio_user.dma_map_payload(0, 4096)
            self.send_lingering(client, session, vfio_user.DMA_MAP, payload, lingering)
            self.assert_next_served_soon(broker)
            self.assert_left(broker, session)
            client.wait_closed()
        broker.stop()

    def test_sigterm_ends_the_broker(self):
        broker = self.forgiving_nothing()
        with LingeringSocket() as lingering, broker.client() as client:
            payload = vfio_user.dma_map_payload(0, 4096)
            self.send_lingering(client, broker.serving(), vfio_user.DMA_MAP, payload, lingering)
            broker.stop()

    def test_in_a_client_that_is_refused(self):
        """It is dropped unread, with the connection."""
        broker = self.forgiving_nothing()
        with LingeringSocket() as lingering, broker.client() as first:
            broker.signal(signal.SIGSTOP)
            second = broker.connect()
            second.send_raw(b"x", [lingering.fileno()])
            lingering.leave()
            broker.signal(signal.SIGCONT)
            self.wait_closing(lingering)
            with broker.connect() as third:
                third.wait_closed()
            broker.wait_log("warning gate-hung session=2")
            self.assert_served(first)
            second.close()
            first.close()
            self.assert_next_served_soon(broker)
        broker.stop()


class TakenOver(HangTest):
    """A gate that is somebody else's by now."""

    needs_root = True

    def test_cannot_send_descriptors_to_the_supervisor(self):
        """Which would drop them: whether it reads them, refuses them or closes the channel."""
        broker = self.forgiving_nothing()
        with harness.owned(vfio_user.eventfd()) as fd, broker.client() as client:
            gate = broker.serving().gate
            rights = array.array("i", [fd])
            with harness.owned(os.pidfd_open(gate)) as pidfd:
                channel = socket.socket(fileno=harness.pidfd_getfd(pidfd, GATE_CHANNEL))
            with channel, self.assertRaises(BrokenPipeError):
                channel.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            self.assert_served(client)
        self.assert_next_served_soon(broker)
        broker.stop()


class Stopped(HangTest):
    def test_gate_that_does_not_answer_is_left(self):
        broker = self.forgiving_nothing()
        with broker.client():
            session = broker.serving()
            os.kill(session.gate, signal.SIGSTOP)
        self.assert_next_served_soon(broker)
        self.assert_left(broker, session)
        broker.stop()


class InTheQueue(HangTest):
    """What a client sent whom nobody has accepted is dropped with the listening socket."""

    def test_sigterm_ends_the_broker(self):
        broker = self.forgiving_nothing()
        os.kill(broker.reserve().gate, signal.SIGSTOP)
        with LingeringSocket() as lingering, broker.connect() as client:
            client.send_raw(b"x", [lingering.fileno()])
            lingering.leave()
            client.close()
            broker.stop()


class UnkillableTest(HangTest):
    """Not even SIGKILL ends a gate that waits for a FUSE server."""

    needs_root = True

    def send_hanging_file(self, broker, file):
        """Returns the session, whose gate hangs in close(2) by then."""
        flushes = file.flushes
        with broker.client() as client:
            session = broker.serving(len(broker.matches("info client-accepted .*")))
            payload = vfio_user.dma_map_payload(0, 4096)
            client.send(vfio_user.DMA_MAP, payload, [file.fileno()])
            harness.wait_until("the gate's FLUSH", lambda: file.flushes > flushes)
        return session

    def hanging_file(self):
        return HangingFile(os.path.join(self.stage, "fuse-" + os.path.basename(self.dir)))


class Unkillable(UnkillableTest):
    def test_session_is_written_off(self):
        broker = self.forgiving_nothing()
        with self.hanging_file() as file:
            session = self.send_hanging_file(broker, file)
            self.assert_next_served_soon(broker)
            broker.wait_log(
                f"error session-written-off session={session.number} device=0 gate={session.gate}"
            )
            self.assertTrue(harness.alive(session.gate))
            self.assertFalse(harness.alive(session.device))
            self.assert_next_served_soon(broker)
        # Now it can end, and is collected.
        broker.wait_log(f"info session-end session={session.number}")
        broker.stop()

    def test_several_sessions_are_written_off(self):
        broker = self.forgiving_nothing()
        with self.hanging_file() as file:
            for _ in range(5):
                self.send_hanging_file(broker, file)
            self.assert_next_served_soon(broker)
            broker.wait_log("error session-written-off .*", 5)
        broker.wait_log("info session-end .*", 5)
        broker.stop()

    def test_sigterm_does_not_wait_for_it(self):
        broker = self.forgiving_nothing()
        with self.hanging_file() as file:
            session = self.send_hanging_file(broker, file)
            broker.signal(signal.SIGTERM)
            self.assertEqual(broker.wait(), 0, broker.log())
            self.assertFalse(os.path.lexists(self.socket))
            self.assertTrue(harness.alive(session.gate))
        self.wait_no_orphans()


class AllHang(UnkillableTest):
    only = "root"

    def test_broker_goes_on_when_they_end(self):
        broker = self.forgiving_nothing()
        with self.hanging_file() as file:
            stuck = []
            while not stuck:
                number = self.send_hanging_file(broker, file).number + 1
                broker.wait_log(f"info session-start session={number} .*|error sessions-stuck .*")
                stuck = broker.matches("error sessions-stuck .*")
            waiting = broker.connect()
            self.assertIsNone(broker.process.poll())
        with waiting:
            self.assert_served(waiting.negotiate())
        broker.stop()


if __name__ == "__main__":
    harness.main()
