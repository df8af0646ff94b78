#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
--cgroup: limits that only a cgroup can hold, against devices that exceed them.

Takes root, and cgroups of version 2 with the controllers cpu, memory and pids, else its exit status
is 77: tests/e2e/cgroup.sh runs it in a virtual machine then.
"""

import contextlib
import os
import signal
import struct
import subprocess
import sys
import time

import device
import harness
import vfio_user

ROOT = "/sys/fs/cgroup"
CONTROLLERS = "+cpu +memory +pids"
MEMORY = 8 << 20
CPU = 20
SKIPPED = 77


def write(text, *path):
    """Makes no file where there is none."""
    with harness.owned(os.open(os.path.join(*path), os.O_WRONLY)) as fd:
        os.write(fd, text.encode())


def read(*path):
    with open(os.path.join(*path), encoding="ascii") as file:
        return file.read().strip()


def value(name, *path):
    """Of a line "name value" in a file."""
    lines = dict(line.split() for line in read(*path).splitlines())
    return int(lines[name])


def cgroup_of(pid):
    return ROOT + read(f"/proc/{pid}/cgroup").rpartition("0::")[2]


class CgroupTest(harness.BrokerTest):
    """
    Below a cgroup of the test's own that belongs to the user: "runner", where brokers are started,
    and "delegated".
    """

    def setUp(self):
        super().setUp()
        self.base = os.path.join(ROOT, f"vfu-test-{os.getpid()}")
        self.delegated = os.path.join(self.base, "delegated")
        self.runner = os.path.join(self.base, "runner")
        for path in [self.base, self.delegated, self.runner]:
            os.mkdir(path)
            self.delegate(path)
        write(CONTROLLERS, self.base, "cgroup.subtree_control")
        self.addCleanup(self.remove_cgroups)
        self.addCleanup(self._clean_up)  # before that, and once more after it

    def delegate(self, path):
        """What cgroup_namespaces(7) says that this takes, and systemd's Delegate= does."""
        for name in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"]:
            os.chown(os.path.join(path, name), self.user.uid, self.user.gid)

    def _clean_up(self):
        if os.path.exists(self.dir):
            super()._clean_up()

    def remove_cgroups(self):
        for path, _, _ in os.walk(self.base, topdown=False):
            os.rmdir(path)

    def spawn(self, command, preexec=None, **options):
        """In the cgroup where the test wants brokers to start, as the user."""
        script = 'echo 0 >"$0/cgroup.procs" && exec setpriv --pdeathsig KILL "$@"'
        ids = [f"--reuid={self.user.uid}", f"--regid={self.user.gid}", "--clear-groups"]
        process = subprocess.Popen(
            ["sh", "-c", script, self.runner, *ids, *command],
            stdin=subprocess.DEVNULL,
            cwd=self.dir,
            preexec_fn=preexec,
            **options,
        )
        self.brokers.append(process)
        return process

    def limited(self, *args, limits=None, **sections):
        limits = {"memory": MEMORY, "cpu_percent": CPU} if limits is None else limits
        return self.policy(
            device=self.device(*args), **{"jail": {"limits": limits}, **sections}
        )

    def cgroup_broker(self, policy=None, path=None):
        return self.broker(policy or self.limited(), "--cgroup", path or self.delegated)

    def sessions_of(self, path):
        return [name for name in os.listdir(path) if name.startswith("session-")]

    def assert_limits(self, pid, **wanted):
        for name, text in wanted.items():
            self.assertEqual(read(cgroup_of(pid), name.replace("_", ".")), text, name)


