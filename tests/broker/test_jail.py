#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What the kernel says, in /proc, of the processes of a session that serves a client."""

import contextlib
import ctypes
import errno
import os
import socket
import stat

import device
import harness
import vfio_user

CAPABILITY_SETS = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
NAMESPACES = ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"]
SYS_PIDFD_GETFD = 438

_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def borrowed(pid, number):
    """A copy of another process's descriptor."""
    with harness.owned(os.pidfd_open(pid)) as pidfd:
        fd = _libc.syscall(SYS_PIDFD_GETFD, pidfd, number, 0)
        if fd < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        with harness.owned(fd):
            yield fd


def socket_option(pid, number, option):
    with borrowed(pid, number) as fd, socket.socket(fileno=os.dup(fd)) as sock:
        return sock.getsockopt(socket.SOL_SOCKET, option)


def mappings(pid):
    with open(f"/proc/{pid}/maps", encoding="ascii") as file:
        return [line.split(None, 5) for line in file.read().splitlines()]


def mapped_files(pid):
    return {line[5] for line in mappings(pid) if len(line) > 5}


class JailTest(harness.BrokerTest):
    needs_root = True

    @contextlib.contextmanager
    def session(self, policy):
        """A client that has given its device all that QEMU gives: memory and an interrupt."""
        broker = self.broker(policy)
        with broker.client() as client:
            with harness.owned(vfio_user.memory(1 << 20), vfio_user.eventfd()) as (memory, irq):
                client.dma_map(memory, iova=0, size=1 << 20)
                client.command(vfio_user.SET_IRQS, vfio_user.set_irqs_payload(1, index=0), [irq])
                self.assert_served(client)
                yield broker, broker.serving(), client
        broker.stop()

    def gpio(self):
        return self.session(self.shipped("gpio.json"))

    def assert_confined(self, pid, filters, sets):
        for name in sets:
            self.assertEqual(int(harness.status_field(pid, name)[0], 16), 0, name)
        self.assertEqual(harness.status_field(pid, "NoNewPrivs"), ["1"])
        self.assertEqual(harness.status_field(pid, "Seccomp"), ["2"])
        self.assertEqual(harness.status_field(pid, "Seccomp_filters"), [str(filters)])
        self.assertEqual(harness.status_field(pid, "Threads"), ["1"])
        self.assertEqual(harness.status_field(pid, "Groups"), [])
        uid = self.user.uid or 65534
        self.assertEqual(harness.status_field(pid, "Uid"), [str(uid)] * 4)
        self.assertNotIn("0", harness.status_field(pid, "Gid"))


