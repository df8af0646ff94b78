#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""samples/jail-report.py, tested by breaking each field of its report.

A made-up /proc describes a device process with nothing wrong about it: the report must accept that
one (the control), and refuse each copy of it that differs in one thing, naming the field. That the kernel's /proc reads like the made-up one is
tested with an ordinary process that has everything a device process must not have.
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest

REPORT = os.path.join(os.path.dirname(__file__), "..", "..", "samples", "jail-report.py")
BROKER, GATE, DEVICE = 100, 101, 102
NAMESPACES = ("mnt", "pid", "net", "ipc", "uts", "cgroup", "user")

BROKER_STATUS = {
    "PPid": "1",
    "Uid": "0\t0\t0\t0",
    "Gid": "0\t0\t0\t0",
    "Groups": "0",
    "Threads": "1",
}
DEVICE_STATUS = {
    "PPid": str(BROKER),
    "Uid": "65534\t65534\t65534\t65534",
    "Gid": "65534\t65534\t65534\t65534",
    "Groups": "",
    "Threads": "1",
    "CapInh": "0" * 16,
    "CapPrm": "0" * 16,
    "CapEff": "0" * 16,
    "CapBnd": "0" * 16,
    "CapAmb": "0" * 16,
    "NoNewPrivs": "1",
    "Seccomp": "2",
    "Seccomp_filters": "2",
}
DESCRIPTORS = ["/dev/null", "pipe:[1]", "pipe:[1]", "socket:[11]", "socket:[12]"]
EVENTFD = "anon_inode:[eventfd]"
UNIX_HEADER = "Num       RefCount Protocol Flags    Type St Inode Path"
UNIX_SOCKETS = {11: "00000000", 12: "00000000", 13: "00010000"}
MAPS = [
    "55d0c6400000-55d0c6402000 r-xp 00000000 00:2d 4 /program",
    "7f0000000000-7f0000021000 rw-p 00000000 00:00 0 ",
]
GUEST_MEMORY = "7f1000000000-7f1020000000 rw-s 00000000 00:01 5 /memfd:ram (deleted)"
# Holds everything that is refused, and what is not: one end of a pipe, of a socket pair, an eventfd.
UNJAILED = """
import mmap, os, socket, sys
memory = os.memfd_create("ram")
os.ftruncate(memory, mmap.PAGESIZE)
mapped = mmap.mmap(memory, mmap.PAGESIZE)
listening = socket.socket(socket.AF_UNIX)
listening.bind("")
listening.listen()
pair = socket.socketpair()
inet = socket.socket(socket.AF_INET)
os.eventfd(0)
os.open("/", os.O_RDONLY)
os.open("/dev/zero", os.O_RDONLY)
os.open(sys.executable, os.O_RDONLY)
print("ready", flush=True)
sys.stdin.read()
"""
POLICY = {"version": 1, "device": {"program": "gpio-pci-idio-16"}}


class World:
    """What the report gets to see; a test changes one thing and asks."""

    def __init__(self):
        self.policy = json.loads(json.dumps(POLICY))
        self.broker = dict(BROKER_STATUS)
        self.device = dict(DEVICE_STATUS)
        self.namespaces = {name: 2 for name in NAMESPACES}  # the broker's are 1
        self.descriptors = list(DESCRIPTORS)
        self.maps = list(MAPS)
        self.sockets = dict(UNIX_SOCKETS)

    def report(self):
        with tempfile.TemporaryDirectory() as directory:
            proc = os.path.join(directory, "proc")
            self.process(proc, BROKER, self.broker, {name: 1 for name in NAMESPACES})
            self.process(proc, GATE, DEVICE_STATUS, {name: 3 for name in NAMESPACES})
            self.process(proc, DEVICE, self.device, self.namespaces)
            policy = os.path.join(directory, "policy.json")
            write(policy, json.dumps(self.policy))
            return run_report("--proc", proc, "--policy", policy, str(DEVICE), str(BROKER))

    def process(self, proc, pid, status, namespaces):
        path = os.path.join(proc, str(pid))
        for name in ("ns", "fd", "net"):
            os.makedirs(os.path.join(path, name))
        write(os.path.join(path, "status"), "".join(f"{k}:\t{v}\n" for k, v in status.items()))
        for name, number in namespaces.items():
            os.symlink(f"{name}:[{number}]", os.path.join(path, "ns", name))
        for number, target in enumerate(self.descriptors if pid == DEVICE else []):
            os.symlink(target, os.path.join(path, "fd", str(number)))
        sockets = self.sockets if pid == BROKER else {}
        rows = [f"0: 2 0 {flags} 1 1 {inode} /socket" for inode, flags in sockets.items()]
        write(os.path.join(path, "net", "unix"), "\n".join([UNIX_HEADER, *rows]) + "\n")
        write(os.path.join(path, "maps"), "\n".join(self.maps) + "\n")


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def run_report(*arguments):
    return subprocess.run([REPORT, *arguments], capture_output=True, text=True, check=False)


