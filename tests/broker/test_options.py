#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The command line, and the exit status of everything that can be wrong before a client comes."""

import json
import os
import re

import harness


class Information(harness.BrokerTest):
    def test_help_names_every_option(self):
        status, out, err = self.run_broker("--help")
        self.assertEqual((status, err), (0, ""))
        options = set(re.findall(r"^  (--[a-z-]+)", out, re.MULTILINE))
        self.assertEqual(
            options,
            {
                "--policy", "--sock", "--fd", "--check", "--audit", "--sock-mode", "--sock-group",
                "--log-level", "--log-file", "--pid-file", "--cgroup", "--print-capabilities",
                "--version", "--help",
            },
        )  # fmt: skip

    def test_version_is_the_project_s(self):
        status, out, err = self.run_broker("--version")
        self.assertEqual((status, out, err), (0, f"vfu-broker {os.environ['VFU_VERSION']}\n", ""))

    def test_capabilities_are_json(self):
        status, out, err = self.run_broker("--print-capabilities")
        self.assertEqual((status, err), (0, ""))
        capabilities = json.loads(out)
        self.assertEqual(capabilities["version"], os.environ["VFU_VERSION"])
        self.assertEqual(capabilities["policy-version"], 1)
        self.assertIn("fd", capabilities["features"])


class Usage(harness.BrokerTest):
    """Exit status 2, one line that says what is wrong, nothing done."""

    def assert_usage_error(self, wanted, *args):
        before = sorted(os.listdir(self.dir))
        line = self.fails(2, *args)
        self.assertIn(wanted, line)
        self.assertEqual(sorted(os.listdir(self.dir)), before)

    def test_no_arguments(self):
        self.assert_usage_error("--policy")

    def test_unknown_option(self):
        self.assert_usage_error("--frobnicate", "--frobnicate")

    def test_option_without_value(self):
        self.assert_usage_error("--policy", "--policy")

    def test_value_for_option_that_takes_none(self):
        self.assert_usage_error("--check", "--check=yes")

    def test_unexpected_argument(self):
        self.assert_usage_error(
            "frobnicate", "--policy", self.policy(), "--sock", self.socket, "frobnicate"
        )

    def test_neither_sock_nor_fd(self):
        self.assert_usage_error("--sock", "--policy", self.policy())

    def test_more_than_64_sockets(self):
        sockets = [arg for n in range(65) for arg in ("--sock", f"{self.socket}-{n}")]
        self.assert_usage_error(
            f"{self.socket}-64", "--policy", self.policy(), *sockets
        )

    def test_bad_values(self):
        policy = self.policy()
        for option, values in {
            "--fd": ["", "x", "-1", "0", "2", "3x", "99999999999"],
            "--sock-mode": ["", "8", "1000", "-1", "0x1", "u=rw"],
            "--sock-group": ["", "no-such-group", "-1", "4294967295"],
            "--log-level": ["", "loud", "INFO", "infos"],
        }.items():
            for value in values:
                with self.subTest(option=option, value=value):
                    sock = [] if option == "--fd" else ["--sock", self.socket]
                    self.assert_usage_error(option, "--policy", policy, *sock, option, value)


class Policy(harness.BrokerTest):
    """Exit status 3, one line that names file and key, before anything starts."""

    def assert_policy_error(self, policy, *wanted):
        line = self.fails(3, "--policy", policy, "--sock", self.socket, "--pid-file", "pid")
        for text in [policy, *wanted]:
            self.assertIn(text, line)
        self.assertFalse(os.path.lexists(self.socket))
        self.assertFalse(os.path.lexists(os.path.join(self.dir, "pid")))

    def test_missing_file(self):
        self.assert_policy_error(os.path.join(self.dir, "missing.json"), "No such file")

    def test_text_that_is_not_json(self):
        self.assert_policy_error(self.write_file("policy.json", "version: 1"))

    def test_unknown_key(self):
        self.assert_policy_error(self.policy(jail={"prison": 1}), "jail.prison")

    def test_choice_that_is_not_built(self):
        self.assert_policy_error(self.policy(client={"process": "shared"}), "client.process")

    def test_wrong_type(self):
        self.assert_policy_error(
            self.policy(client={"stall_seconds": "10"}), "client.stall_seconds"
        )

    def test_impossible_value(self):
        self.assert_policy_error(self.policy(client={"stall_seconds": 0}), "client.stall_seconds")

    def test_unknown_program(self):
        for program in ["no-such-device", "/no/such/device"]:
            with self.subTest(program=program):
                policy = self.policy(device={"program": program})
                self.assert_policy_error(policy, "device.program", program)

    def test_program_that_cannot_be_executed(self):
        program = self.write_file("program", "")
        self.assert_policy_error(
            self.policy(device={"program": program}), "device.program", program
        )

    def test_unknown_system_call(self):
        self.assert_policy_error(
            self.policy(jail={"syscalls": ["frobnicate"]}), "jail.syscalls", "frobnicate"
        )

    def test_system_call_that_no_device_may_have(self):
        self.assert_policy_error(
            self.policy(jail={"syscalls": ["ptrace"]}), "jail.syscalls", "ptrace"
        )

    def test_missing_resource(self):
        resources = [{"name": "firmware", "path": "/no/such/file"}]
        self.assert_policy_error(self.policy(resources=resources), "resources", "/no/such/file")

    def test_resource_that_is_no_regular_file(self):
        os.mkfifo(os.path.join(self.dir, "fifo"))
        os.chmod(os.path.join(self.dir, "fifo"), 0o666)
        for path in [os.path.join(self.dir, "fifo"), "/tmp", "/dev/null"]:
            with self.subTest(path=path):
                self.assert_policy_error(
                    self.policy(resources=[{"name": "a", "path": path}]), "resources", path, "regular"
                )

    def test_missing_jail_file(self):
        self.assert_policy_error(
            self.policy(jail={"files": ["/no/such/file"]}), "jail.files", "/no/such/file"
        )

    def test_jail_user_root(self):
        self.assert_policy_error(self.policy(jail={"user": "root"}), "jail.user")