class Device(JailTest):
    def test_rights(self):
        with self.gpio() as (_, session, _):
            self.assert_confined(session.device, filters=3, sets=CAPABILITY_SETS)

    def test_namespaces(self):
        with self.gpio() as (broker, session, _):
            for name in NAMESPACES:
                theirs = os.readlink(f"/proc/{session.device}/ns/{name}")
                self.assertNotEqual(theirs, os.readlink(f"/proc/{broker.pid}/ns/{name}"), name)
            self.assertEqual(harness.status_field(session.device, "NSpid")[-1], "1")

    def test_sessions_share_no_namespace(self):
        with self.gpio() as (broker, session, _):
            broker.wait_log("info session-start session=2 .*")
            other = broker.sessions()[2]
            for name in NAMESPACES:
                self.assertNotEqual(
                    os.readlink(f"/proc/{session.device}/ns/{name}"),
                    os.readlink(f"/proc/{other.device}/ns/{name}"),
                    name,
                )

    def test_descriptors(self):
        with self.gpio() as (_, session, _):
            numbers = harness.descriptors(session.device)
            self.assertLessEqual(len(numbers), 8, numbers)
            for number, link in numbers.items():
                with self.subTest(number=number, link=link):
                    self.check_descriptor(session.device, number, link)

    def check_descriptor(self, pid, number, link):
        kind = os.stat(f"/proc/{pid}/fd/{number}").st_mode
        self.assertFalse(stat.S_ISDIR(kind))
        self.assertFalse(stat.S_ISBLK(kind))
        if stat.S_ISCHR(kind):
            self.assertEqual(link, "/dev/null")
        if stat.S_ISSOCK(kind):
            self.assertEqual(socket_option(pid, number, socket.SO_ACCEPTCONN), 0)
            self.assertEqual(socket_option(pid, number, socket.SO_DOMAIN), socket.AF_UNIX)
        self.assertFalse(link.startswith("/memfd"))

    def test_no_guest_memory_is_mapped(self):
        with self.gpio() as (_, session, _):
            self.assertFalse([name for name in mapped_files(session.device) if "memfd" in name])

    def test_guest_memory_is_mapped_if_the_policy_says_so(self):
        """The control of the test above."""
        policy = self.policy(dma={"access": "rw"}, irqs={"max_vectors": 300})
        broker = self.broker(policy)
        with broker.client() as client, harness.owned(vfio_user.memory()) as memory:
            client.dma_map(memory)
            self.assertEqual(client.read_register(device.MAPPED), 1)
            files = mapped_files(broker.serving().device)
            self.assertTrue([name for name in files if "memfd:guest" in name], files)
        broker.stop()

    def guest_mappings(self, broker):
        """Their permissions."""
        lines = mappings(broker.serving().device)
        return [line[1] for line in lines if len(line) > 5 and "memfd:guest" in line[5]]

    def test_guest_memory_is_read_only_if_the_policy_says_so(self):
        """Neither the mapping nor any descriptor could be made writable again."""
        for access, wanted in [("ro", "r--s"), ("rw", "rw-s")]:
            with self.subTest(access=access):
                broker = self.broker(self.policy(dma={"access": access}))
                with broker.client() as client, harness.owned(vfio_user.memory()) as memory:
                    client.dma_map(memory)
                    self.assertEqual(client.read_register(device.MAPPED), 1)
                    self.assertEqual(self.guest_mappings(broker), [wanted])
                broker.stop()

    def test_read_only_tmpfs_file_of_another_is_refused(self):
        """The gate may open no file that has a name; a client that opened it so is welcome."""
        broker = self.broker(self.policy(dma={"access": "ro"}))
        path = f"/dev/shm/vfu-test-{os.getpid()}"
        with open(path, "wb") as file:
            self.addCleanup(os.unlink, path)
            file.truncate(4096)
        with broker.client() as client, harness.owned(os.open(path, os.O_RDWR)) as memory:
            with self.assertRaises(vfio_user.Refused) as caught:
                client.dma_map(memory)
            self.assertEqual(caught.exception.error, errno.EACCES)
        with broker.client() as client, harness.owned(os.open(path, os.O_RDONLY)) as memory:
            client.dma_map(memory)
        broker.stop()

    def test_nothing_is_writable_and_executable(self):
        with self.gpio() as (_, session, _):
            for line in mappings(session.device):
                self.assertFalse("w" in line[1] and "x" in line[1], line)

    def test_root_holds_what_the_program_needs(self):
        with self.gpio() as (_, session, _):
            root = f"/proc/{session.device}/root"
            found = {
                os.path.join(folder, name)[len(root) :]
                for folder, _, names in os.walk(root)
                for name in names
            }
            _, out, _ = self.run_broker("--check", "--policy", self.shipped("gpio.json"))
            listed = {
                os.path.normpath(line.split()[1])
                for line in out.splitlines()
                if line.startswith(("program: ", "  with "))
            }
            self.assertEqual(found, listed)
            self.assertTrue(os.statvfs(root).f_flag & os.ST_RDONLY)
            self.assertTrue(os.statvfs(root).f_flag & os.ST_NOSUID)

    def test_limits(self):
        with self.gpio() as (_, session, _):
            with open(f"/proc/{session.device}/limits", encoding="ascii") as file:
                limits = {line[:26].strip(): line[26:].split()[:2] for line in file}
            self.assertEqual(limits["Max core file size"], ["0", "0"])
            self.assertEqual(limits["Max locked memory"], ["0", "0"])
            if not harness.SANITIZED:
                self.assertEqual(limits["Max data size"], [str(64 << 20)] * 2)
            # 4 of its own, 1 interrupt, 32 of jail.limits, and a message's worth in flight.
            self.assertEqual(limits["Max open files"], [str(4 + 1 + 32 + 253)] * 2)

    def test_nobody_but_root_may_look_inside(self):
        """It is not dumpable, which its user could otherwise use to trace it."""
        with self.gpio() as (_, session, _):
            self.assertEqual(os.stat(f"/proc/{session.device}/mem").st_uid, 0)
            with self.assertRaises(PermissionError), harness.acting_as(65534, 65534):
                os.listdir(f"/proc/{session.device}/fd")


