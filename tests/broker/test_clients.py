#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Who is let in: one client at a time, of the right user, each to a fresh process."""

import contextlib
import os
import socket

import device
import harness


class OneAtATime(harness.BrokerTest):
    def test_second_client_is_refused_and_logged(self):
        broker = self.broker()
        with broker.client() as first:
            with broker.connect() as second:
                second.wait_closed()
            broker.wait_log(r"warning client-refused .*reason=busy .*pid=%d.*" % os.getpid())
            self.assert_served(first)
        broker.stop()

    def test_second_client_that_negotiates_is_refused(self):
        broker = self.broker()
        with broker.client() as first, broker.connect() as second:
            with self.assertRaises(harness.vfio_user.Closed):
                second.negotiate()
            self.assert_served(first)
        broker.stop()

    def test_client_is_busy_before_it_has_negotiated(self):
        broker = self.broker()
        with broker.connect() as first:
            broker.serving()
            with broker.connect() as second:
                second.wait_closed()
            self.assert_served(first.negotiate())
        broker.stop()

    def test_first_client_outlasts_many_others(self):
        broker = self.broker()
        with broker.client() as first:
            for _ in range(300):
                with broker.connect() as other:
                    other.wait_closed()
            self.assert_served(first)
            sessions = broker.sessions()
        # The same reserve refused them all, and its log is limited.
        self.assertLessEqual(len(sessions), 2)
        refused = len(broker.matches("warning client-refused .*"))
        self.assertGreater(refused, 0)
        self.assertLess(refused, 250)
        broker.stop()

    def test_many_clients_at_once_leave_one(self):
        broker = self.broker()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(broker.connect()) for _ in range(12)]
            self.assert_served(clients[0].negotiate())
            for other in clients[1:]:
                other.wait_closed()
        broker.stop()

    def test_client_that_has_hung_up_is_not_busy(self):
        broker = self.broker()
        for i in range(200):
            with broker.client() as client:
                self.assertEqual(client.read_register(device.SCRATCH), 0)
                client.write_register(device.SCRATCH, i + 1)
        self.assertEqual(broker.matches("warning client-refused .*"), [])
        broker.stop()

    def test_client_that_has_hung_up_before_it_said_anything_is_not_busy(self):
        broker = self.broker()
        for _ in range(50):
            broker.connect().close()
        self.assert_next_served(broker)
        self.assertEqual(broker.matches("warning client-refused .*"), [])
        broker.stop()

    def test_client_that_has_shut_down_its_side_is_not_busy(self):
        broker = self.broker()
        with broker.client() as first:
            first.socket.shutdown(socket.SHUT_WR)
            self.assert_next_served(broker)
            first.wait_closed()
        broker.stop()


class Credentials(harness.BrokerTest):
    def assert_refused(self, broker, count=1):
        with broker.connect() as client:
            client.wait_closed()
        broker.wait_log(
            f"warning client-refused .*reason=credentials uid={os.geteuid()} gid={os.getegid()} .*",
            count,
        )

    def broker_for(self, **client):
        os.chmod(self.dir, 0o711)
        return self.broker(self.policy(client=client), "--sock-mode", "0666")

    def test_own_user_may_connect_as_self(self):
        broker = self.broker_for(uids=["self"])
        if self.user.uid == os.getuid():
            self.assert_next_served(broker)
        else:
            self.assert_refused(broker)
        broker.stop()

    def test_own_user_may_connect_by_number(self):
        broker = self.broker_for(uids=[54321, os.getuid()])
        self.assert_next_served(broker)
        broker.stop()

    def test_other_user_may_not(self):
        broker = self.broker_for(uids=[54321])
        for count in range(1, 4):
            self.assert_refused(broker, count)
        broker.stop()

    def test_own_group_may_connect(self):
        broker = self.broker_for(uids=[], gids=[os.getgid()])
        self.assert_next_served(broker)
        broker.stop()

    def test_other_group_may_not(self):
        broker = self.broker_for(uids=[], gids=[54321])
        self.assert_refused(broker)
        broker.stop()

    def test_refused_one_does_not_disturb_the_one_that_is_served(self):
        broker = self.broker_for(uids=[os.getuid()])
        with broker.client() as client:
            with broker.connect() as other:
                other.wait_closed()
            self.assert_served(client)
        broker.stop()