class JailReport(unittest.TestCase):
    def accepted(self, world):
        result = world.report()
        self.assertEqual((result.returncode, result.stderr), (0, ""), result.stdout)
        return result.stdout

    def refused(self, world, field):
        result = world.report()
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertEqual(result.stderr.partition("says: ")[2].strip(), field, result.stdout)

    def test_unbroken_is_accepted(self):
        self.accepted(World())

    def test_status_fields(self):
        broken = {name: "000001ffffffffff" for name in DEVICE_STATUS if name.startswith("Cap")}
        broken |= {
            "NoNewPrivs": "0",
            "Seccomp": "1",
            "Seccomp_filters": "1",
            "Uid": "65534\t65534\t0\t65534",
            "Gid": "65534\t0\t65534\t65534",
            "Groups": "27",
            "Threads": "2",
            "PPid": "1",
        }
        self.assertEqual(set(broken), set(DEVICE_STATUS))
        for field, value in broken.items():
            with self.subTest(field=field):
                world = World()
                world.device[field] = value
                self.refused(world, field)

    def test_missing_seccomp_field_is_not_a_pass(self):
        world = World()
        del world.device["Seccomp"]
        self.refused(world, "Seccomp")

    def test_another_uid_than_the_policys(self):
        world = World()
        for user in ("daemon", 1, 4000000):  # by name, by number, without an account
            with self.subTest(user=user):
                world.policy["jail"] = {"user": user}
                self.refused(world, "Uid, Gid")

    def test_unprivileged_broker_gives_its_own_ids(self):
        world = World()
        world.broker |= {"Uid": "1000\t1000\t1000\t1000", "Gid": "1000\t1000\t1000\t1000"}
        world.device |= {"Uid": world.broker["Uid"], "Gid": world.broker["Gid"], "Groups": "27"}
        self.accepted(world)
        world.device["Uid"] = DEVICE_STATUS["Uid"]
        self.refused(world, "Uid")

    def test_namespaces(self):
        for name in NAMESPACES:
            with self.subTest(namespace=name):
                world = World()
                world.namespaces[name] = 1
                self.refused(world, f"{name} namespace")

    def test_namespace_that_the_policy_makes_optional(self):
        for name in ("user", "cgroup"):
            with self.subTest(namespace=name):
                world = World()
                world.namespaces[name] = 1
                world.policy["jail"] = {"optional": [f"{name}-namespace"]}
                self.accepted(world)

    def test_number_of_descriptors(self):
        world = World()
        world.descriptors += [EVENTFD] * (8 - len(DESCRIPTORS))
        self.accepted(world)
        world.descriptors.append(EVENTFD)
        self.refused(world, "descriptors")

    def test_kinds_of_descriptor(self):
        for target in (
            "/",
            "/dev/zero",
            __file__,
            "socket:[13]",  # listens
            "socket:[99]",  # no UNIX socket of the broker's
            "anon_inode:inotify",
        ):
            with self.subTest(target=target):
                world = World()
                world.descriptors.append(target)
                self.refused(world, "descriptor kinds")

    def test_resource_of_the_policy_is_accepted(self):
        world = World()
        world.descriptors.append(__file__)
        world.policy["resources"] = [{"name": "disk", "path": __file__}]
        self.accepted(world)

    def test_guest_memory(self):
        world = World()
        world.maps.append(GUEST_MEMORY)
        self.refused(world, "guest memory")
        world.policy["dma"] = {"access": "rw"}
        self.accepted(world)

    def test_process_that_is_not_there(self):
        world = World()
        world.process = lambda *_: None
        self.assertEqual(world.report().returncode, 1)

    def test_real_process_without_a_jail(self):
        with subprocess.Popen(
            [sys.executable, "-c", UNJAILED], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process, tempfile.NamedTemporaryFile("w") as policy:
            self.assertEqual(process.stdout.readline(), b"ready\n")
            json.dump(POLICY, policy)
            policy.flush()
            result = run_report("--policy", policy.name, str(process.pid), str(os.getpid()))
            process.stdin.close()
        self.assertEqual(result.returncode, 1)
        wrong = result.stderr.partition("says: ")[2].strip().split(", ")
        fields = [f"{name} namespace" for name in NAMESPACES]
        for field in [*fields, "descriptors", "descriptor kinds", "guest memory"]:
            self.assertIn(field, wrong)
        kinds = next(line for line in result.stdout.splitlines() if "descriptor kinds" in line)
        found, refused = kinds.split("WRONG")
        for kind in (
            "listening socket",
            "socket not of the UNIX family",
            "directory /",
            "device /dev/zero",
            f"file {os.path.realpath(sys.executable)}",
        ):
            self.assertIn(kind, refused)
        for kind in ("eventfd", "memfd", "socket", "pipe"):
            self.assertIn(kind, found)
            self.assertNotIn(f"no {kind},", refused + ",")


if __name__ == "__main__":
    unittest.main(verbosity=2)