class Limits(CgroupTest):
    def test_are_the_policy_s(self):
        broker = self.cgroup_broker()
        session = broker.reserve()
        own = cgroup_of(session.device)
        self.assertEqual(os.path.dirname(own), self.delegated)
        self.assert_limits(
            session.device,
            memory_max=str(MEMORY),
            memory_swap_max="0",
            pids_max="1",
            cpu_max=f"{CPU * 1000} 100000",
            cgroup_procs=str(session.device),
        )
        for pid in [broker.pid, session.gate]:
            self.assertEqual(cgroup_of(pid), self.runner)
        with broker.client() as client:
            self.assert_served(client)
        broker.wait_log("info session-end session=1")
        harness.wait_until("the cgroup to go", lambda: not os.path.exists(own))
        broker.stop()
        self.assertEqual(self.sessions_of(self.delegated), [])

    def test_guest_memory_and_threads_come_on_top(self):
        jail = {"limits": {"memory": MEMORY + 1}, "threads": 3}
        policy = self.limited(dma={"access": "rw", "max_bytes": "1G"}, jail=jail)
        broker = self.cgroup_broker(policy)
        self.assert_limits(
            broker.reserve().device,
            memory_max=str(MEMORY + (1 << 30)),
            memory_swap_max=str(1 << 30),
            pids_max="4",
        )
        broker.stop()

    def test_cpu_is_left_alone_if_the_policy_has_no_limit(self):
        broker = self.cgroup_broker(self.limited(limits={}))
        own = cgroup_of(broker.reserve().device)
        self.assertEqual(read(own, "memory.max"), str(64 << 20))
        with contextlib.suppress(FileNotFoundError):  # no such controller is asked for
            self.assertTrue(read(own, "cpu.max").startswith("max"))
        broker.stop()

    def test_limit_that_is_not_there_is_found(self):
        """Somebody lifts it while the device starts: no client is let in."""
        go = self.write_file("go", "")
        resources = [{"name": "go", "path": go}]
        for name, text in {"memory.max": "max", "cpu.max": "max", "pids.max": "7"}.items():
            with self.subTest(limit=name):
                os.truncate(go, 0)
                policy = self.limited("--await", "go", resources=resources)
                broker = self.start(policy, "--cgroup", self.delegated)
                own = cgroup_of(broker.wait_log(r"info session-start .* device=(\d+) .*")[1])
                write(text, own, name)
                write("x", go)
                broker.wait_log(f'error verification-failed .*cause="{name} is .*')
                self.assertEqual(broker.wait(), 4)


class Exceeded(CgroupTest):
    TABLES = ["--reserve"]

    def test_page_tables(self):
        """Which RLIMIT_DATA does not count: see the control."""
        broker = self.cgroup_broker(self.limited(*self.TABLES))
        with broker.client() as client:
            pid = broker.serving().device
            with contextlib.suppress(vfio_user.Closed):
                client.write_register(device.CRASH, device.CRASH_TABLES)
            broker.wait_log(f"error device-died session=1 device={pid} signal=SIGKILL")
            client.wait_closed()
        self.assert_next_served(broker)
        broker.stop()

    def test_page_tables_without_a_cgroup(self):
        """The control: eight times the limit."""
        broker = self.broker(self.limited(*self.TABLES, limits={"memory": MEMORY}))
        with broker.client() as client:
            client.write_register(device.CRASH, device.CRASH_TABLES)
            pid = broker.serving().device
            self.assertGreater(int(harness.status_field(pid, "VmPTE")[0]) << 10, MEMORY)
        broker.stop()

    def spin(self, broker):
        client = broker.client()
        self.addCleanup(client.close)
        access = struct.pack("=QIIQ", device.CRASH, 0, 8, device.CRASH_SPIN)
        client.send(vfio_user.REGION_WRITE, access)
        return cgroup_of(broker.serving().device)

    def test_cpu(self):
        broker = self.cgroup_broker()
        own = self.spin(broker)
        used = value("usage_usec", own, "cpu.stat")
        started = time.monotonic()
        throttled = lambda: value("nr_throttled", own, "cpu.stat") >= 20
        harness.wait_until("20 periods to be cut short", throttled)
        used = value("usage_usec", own, "cpu.stat") - used
        seconds = time.monotonic() - started
        # Of the periods at both ends, one may count whole.
        self.assertLess(used / 1e6, (seconds + 0.2) * CPU / 100 * 1.25)
        broker.stop()

    def test_cpu_without_a_limit(self):
        """The control."""
        broker = self.cgroup_broker(self.limited(limits={}))
        own = self.spin(broker)
        harness.wait_until("use", lambda: value("usage_usec", own, "cpu.stat") > 1000000)
        with contextlib.suppress(KeyError):  # no such controller
            self.assertEqual(value("nr_throttled", own, "cpu.stat"), 0)
        broker.stop()

    def test_processes(self):
        """Without a cgroup this device is refused for the child that it has at the seal."""
        broker = self.cgroup_broker(self.limited("--fork"))
        own = cgroup_of(broker.reserve().device)
        self.assertGreaterEqual(value("max", own, "pids.events"), 1)
        broker.stop()


