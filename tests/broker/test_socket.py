#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The listening socket: who may reach it, what it replaces, and that it goes with the broker."""

import contextlib
import grp
import os
import signal
import socket

import harness
import vfio_user

SO_PASSPIDFD = 76  # Linux 6.5


class SocketTest(harness.BrokerTest):
    def bind(self, path):
        """A socket that nobody listens on yet."""
        sock = socket.socket(socket.AF_UNIX)
        self.addCleanup(sock.close)
        sock.bind(path)
        if os.geteuid() == 0:
            os.chown(path, self.user.uid, self.user.gid)
        return sock

    def start_fails(self, *args, **options):
        """Status 1, one line, the log elsewhere."""
        return self.fails(1, "--policy", self.policy(), "--log-file", "failed.log", *args, **options)


class Access(SocketTest):
    def test_only_the_owner_may_connect_by_default(self):
        for umask in [0, 0o077]:
            with self.subTest(umask=umask):
                broker = self.broker(preexec=lambda umask=umask: os.umask(umask))
                self.assert_mode(self.socket, 0o600)
                self.assertEqual(os.lstat(self.socket).st_uid, self.user.uid)
                broker.stop()

    def test_sock_mode(self):
        broker = self.broker(None, "--sock-mode", "0660", preexec=lambda: os.umask(0o077))
        self.assert_mode(self.socket, 0o660)
        self.assert_next_served(broker)
        broker.stop()

    def test_sock_group_by_number(self):
        group = 23456 if self.user.uid == 0 else self.user.gid
        broker = self.broker(None, "--sock-group", str(group), "--sock-mode", "0660")
        self.assertEqual(os.lstat(self.socket).st_gid, group)
        self.assert_mode(self.socket, 0o660)
        broker.stop()

    def test_socket_path_is_another_name_of_sock(self):
        command = ["--policy", self.policy(), "--socket-path", self.socket]
        broker = harness.Broker(self, self.broker_command(*command)).wait_ready()
        self.assert_next_served(broker)
        broker.stop()


class AccessOfRoot(SocketTest):
    needs_root = True

    def test_sock_group_by_name(self):
        group = grp.getgrnam("nogroup")
        if self.user.uid == 0:
            broker = self.broker(None, "--sock-group", group.gr_name)
            self.assertEqual(os.lstat(self.socket).st_gid, group.gr_gid)
            broker.stop()
        else:
            line = self.start_fails("--sock", self.socket, "--sock-group", group.gr_name)
            self.assertIn(self.socket, line)
            self.assertFalse(os.path.lexists(self.socket))


    def test_root_removes_what_it_put_into_somebody_else_s_directory(self):
        os.chown(self.dir, harness.ORDINARY.uid, harness.ORDINARY.gid)
        pid_file = os.path.join(self.dir, "pid")
        broker = self.broker(None, "--pid-file", pid_file)
        broker.stop()
        self.assertFalse(os.path.lexists(pid_file))


class Existing(SocketTest):
    """Files that are at the path already."""

    def assert_in_use(self):
        line = self.start_fails("--sock", self.socket)
        self.assertIn(self.socket, line)
        self.assertIn("in use", line)

    def test_stale_one_is_replaced(self):
        self.bind(self.socket).close()
        broker = self.broker()
        self.assert_next_served(broker)
        broker.stop()

    def test_one_that_a_killed_broker_left_is_replaced(self):
        first = self.broker()
        first.signal(signal.SIGKILL)
        first.wait()
        self.wait_no_orphans()
        self.assertTrue(os.path.lexists(self.socket))
        broker = self.broker()
        self.assert_next_served(broker)
        broker.stop()

    def test_live_one_is_an_error(self):
        listener = self.bind(self.socket)
        listener.listen()
        os.chmod(self.socket, 0o666)
        self.assert_in_use()
        listener.settimeout(harness.DEADLINE)
        listener.accept()[0].close()  # the broker's look whether it is live
        with vfio_user.Client(self.socket):
            listener.accept()[0].close()

    def test_live_one_with_a_full_queue_is_an_error(self):
        listener = self.bind(self.socket)
        listener.listen(0)
        os.chmod(self.socket, 0o666)
        with vfio_user.Client(self.socket):
            self.assert_in_use()
        self.assertTrue(os.path.lexists(self.socket))

    def test_one_of_another_broker_is_an_error(self):
        broker = self.broker()
        self.assert_in_use()
        self.assert_next_served(broker)
        broker.stop()

    def test_other_file_is_an_error_and_kept(self):
        for kind, make in {
            "file": lambda: self.write_file("socket", "precious"),
            "directory": lambda: os.mkdir(self.socket),
            "link": lambda: os.symlink("elsewhere", self.socket),
            "fifo": lambda: os.mkfifo(self.socket),
        }.items():
            with self.subTest(kind=kind):
                make()
                before = os.lstat(self.socket)
                line = self.start_fails("--sock", self.socket)
                self.assertIn(self.socket, line)
                self.assertIn("not a socket", line)
                self.assertEqual(os.lstat(self.socket).st_ino, before.st_ino)
                os.rename(self.socket, self.socket + "." + kind)


