#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What the kernel says of a device process under vfu-broker, held against its policy.

Reads /proc only, so that neither the broker nor the device process has a say in it. One line a
field; exit status 0 if every field is as the policy wants it, 1 if any is not, 2 for wrong use.
Looking at a process that is not one's own takes root.
"""

import argparse
import json
import os
import pwd
import stat
import sys

CAPABILITY_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
NAMESPACES = ("mnt", "pid", "net", "ipc", "uts", "cgroup", "user")
MAX_DESCRIPTORS = 8
MIN_FILTERS = 2  # one from before the program started, one from before the first client
NULL_DEVICE = os.makedev(1, 3)
LISTENING = 0x00010000  # __SO_ACCEPTCON in /proc/net/unix


class Process:
    """One directory of /proc."""

    def __init__(self, proc, pid):
        self.pid = pid
        self.path = os.path.join(proc, str(pid))
        with open(os.path.join(self.path, "status"), encoding="utf-8") as file:
            fields = (line.split(":", 1) for line in file if ":" in line)
            self.status = {name: value.strip() for name, value in fields}

    def namespace(self, name):
        return os.readlink(os.path.join(self.path, "ns", name))

    def descriptors(self):
        """(what /proc says it is, the path that leads to it) of each."""
        directory = os.path.join(self.path, "fd")
        for number in sorted(os.listdir(directory), key=int):
            path = os.path.join(directory, number)
            yield os.readlink(path), path

    def unix_sockets(self):
        """Inode and flags of each UNIX socket in the process's network namespace."""
        with open(os.path.join(self.path, "net", "unix"), encoding="utf-8") as file:
            for line in file.readlines()[1:]:
                words = line.split()
                yield int(words[6]), int(words[3], 16)

    def shared_mappings(self):
        with open(os.path.join(self.path, "maps"), encoding="utf-8") as file:
            for line in file:
                words = line.split(maxsplit=5)
                if words[1][3] == "s":
                    yield words[5].strip() if len(words) > 5 else words[0]


class Report:
    def __init__(self):
        self.wrong = []

    def line(self, field, found, wanted=None):
        """One field; `wanted` only if what was found is not as it should be."""
        verdict = "ok" if wanted is None else f"WRONG, wanted {wanted}"
        print(f"  {field:<17} {found or 'none':<42} {verdict}")
        if wanted is not None:
            self.wrong.append(field)

    def equal(self, field, found, wanted):
        self.line(field, found, None if found == wanted else wanted)


def policy_value(policy, *keys, default):
    for key in keys:
        policy = policy.get(key, {})
    return policy or default


def jail_ids(policy):
    """As the broker takes jail.user: a number without an account is its own group."""
    user = policy_value(policy, "jail", "user", default="nobody")
    if not isinstance(user, int):
        entry = pwd.getpwnam(user)
        return entry.pw_uid, entry.pw_gid
    try:
        return user, pwd.getpwuid(user).pw_gid
    except KeyError:
        return user, user


def report_privileges(report, device, broker, policy):
    for name in CAPABILITY_SETS:
        report.equal(name, device.status.get(name, "missing"), "0" * 16)
    report.equal("NoNewPrivs", device.status.get("NoNewPrivs", "missing"), "1")
    report.equal("Seccomp", device.status.get("Seccomp", "missing"), "2")

    filters = device.status.get("Seccomp_filters", "0")
    enough = int(filters) >= MIN_FILTERS
    report.line("Seccomp_filters", filters, None if enough else f"at least {MIN_FILTERS}")

    # An unprivileged broker can only give away what it has: its own ids.
    uid, gid = int(broker.status["Uid"].split()[0]), int(broker.status["Gid"].split()[0])
    if uid == 0:
        uid, gid = jail_ids(policy)
        report.equal("Groups", device.status.get("Groups", "missing"), "")
    report.equal("Uid", " ".join(device.status["Uid"].split()), " ".join([str(uid)] * 4))
    report.equal("Gid", " ".join(device.status["Gid"].split()), " ".join([str(gid)] * 4))