class CredentialsOfOthers(Credentials):
    """Clients of several users, which only root can be."""

    needs_root = True

    def assert_only(self, broker, allowed):
        refused = 0
        for uid, gid in [(0, 0), (12345, 12345), (23456, 23456), (34567, 23456), (2, 2)]:
            with self.subTest(uid=uid, gid=gid), harness.acting_as(uid, gid):
                if (uid, gid) in allowed:
                    self.assert_next_served(broker)
                else:
                    self.assert_refused(broker)
                    refused += 1
        self.assertEqual(len(broker.matches("warning client-refused .*")), refused)
        broker.stop()

    def test_default_is_self_and_root(self):
        self.assert_only(self.broker_for(), {(0, 0), (self.user.uid, self.user.gid)})

    def test_self_is_the_broker_s_user(self):
        self.assert_only(self.broker_for(uids=["self"]), {(self.user.uid, self.user.gid)})

    def test_name(self):
        self.assert_only(self.broker_for(uids=["bin"]), {(2, 2)})

    def test_number(self):
        self.assert_only(self.broker_for(uids=[23456]), {(23456, 23456)})

    def test_group(self):
        self.assert_only(
            self.broker_for(uids=[], gids=[23456]), {(23456, 23456), (34567, 23456)}
        )

    def test_group_by_name(self):
        self.assert_only(self.broker_for(uids=[], gids=["bin"]), {(2, 2)})

    def test_user_or_group(self):
        self.assert_only(
            self.broker_for(uids=["root"], gids=[23456]),
            {(0, 0), (23456, 23456), (34567, 23456)},
        )

    def test_credentials_are_those_of_connecting(self):
        """Not of whoever uses the socket later."""
        broker = self.broker_for(uids=[23456])
        with harness.acting_as(23456, 23456):
            client = broker.connect()
        with client:
            self.assert_served(client.negotiate())
        broker.stop()

    def test_refused_while_another_is_served(self):
        broker = self.broker_for(uids=["root"])
        with broker.client() as first:
            with harness.acting_as(23456, 23456):
                self.assert_refused(broker)
            self.assert_served(first)
        broker.stop()


class FreshSession(harness.BrokerTest):
    def test_registers_of_the_last_client_are_gone(self):
        broker = self.broker(self.shipped("gpio-loopback.json"))
        with broker.client() as client:
            client.write(2, 0, b"\x5a")
            client.write(2, 4, b"\xa5")
            self.assertEqual(client.read(2, 1, 1) + client.read(2, 5, 1), b"\x5a\xa5")
        with broker.client() as client:
            self.assertEqual(client.read(2, 1, 1) + client.read(2, 5, 1), b"\0\0")
        broker.stop()

    def test_each_client_has_processes_of_its_own(self):
        broker = self.broker()
        seen = set()
        for count in range(1, 6):
            with broker.client():
                session = broker.serving(count)
                self.assertTrue(harness.alive(session.device))
                self.assertTrue(harness.alive(session.gate))
                seen |= {session.device, session.gate}
            broker.wait_log(f"info session-end session={session.number}")
            self.assertFalse(harness.alive(session.device))
            self.assertFalse(harness.alive(session.gate))
        self.assertEqual(len(seen), 10)
        broker.stop()

    def test_next_session_is_sealed_before_its_client_comes(self):
        broker = self.broker(None, "--log-level", "debug")
        with broker.client():
            broker.wait_log("debug device-verified session=2 .*")
        broker.stop()


if __name__ == "__main__":
    harness.main()
