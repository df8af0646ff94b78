#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Several sockets: one process with a context for each, which share fate."""

import contextlib
import os
import signal
import socket

import harness
import vfio_user

NUMBER = 0x00
OWN = 0x08
SHARED = 0x10
CRASH = 0x18
MAPPED = 0x20


class ContextsTest(harness.BrokerTest):
    def path(self, name):
        return os.path.join(self.dir, name)

    def contexts_policy(self, *args, **sections):
        program = self.built("tests/broker/broker-test-contexts")
        device = {"program": program, "args": list(args or ["{socket}"])}
        return self.policy(device=device, **{"irqs": {"max_vectors": 4}, **sections})

    def start_contexts(self, names, policy=None):
        """A broker with a socket of each name."""
        command = ["--policy", policy or self.contexts_policy()]
        for name in names:
            command += ["--sock", self.path(name)]
        return harness.Broker(self, self.broker_command(*command))

    def contexts(self, names, policy=None):
        broker = self.start_contexts(names, policy).wait_ready()
        self.names = names
        return broker

    def end(self, broker):
        broker.stop()
        for name in self.names:
            self.assertFalse(os.path.lexists(self.path(name)), name)

    def client(self, name):
        return vfio_user.Client(self.path(name)).negotiate()

    def clients(self, *names):
        stack = contextlib.ExitStack()
        return stack, [stack.enter_context(self.client(name)) for name in names]

    def assert_refused(self, name):
        with vfio_user.Client(self.path(name)) as client:
            client.wait_closed()

    def assert_number(self, client, number):
        self.assertEqual(client.read_register(NUMBER), number)


class Matching(ContextsTest):
    def assert_numbers(self, names, policy, wanted):
        broker = self.contexts(names, policy)
        stack, clients = self.clients(*names)
        with stack:
            self.assertEqual([client.read_register(NUMBER) for client in clients], wanted)
        self.end(broker)

    def test_argument_is_repeated_for_each_socket(self):
        self.assert_numbers(["a", "b", "c"], self.contexts_policy(), [1, 2, 3])

    def test_last_component_counts(self):
        policy = self.contexts_policy("/elsewhere/c", "b", "./a")
        self.assert_numbers(["a", "b", "c"], policy, [3, 2, 1])

    def test_others_are_taken_in_order(self):
        policy = self.contexts_policy("x", "c", "y", "b")
        self.assert_numbers(["a", "b", "c", "d"], policy, [1, 3, 2, 4])

    def test_same_name_in_other_folders(self):
        os.mkdir(self.path("1"), 0o755)
        if os.geteuid() == 0:
            os.chown(self.path("1"), self.user.uid, self.user.gid)
        self.assert_numbers(["1/s", "s"], self.contexts_policy(), [1, 2])

    def test_environment(self):
        """What the program gets; the first channel and no names with one socket."""
        for names in [["a"], ["a", "b b", "c"]]:
            policy = self.policy(
                device={**self.device("--print"), "env": {"PATHS": "{socket}"}, "args": ["--print", "x"]}
            )
            broker = self.start_contexts(names, policy)
            broker.wait_log(r"info device-log .*text=\"environment VFU_BROKER_FD=3\"")
            paths = ":".join(self.path(name) for name in names)
            broker.wait_log(rf"info device-log .*text=\"environment PATHS={paths}\"")
            if len(names) > 1:
                broker.wait_log(
                    r"info device-log .*text=\"environment VFU_BROKER_SOCKETS=a/b b/c\""
                )
                broker.wait_log(r"info device-log .*text=\"device: .*|error .*")
            else:
                self.assertNotIn("VFU_BROKER_SOCKETS", broker.log())
            broker.signal(signal.SIGTERM)
            broker.wait()

    def test_too_few_contexts_fail_the_start(self):
        broker = self.start_contexts(["a", "b"], self.contexts_policy("a"))
        self.assertEqual(broker.wait(), 1, broker.log())
        self.assertIn("attach 1: ", broker.log())

    def test_too_many_contexts_fail_the_start(self):
        broker = self.start_contexts(["a", "b"], self.contexts_policy("a", "b", "c"))
        self.assertEqual(broker.wait(), 1, broker.log())
        self.assertIn("c: Device or resource busy", broker.log())

    def test_64_sockets(self):
        names = [f"s{number}" for number in range(64)]
        broker = self.contexts(names)
        stack, clients = self.clients(*names)
        with stack:
            for number, client in enumerate(clients):
                self.assert_number(client, number + 1)
        self.end(broker)

    def test_inherited_and_bound_ones(self):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path("inherited"))
            listener.listen()
            os.chmod(self.path("inherited"), 0o666)
            number = listener.fileno()
            command = self.broker_command(
                "--policy", self.contexts_policy(), "--sock", self.path("a"), "--fd", str(number),
                "--sock", self.path("b"),
            )
            broker = harness.Broker(self, command, pass_fds=[number]).wait_ready()
            stack, clients = self.clients("a", "inherited", "b")
            with stack:
                self.assertEqual([client.read_register(NUMBER) for client in clients], [1, 2, 3])
            self.names = ["a", "b"]
            self.end(broker)