def report_namespaces(report, device, broker, policy):
    optional = policy_value(policy, "jail", "optional", default=["mdwe"])
    for name in NAMESPACES:
        own = device.namespace(name) != broker.namespace(name)
        layer = {"user": "user-namespace", "cgroup": "cgroup-namespace"}.get(name)
        wrong = not own and layer not in optional
        report.line(
            f"{name} namespace", "its own" if own else "the broker's", "its own" if wrong else None
        )


def describe_descriptor(link, path, sockets, resources):
    """What a descriptor is, and whether a device process may have it."""
    if link.startswith("pipe:["):
        return "pipe", True
    if link.startswith("anon_inode:"):
        kind = link.partition(":")[2].strip("[]")
        return kind, kind in ("eventfd", "eventpoll", "timerfd")
    if link.startswith("socket:["):
        flags = sockets.get(int(link[len("socket:[") : -1]))
        if flags is None:
            return "socket not of the UNIX family", False
        return ("listening socket", False) if flags & LISTENING else ("socket", True)
    if link.startswith("/memfd:"):
        return "memfd", True

    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        return f"directory {link}", False
    if stat.S_ISCHR(mode) and os.stat(path).st_rdev == NULL_DEVICE:
        return "null", True
    kind = "device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else "file"
    return f"{kind} {link}", link in resources


def report_descriptors(report, device, sockets, policy):
    resources = {resource["path"] for resource in policy.get("resources", [])}
    descriptors = [
        describe_descriptor(link, path, sockets, resources) for link, path in device.descriptors()
    ]
    few = len(descriptors) <= MAX_DESCRIPTORS
    report.line(
        "descriptors", str(len(descriptors)), None if few else f"at most {MAX_DESCRIPTORS}"
    )
    found = [kind for kind, _ in descriptors]
    refused = [kind for kind, allowed in descriptors if not allowed]
    report.line(
        "descriptor kinds",
        ", ".join(f"{found.count(kind)} {kind}" for kind in sorted(set(found))),
        f"no {', no '.join(refused)}" if refused else None,
    )


def report_memory(report, device, policy):
    access = policy_value(policy, "dma", "access", default="none")
    shared = list(device.shared_mappings())
    found = f"{len(shared)} shared mappings" if shared else "not mapped"
    wrong = access == "none" and shared
    report.line("guest memory", found, "none, as dma.access says" if wrong else None)


def children(proc, pid):
    for name in os.listdir(proc):
        if name.isdigit():
            try:
                process = Process(proc, name)
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has just ended
            if process.status["PPid"] == str(pid):
                yield process


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--proc", default="/proc", help="another place than /proc to look in")
    parser.add_argument("--policy", required=True, help="the policy file the broker was given")
    parser.add_argument("device", type=int, help="process id of the device process")
    parser.add_argument("broker", type=int, help="process id of the broker's supervisor")
    arguments = parser.parse_args()

    with open(arguments.policy, encoding="utf-8") as file:
        policy = json.load(file)
    device = Process(arguments.proc, arguments.device)
    broker = Process(arguments.proc, arguments.broker)

    # A socket is listed in the network namespace of its maker: supervisor, gate, the device itself.
    sockets = dict(device.unix_sockets())
    for process in (broker, *children(arguments.proc, broker.pid)):
        sockets.update(process.unix_sockets())

    report = Report()
    print(f"device process {device.pid}, as the kernel sees it:")
    report.equal("PPid", device.status["PPid"], str(broker.pid))
    report.equal("Threads", device.status["Threads"], "1")
    report_privileges(report, device, broker, policy)
    report_namespaces(report, device, broker, policy)
    report_descriptors(report, device, sockets, policy)
    report_memory(report, device, policy)

    if report.wrong:
        print(f"not as {arguments.policy} says: {', '.join(report.wrong)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError, KeyError) as error:
        print(f"jail-report: {error!r}", file=sys.stderr)
        sys.exit(1)