class End(SocketTest):
    def test_is_removed_on_signals(self):
        for number in [signal.SIGTERM, signal.SIGINT]:
            with self.subTest(signal=number):
                broker = self.broker()
                broker.signal(number)
                self.assertEqual(broker.wait(), 0)
                self.assertFalse(os.path.lexists(self.socket))

    def test_is_removed_when_the_device_fails_too_often(self):
        broker = self.broker(self.policy(restart={"max": 0}))
        os.kill(broker.reserve().device, signal.SIGKILL)
        self.assertEqual(broker.wait(), 5)
        self.assertFalse(os.path.lexists(self.socket))

    def test_is_kept_if_it_is_another_one_s_by_now(self):
        broker = self.broker()
        os.unlink(self.socket)
        self.bind(self.socket)
        inode = os.lstat(self.socket).st_ino
        broker.signal(signal.SIGTERM)
        self.assertEqual(broker.wait(), 0)
        self.assertEqual(os.lstat(self.socket).st_ino, inode)

    def test_socket_that_is_gone_already_is_no_error(self):
        broker = self.broker()
        os.unlink(self.socket)
        broker.stop()


class Inherited(SocketTest):
    def start_inherited(self, sock):
        command = self.broker_command("--policy", self.policy(), "--fd", str(sock.fileno()))
        broker = harness.Broker(self, command, pass_fds=[sock.fileno()])
        return broker.wait_ready()

    def test_serves_on_it_and_leaves_it(self):
        listener = self.bind(self.socket)
        listener.listen()
        for _ in range(2):
            broker = self.start_inherited(listener)
            for _ in range(2):
                self.assert_next_served(broker)
            broker.signal(signal.SIGTERM)
            self.assertEqual(broker.wait(), 0)
            self.assertTrue(os.path.lexists(self.socket))

    def test_clients_that_came_before_are_served(self):
        listener = self.bind(self.socket)
        listener.listen()
        with vfio_user.Client(self.socket) as client:
            broker = self.start_inherited(listener)
            self.assert_served(client.negotiate())
        broker.signal(signal.SIGTERM)
        self.assertEqual(broker.wait(), 0)

    def test_what_it_wants_to_know_of_senders_is_not_for_us(self):
        """As with systemd's PassCredentials=: a connection would have inherited it."""
        listener = self.bind(self.socket)
        for option in [socket.SO_PASSCRED, socket.SO_PASSSEC, SO_PASSPIDFD]:
            with contextlib.suppress(OSError):  # some kernels do not have it
                listener.setsockopt(socket.SOL_SOCKET, option, 1)
        listener.listen()
        broker = self.start_inherited(listener)
        with broker.client() as client:
            self.assert_served(client)
        broker.signal(signal.SIGTERM)
        self.assertEqual(broker.wait(), 0)

    def assert_refused(self, sock, *wanted):
        number = sock.fileno()
        line = self.start_fails("--fd", str(number), pass_fds=[number])
        for text in [f"--fd {number}", *wanted]:
            self.assertIn(text, line)

    def test_unix_socket_that_does_not_listen(self):
        self.assert_refused(self.bind(self.socket), "listening")

    def test_connected_socket(self):
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        self.assert_refused(theirs, "listening")

    def test_datagram_socket(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(self.socket)
            self.assert_refused(sock, "stream")

    def test_seqpacket_socket(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.bind(self.socket)
            sock.listen()
            self.assert_refused(sock, "stream")

    def test_tcp_socket(self):
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            sock.listen()
            self.assert_refused(sock, "UNIX")

    def test_file(self):
        with open(self.policy(), encoding="utf-8") as file:
            self.assert_refused(file)

    def test_closed_descriptor(self):
        line = self.start_fails("--fd", "77")
        self.assertIn("--fd 77", line)


if __name__ == "__main__":
    harness.main()