class Delegated(CgroupTest):
    def test_own(self):
        """As a service with Delegate=yes has it: the broker is in it at first."""
        self.runner = self.delegated
        broker = self.cgroup_broker(path="self")
        self.assertEqual(cgroup_of(broker.pid), os.path.join(self.delegated, "broker"))
        session = broker.reserve()
        self.assertEqual(os.path.dirname(cgroup_of(session.device)), self.delegated)
        self.assertEqual(cgroup_of(session.gate), cgroup_of(broker.pid))
        self.assert_next_served(broker)
        broker.stop()
        self.assertEqual(self.sessions_of(self.delegated), [])

    def test_several_brokers_share_one(self):
        first = self.cgroup_broker()
        self.socket = os.path.join(self.dir, "second")
        second = self.cgroup_broker()
        second.socket = self.socket
        self.assert_next_served(second)
        self.assert_next_served(first)
        second.signal(signal.SIGTERM)
        self.assertEqual(second.wait(), 0)
        self.assert_next_served(first)
        first.stop()
        self.assertEqual(self.sessions_of(self.delegated), [])

    def test_what_a_killed_broker_left_is_removed_by_the_next(self):
        killed = self.cgroup_broker()
        killed.signal(signal.SIGKILL)
        killed.wait()
        self.wait_no_orphans()
        self.assertEqual(len(self.sessions_of(self.delegated)), 1)
        os.unlink(self.socket)
        broker = self.cgroup_broker()
        self.assertEqual(len(self.sessions_of(self.delegated)), 1)
        self.assertTrue(os.path.exists(cgroup_of(broker.reserve().device)))
        broker.stop()
        self.assertEqual(self.sessions_of(self.delegated), [])

    def test_check_tells(self):
        status, out, err = self.run_broker(
            "--check", "--policy", self.limited(), "--cgroup", self.delegated
        )
        self.assertEqual((status, err), (0, ""))
        self.assertRegex(out, r"\n  cgroup +yes ")
        self.assertEqual(self.sessions_of(self.delegated), [])

    def assert_refused(self, path, error):
        args = ["--policy", self.limited(), "--cgroup", path]
        line = self.fails(4, *args, "--sock", self.socket)
        self.assertIn(f"does not offer cgroup: {path}: {error}", line)
        self.assertIn('"jail": {"optional": ["cgroup"]}', line)
        status, out, _ = self.run_broker("--check", *args)
        self.assertEqual(status, 4)
        self.assertRegex(out, rf"\n  cgroup +NO .*: {error}\n")

    def test_somebody_else_is_in_it(self):
        self.runner = self.delegated
        self.spawn(["sleep", "1000"])
        harness.wait_until("it", lambda: read(self.delegated, "cgroup.procs"))
        for path in [self.delegated, "self"]:
            with self.subTest(path=path):
                self.assert_refused(path, "Device or resource busy")

    def test_controller_is_missing(self):
        write("-cpu", self.base, "cgroup.subtree_control")
        self.assert_refused(self.delegated, "No such file or directory")
        broker = self.cgroup_broker(self.limited(limits={"memory": MEMORY}))
        self.assert_limits(broker.reserve().device, memory_max=str(MEMORY))
        broker.stop()

    def test_absence_can_be_accepted(self):
        jail = {"limits": {"cpu_percent": CPU}, "optional": ["cgroup", "mdwe"]}
        broker = self.cgroup_broker(self.limited(jail=jail), os.path.join(self.base, "none"))
        self.assertEqual(cgroup_of(broker.reserve().device), self.runner)
        broker.stop()


class SomebodyElses(CgroupTest):
    OTHER = 1

    def test_is_refused(self):
        """Also if the broker is root, who has no use for its powers later."""
        os.chown(self.delegated, self.OTHER, self.OTHER)
        line = self.fails(4, "--policy", self.limited(), "--check", "--cgroup", self.delegated)
        self.assertIn(f"{self.delegated}: Permission denied", line)


if __name__ == "__main__":
    try:
        write(CONTROLLERS, ROOT, "cgroup.subtree_control")
    except OSError as error:
        print(f"skipped: {ROOT}: {error}")
        sys.exit(SKIPPED)
    harness.main()