class Fate(ContextsTest):
    def test_process_is_one(self):
        broker = self.contexts(["a", "b"])
        stack, (a, b) = self.clients("a", "b")
        with stack:
            a.write_register(SHARED, 42)
            a.write_register(OWN, 1)
            b.write_register(OWN, 2)
            self.assertEqual(b.read_register(SHARED), 42)
            self.assertEqual((a.read_register(OWN), b.read_register(OWN)), (1, 2))
            first = broker.wait_log(r"info client-accepted session=1\.1 .* device=(\d+)")[1]
            second = broker.wait_log(r"info client-accepted session=1\.2 .* device=(\d+)")[1]
            self.assertEqual(first, second)
        broker.wait_log("info session-end session=1")
        with self.client("b") as b:
            self.assertEqual((b.read_register(SHARED), b.read_register(OWN)), (0, 0))
        self.end(broker)

    def test_each_context_has_memory_and_interrupts(self):
        broker = self.contexts(["a", "b"], self.contexts_policy(dma={"access": "rw"}))
        stack, clients = self.clients("a", "b")
        with stack, harness.owned(vfio_user.memory(), vfio_user.eventfd()) as (memory, irq):
            for client in clients:
                client.dma_map(memory)
                client.set_irqs([irq] * 4)
                self.assertEqual(client.read_register(MAPPED), 1)
        self.end(broker)

    def test_who_is_left_is_served_on(self):
        broker = self.contexts(["a", "b", "c"])
        stack, clients = self.clients("a", "b", "c")
        with stack:
            for gone, client in enumerate(clients):
                for number in range(gone, 3):
                    self.assert_number(clients[number], number + 1)
                client.close()
                broker.wait_log(rf"info client-gone session=1\.{gone + 1}")
        broker.wait_log("info session-end session=1")
        self.end(broker)

    def test_place_of_a_client_that_left_is_busy_while_others_are_served(self):
        broker = self.contexts(["a", "b"])
        stack, (a, b) = self.clients("a", "b")
        with stack:
            a.close()
            broker.wait_log(r"info client-gone session=1\.1")
            for count in range(1, 4):
                self.assert_refused("a")
                broker.wait_log(r"warning client-refused session=2\.1 reason=busy .*", count)
                self.assert_number(b, 2)
            b.close()
        stack, (b, a) = self.clients("b", "a")
        with stack:
            self.assert_number(a, 1)
            self.assert_number(b, 2)
            broker.wait_log(r"info client-accepted session=2\.1 .*")
            broker.wait_log(r"info client-accepted session=2\.2 .*")
        self.end(broker)

    def test_second_client_is_refused(self):
        broker = self.contexts(["a", "b"])
        with self.client("a") as a:
            self.assert_refused("a")
            with self.client("b") as b:
                self.assert_refused("b")
                self.assert_refused("a")
                self.assert_number(b, 2)
            self.assert_number(a, 1)
        self.end(broker)

    def test_session_ends_though_some_never_had_a_client(self):
        broker = self.contexts(["a", "b", "c"])
        for count, (name, number) in enumerate([("b", 2), ("a", 1), ("c", 3)] * 3):
            with self.client(name) as client:
                self.assertEqual(client.read_register(SHARED), 0)
                client.write_register(SHARED, 1)
                self.assert_number(client, number)
            broker.wait_log("info session-end session=.*", count + 1)
        self.end(broker)

    def test_clients_that_come_and_go_in_any_order(self):
        """Nothing of one round is left in the next."""
        broker = self.contexts(["a", "b"])
        for count in range(30):
            names = ["a", "b"] if count % 2 else ["b", "a"]
            stack, (first, second) = self.clients(*names)
            with stack:
                self.assertEqual(second.read_register(SHARED), 0)
                first.write_register(SHARED, 1)
                self.assertEqual(second.read_register(SHARED), 1)
                (first if count % 3 else second).close()
        self.end(broker)

    def test_crash_ends_all(self):
        broker = self.contexts(["a", "b", "c"])
        stack, (a, b) = self.clients("a", "b")
        with stack:
            with self.assertRaises(vfio_user.Closed):
                a.write_register(CRASH, 1)
            b.wait_closed()
        broker.wait_log("error device-died session=1 .*signal=SIGSEGV")
        stack, clients = self.clients("c", "b", "a")
        with stack:
            for number, client in zip([3, 2, 1], clients):
                self.assert_number(client, number)
        self.end(broker)

    def test_client_that_does_not_negotiate_loses_its_own_place_alone(self):
        policy = self.contexts_policy(client={"handshake_seconds": 1})
        broker = self.contexts(["a", "b"], policy)
        with self.client("a") as a, vfio_user.Client(self.path("b")) as silent:
            silent.wait_closed()
            broker.wait_log(r"warning handshake-timeout session=1\.2")
            self.assert_number(a, 1)
            self.assert_refused("b")
            self.assert_number(a, 1)
        stack, (b, a) = self.clients("b", "a")
        with stack:
            self.assert_number(b, 2)
        self.end(broker)

    def test_stranger_does_not_disturb_the_others(self):
        policy = self.contexts_policy(client={"uids": [54321], "gids": []})
        broker = self.contexts(["a", "b"], policy)
        self.assert_refused("a")
        self.assert_refused("b")
        broker.wait_log(r"warning client-refused session=1\.2 reason=credentials .*")
        self.assertEqual(broker.matches("info session-end .*"), [])
        self.end(broker)


class Jail(ContextsTest):
    needs_root = True

    def test_channels_are_all_that_is_more(self):
        broker = self.contexts(["a", "b", "c"])
        device = int(broker.wait_log(r"info session-start session=1 device=(\d+) .*")[1])
        links = harness.descriptors(device)
        sockets = [number for number, link in links.items() if link.startswith("socket:")]
        self.assertEqual(sockets, [3, 4, 5])
        gates = broker.wait_log(r"info session-start session=1 .* gate=(\S+)")[1].split(",")
        self.assertEqual(len(set(gates)), 3)
        for gate in gates:
            self.assertEqual(harness.status_field(gate, "Seccomp"), ["2"])
        self.end(broker)


if __name__ == "__main__":
    harness.main()
