#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""--check: what it prints, what it returns, and that it leaves nothing behind."""

import os
import re

import harness

LAYERS = [
    "user-namespace",
    "pid-namespace",
    "mount-namespace",
    "private-root",
    "network-namespace",
    "ipc-namespace",
    "uts-namespace",
    "cgroup-namespace",
    "landlock",
    "mdwe",
    "no-new-privileges",
    "seccomp-filter",
    "seccomp-notify",
    "cgroup",
]


class Check(harness.BrokerTest):
    def check(self, policy, *args):
        """Returns (status, output, error); whatever comes of it, nothing stays."""
        before = sorted(os.listdir(self.dir))
        result = self.run_broker("--check", "--policy", policy, *args)
        self.assertEqual(harness.children(os.getpid()), {})
        self.assertEqual(sorted(os.listdir(self.dir)), before)
        return result

    def test_shipped_policies_can_be_enforced(self):
        for name in ["gpio.json", "gpio-loopback.json", "hello.json", "null.json", "server.json"]:
            with self.subTest(policy=name):
                status, out, err = self.check(self.shipped(name))
                self.assertEqual((status, err), (0, ""), out)
                self.assertIn("the policy can be enforced here", out)

    def test_leaves_no_socket_and_no_pid_file(self):
        status, _, _ = self.check(self.policy(), "--sock", self.socket, "--pid-file", "pid")
        self.assertEqual(status, 0)

    def test_leaves_an_existing_socket_alone(self):
        broker = self.broker()
        status, _, _ = self.run_broker("--check", "--policy", self.policy(), "--sock", self.socket)
        self.assertEqual(status, 0)
        self.assert_next_served(broker)
        broker.stop()

    def test_lists_every_layer_with_its_purpose(self):
        _, out, _ = self.check(self.policy())
        found = re.findall(r"^  (\S+) +(yes|NO) +(\S.*)$", out, re.MULTILINE)
        self.assertEqual([name for name, _, _ in found], LAYERS)

    def test_lists_every_call_with_its_reason(self):
        _, out, _ = self.check(self.policy(jail={"syscalls": ["getcpu"]}))
        calls = out[out.index("system calls after") : out.index("program:")].splitlines()[1:]
        for line in calls:
            self.assertRegex(line, r"^  [a-z0-9_]+ {2,}(\S.*)?\S$")
        names = {line.split()[0] for line in calls}
        self.assertLessEqual({"read", "write", "recvfrom", "ppoll", "exit_group"}, names)
        self.assertRegex(out, r"\n  getcpu +the policy's jail.syscalls\n")

    def test_lists_program_and_files(self):
        policy = self.policy(jail={"files": ["/etc/hostname"]})
        _, out, _ = self.check(policy)
        self.assertIn(f"program: {self.built('tests/broker/broker-test-device')}\n", out)
        self.assertRegex(out, r"\n  with \S*/libvfio-user\.so\.0\n")
        self.assertIn("\n  with /etc/hostname\n", out)

    def test_unknown_program_is_3(self):
        status, _, err = self.check(self.policy(device={"program": "no-such-device"}))
        self.assertEqual(status, 3)
        self.assertIn("no-such-device", err)

    def test_unknown_call_is_3(self):
        status, _, err = self.check(self.policy(jail={"syscalls": ["frobnicate"]}))
        self.assertEqual(status, 3)
        self.assertIn("frobnicate", err)

    def test_bad_policy_is_3(self):
        status, _, err = self.check(self.write_file("bad.json", "{"))
        self.assertEqual(status, 3)
        self.assertIn("bad.json", err)

    def test_program_that_does_not_seal_is_not_0(self):
        for args in [["--exit", "0"], ["--crash"], ["--wait"]]:
            with self.subTest(args=args):
                policy = self.policy(device=self.device(*args), start_seconds=1)
                status, out, err = self.check(policy)
                self.assertEqual(status, 1, err)
                self.assertIn("can NOT be enforced", out)
                self.assertNotIn("was started, sealed", out)


if __name__ == "__main__":
    harness.main()