class Gate(JailTest):
    def test_rights(self):
        """An ordinary user cannot empty the bounding set, which no_new_privs makes meaningless."""
        sets = CAPABILITY_SETS if self.user.uid == 0 else CAPABILITY_SETS[:3] + ["CapAmb"]
        with self.gpio() as (_, session, _):
            self.assert_confined(session.gate, filters=2, sets=sets)

    def test_descriptors(self):
        with self.gpio() as (_, session, _):
            wanted = {"/dev/null", f"/proc/{session.gate}/fd", "socket", "pipe"}

            def at_rest():
                """It closes what it has passed on a moment later."""
                numbers = harness.descriptors(session.gate)
                kinds = {link.partition(":[")[0] for link in numbers.values()}
                return numbers if kinds == wanted else None

            numbers = harness.wait_until(f"descriptors of {wanted} alone", at_rest)
            self.assertLessEqual(len(numbers), 8, numbers)
            for number, link in numbers.items():
                if link.startswith("socket:"):
                    accepts = socket_option(session.gate, number, socket.SO_ACCEPTCONN)
                    self.assertEqual(accepts, 0)

    def test_nobody_but_root_may_look_inside(self):
        with self.gpio() as (_, session, _):
            self.assertEqual(os.stat(f"/proc/{session.gate}/mem").st_uid, 0)


class Supervisor(JailTest):
    def test_filter(self):
        with self.gpio() as (broker, _, _):
            self.assertEqual(harness.status_field(broker.pid, "NoNewPrivs"), ["1"])
            self.assertEqual(harness.status_field(broker.pid, "Seccomp"), ["2"])
            self.assertEqual(harness.status_field(broker.pid, "Seccomp_filters"), ["1"])

    def test_capabilities(self):
        """As root: to write id maps, to start gates, and to kill them."""
        setgid, setuid, setpcap, kill = 6, 7, 8, 5
        wanted = sum(1 << bit for bit in (setgid, setuid, setpcap, kill))
        with self.gpio() as (broker, _, _):
            for name in ["CapPrm", "CapEff"]:
                found = int(harness.status_field(broker.pid, name)[0], 16)
                self.assertEqual(found, wanted if self.user.uid == 0 else 0, name)
            for name in ["CapInh", "CapAmb"]:
                self.assertEqual(int(harness.status_field(broker.pid, name)[0], 16), 0, name)

    def test_has_no_client_s_socket(self):
        with self.gpio() as (broker, _, _):
            # The reserve has come up, and so no descriptor comes or goes.
            with broker.connect() as other:
                other.wait_closed()
            listening = 0
            for number, link in harness.descriptors(broker.pid).items():
                self.assertFalse(link.startswith("/memfd"), link)
                if link.startswith("socket:"):
                    kind = socket_option(broker.pid, number, socket.SO_TYPE)
                    accepts = socket_option(broker.pid, number, socket.SO_ACCEPTCONN)
                    self.assertTrue(accepts or kind == socket.SOCK_SEQPACKET)
                    listening += accepts
            self.assertEqual(listening, 1)

    def test_sleeps_while_registers_are_accessed(self):
        """Neither it nor the gate is woken, so neither makes a system call."""
        with self.gpio() as (broker, session, client):
            # The reserve has come up, and so has rest.
            with broker.connect() as other:
                other.wait_closed()

            def switches(pid):
                return sum(
                    int(harness.status_field(pid, f"{kind}voluntary_ctxt_switches")[0])
                    for kind in ("", "non")
                )

            before = {pid: switches(pid) for pid in (broker.pid, session.gate, session.device)}
            for _ in range(10000):
                client.read(2, 0, 1)
            after = {pid: switches(pid) for pid in before}
            for pid in (broker.pid, session.gate):
                self.assertLessEqual(after[pid] - before[pid], 3)
            # The control: who was woken shows it.
            self.assertGreater(after[session.device] - before[session.device], 100)


if __name__ == "__main__":
    harness.main()