class Failures(harness.BrokerTest):
    """One line on standard error, whatever goes wrong and wherever the log goes."""

    def run_with_log_file(self, status, policy, *args):
        line = self.fails(status, "--policy", policy, "--sock", self.socket, *args)
        self.assertFalse(os.path.lexists(self.socket))
        return line

    def test_device_that_crashes_at_its_start_is_1(self):
        policy = self.policy(device=self.device("--crash"))
        line = self.run_with_log_file(1, policy, "--log-file", "log")
        self.assertIn("device", line)

    def test_device_that_exits_at_its_start_is_1(self):
        policy = self.policy(device=self.device("--exit", "7"))
        self.run_with_log_file(1, policy, "--log-file", "log")

    def test_device_that_never_seals_is_1(self):
        policy = self.policy(device=self.device("--wait"), start_seconds=1)
        self.run_with_log_file(1, policy, "--log-file", "log")
        with open(os.path.join(self.dir, "log"), encoding="utf-8") as log:
            self.assertIn("error start-timeout session=1 ", log.read())

    def test_device_that_leaves_a_child_is_4(self):
        """No filter is on that, and it would stay beside a device that is confined."""
        policy = self.policy(device=self.device("--fork"))
        broker = self.start(policy)
        self.assertEqual(broker.wait(), 4)
        broker.wait_log('error verification-failed .* cause="child process [0-9]+, wanted none"')
        self.wait_no_orphans()

    def test_socket_in_no_directory_is_1(self):
        self.socket = os.path.join(self.dir, "missing", "socket")
        line = self.run_with_log_file(1, self.policy(), "--log-file", "log")
        self.assertIn(self.socket, line)

    def test_too_long_socket_path_is_1(self):
        self.socket = os.path.join(self.dir, "s" * 108)
        line = self.run_with_log_file(1, self.policy(), "--log-file", "log")
        self.assertIn(self.socket, line)

    def test_log_file_that_cannot_be_opened_is_1(self):
        line = self.run_with_log_file(1, self.policy(), "--log-file", "missing/log")
        self.assertIn("missing/log", line)


class Files(harness.BrokerTest):
    def test_pid_file_holds_the_supervisor_while_it_runs(self):
        path = os.path.join(self.dir, "pid")
        broker = self.broker(None, "--pid-file", path)
        with open(path, encoding="ascii") as file:
            self.assertEqual(file.read(), f"{broker.pid}\n")
        broker.stop()
        self.assertFalse(os.path.lexists(path))

    def test_log_file_gets_the_log(self):
        path = self.write_file("broker.log", "info earlier a=1\n")
        os.chown(path, self.user.uid, self.user.gid)
        broker = self.start(None, "--log-file", path)
        broker.log_path, stderr = path, broker.log_path
        broker.wait_ready()
        broker.stop()
        log = broker.log()
        self.assertTrue(log.startswith("info earlier a=1\ninfo session-start "), log)
        self.assertEqual(os.path.getsize(stderr), 0)

    def test_new_log_file_is_for_its_owner_alone(self):
        path = os.path.join(self.dir, "broker.log")
        broker = self.start(None, "--log-file", path)
        broker.wait_connect().close()
        broker.stop()
        self.assert_mode(path, 0o600)

    def test_log_level_leaves_out_what_is_less_important(self):
        levels = ["error", "warning", "info", "debug"]
        for count, level in enumerate(levels, 1):
            with self.subTest(level=level):
                broker = self.start(None, "--log-level", level)
                with broker.wait_connect().negotiate(), broker.connect() as second:
                    second.wait_closed()
                broker.stop()
                log = broker.log()
                wanted = [] if level == "error" else levels[1:count]
                found = {line.split()[0] for line in log.splitlines()}
                self.assertEqual(found, set(wanted), log)


if __name__ == "__main__":
    harness.main()
