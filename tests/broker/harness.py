# SPDX-License-Identifier: BSD-3-Clause
"""What the broker's tests share: brokers as processes, their logs, and the kernel's word on them.

Every test class runs once for each user that a broker can be started by: as root and as an ordinary
user where the tests run as root, else only as whoever runs them. The environment names VFU_BUILD
(the build directory) and VFU_POLICIES; VFU_SANITIZED is "true" in a build with sanitizers.

No result depends on time: waits are for conditions, with a deadline that only a failure reaches.
"""

import contextlib
import ctypes
import json
import os
import re
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unittest

import vfio_user
from vfio_user import DEADLINE

POLICIES = os.environ["VFU_POLICIES"]
SANITIZED = os.environ.get("VFU_SANITIZED") == "true"

# A copy of the build that every user can reach, in the same layout.
STAGED = [
    os.environ.get("VFU_BROKER", "broker/vfu-broker"),
    "device/libvfio-user.so.0",
    "samples/gpio-pci-idio-16",
    "samples/hello",
    "samples/null",
    "samples/server",
    "tests/broker/broker-test-device",
    "tests/broker/broker-test-contexts",
    "tests/broker/broker-test-workers",
]

# What the sanitizers' run-time library does beyond the base: it allocates in its own way, asks where
# and who it is at every exit, and reads its memory map when it starts.
SANITIZER_CALLS = ["mmap", "madvise", "sigaltstack", "gettid"]
SANITIZER_FILE = "/proc/self/maps"

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class User:
    def __init__(self, name, uid, gid):
        self.name, self.uid, self.gid = name, uid, gid


ROOT = User("root", 0, 0)
ORDINARY = User("user", 12345, 12345)


def users():
    if os.geteuid() == 0:
        return [ROOT, ORDINARY]
    return [User("user", os.getuid(), os.getgid())]


# --- waiting ------------------------------------------------------------------------------------


def wait_until(what, condition):
    """Returns the first result of @condition that is true."""
    deadline = time.monotonic() + DEADLINE
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {DEADLINE} s for {what}")
        time.sleep(0.002)


def readable(fd, seconds):
    """Whether there is something to read within that time."""
    return bool(select.select([fd], [], [], seconds)[0])


@contextlib.contextmanager
def owned(*fds):
    """Descriptors that are closed at the end; one is given as it is, more as a list."""
    try:
        yield fds[0] if len(fds) == 1 else list(fds)
    finally:
        for fd in fds:
            os.close(fd)


# --- processes ----------------------------------------------------------------------------------


def die_with_parent():
    """In a child before exec: it must not outlive the test, whatever becomes of that."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans():
    """Whoever loses its parent below us becomes our child, so that none goes unseen."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")


def children(parent):
    """Of a process, zombies included: pid -> state."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
            if int(fields[1]) == parent:
                found[int(name)] = fields[0]
    return found


def alive(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    return False


def status_field(pid, field):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name == field:
                return value.split()
    raise AssertionError(f"/proc/{pid}/status has no {field}")


def descriptors(pid):
    """Of a process: number -> link."""
    links = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            links[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
    return links


def pidfd_getfd(pidfd, number):
    """A copy of a descriptor of another process."""
    fd = _libc.syscall(438, pidfd, number, 0)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    return fd


def private_memory(pid):
    """Private_Clean + Private_Dirty, in KiB."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_"))


@contextlib.contextmanager
def acting_as(uid, gid):
    """What a socket connects as. Others than oneself take root."""
    own_uid, own_gid = os.geteuid(), os.getegid()
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(own_uid)
        os.setegid(own_gid)


# --- the broker ---------------------------------------------------------------------------------


class Session:
    """Pids of one session, as the log tells them."""

    def __init__(self, number, device, gate):
        self.number, self.device, self.gate = number, device, gate


class Broker:
    """A running vfu-broker; its log and standard error are one file."""

    def __init__(self, test, command, preexec=None, **options):
        self.test = test
        self.log_path = os.path.join(test.dir, f"log-{len(test.brokers)}")
        self.socket = os.path.join(test.dir, "socket")
        with open(self.log_path, "ab") as log:
            self.process = test.spawn(command, preexec, stderr=log, stdout=log, **options)
        self.pid = self.process.pid

    # --- log ---

    def log(self):
        with open(self.log_path, encoding="utf-8") as file:
            return file.read()

    def matches(self, pattern):
        """All lines so far that match."""
        return list(re.finditer(f"^{pattern}$", self.log(), re.MULTILINE))

    def wait_log(self, pattern, count=1):
        """Waits for @count lines that match, and returns the last of them."""

        def enough():
            found = self.matches(pattern)
            if len(found) < count and self.process.poll() is not None:
                found = self.matches(pattern)
                if len(found) < count:
                    raise AssertionError(f"ended without logging {pattern}:\n{self.log()}")
            return found if len(found) >= count else None

        try:
            return wait_until(f"the log to have {pattern}", enough)[count - 1]
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- log:\n{self.log()}") from None

    # --- life ---

    def wait_ready(self):
        self.wait_log("info ready .*")
        return self

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        """Returns its exit status."""
        try:
            return self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"does not end\n--- log:\n{self.log()}") from None

    LINE = re.compile(r"(error|warning|info|debug) [a-z-]+( [a-z-]+=(\"[^\"]*\"|\S+))+")

    def stop(self):
        """As an operator does: it must end well, and leave neither process nor socket behind."""
        self.signal(signal.SIGTERM)
        self.test.assertEqual(self.wait(), 0, self.log())
        self.test.assertEqual(children(os.getpid()), {}, "orphans")
        self.test.assertFalse(os.path.lexists(self.socket), "the socket is still there")
        for line in self.log().splitlines():
            self.test.assertTrue(self.LINE.fullmatch(line) and line.isprintable(), line)

    # --- sessions ---

    def sessions(self):
        """All of them, by number."""
        pattern = r"info session-start session=(\d+) device=(\d+) gate=(\d+)"
        return {
            int(found[1]): Session(int(found[1]), int(found[2]), int(found[3]))
            for found in self.matches(pattern)
        }

    def connect(self):
        return vfio_user.Client(self.socket)

    def wait_connect(self):
        """Where the log does not tell when somebody listens."""

        def attempt():
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                return self.connect()

        return wait_until("the socket", attempt)

    def client(self):
        """A client that is served."""
        return self.connect().negotiate()

    def serving(self, count=1):
        """The session of the client number @count that was accepted."""
        number = self.wait_log(r"info client-accepted session=(\d+) .*", count)[1]
        return self.sessions()[int(number)]

    def reserve(self):
        """The session that waits for the next client, once it is sealed and its gate listens."""
        last = max(self.sessions())
        return self.sessions()[last]


# --- tests --------------------------------------------------------------------------------------


class BrokerTest(unittest.TestCase):
    """A test has a directory of its own, which belongs to the user that brokers run as."""

    user = None  # set in the variants that main() makes
    stage = None
    only = None  # the name of the one user that it is about
    needs_root = False  # looks into processes that only root may look into
    maxDiff = None

    def setUp(self):
        self.dir = tempfile.mkdtemp(dir=self.stage)
        if os.geteuid() == 0:
            os.chown(self.dir, self.user.uid, self.user.gid)
        self.socket = os.path.join(self.dir, "socket")
        self.brokers = []
        self.addCleanup(self._clean_up)

    def run(self, result=None):
        """Shows the log of a test that fails."""
        self.logs = []
        before = len(result.errors) + len(result.failures)
        super().run(result)
        if len(result.errors) + len(result.failures) > before:
            for log in self.logs:
                print(f"--- log of {self.id()}, last lines:", *log[-25:], sep="\n", flush=True)
        return result

    def _clean_up(self):
        for name in sorted(os.listdir(self.dir)):
            if name.startswith("log-"):
                with open(os.path.join(self.dir, name), encoding="utf-8") as file:
                    self.logs.append(file.read().splitlines())
        for process in self.brokers:
            if process.poll() is None:
                process.kill()
                process.wait()
        with contextlib.suppress(ChildProcessError):
            while children(os.getpid()):
                os.waitpid(-1, 0)
        shutil.rmtree(self.dir)

    # --- policies ---

    def built(self, path):
        return os.path.join(self.stage, path)

    def device(self, *args):
        """The section of a policy that starts the test device with these arguments."""
        return {
            "program": self.built("tests/broker/broker-test-device"),
            "args": [*args, "{socket}"],
        }

    def shipped(self, name):
        """A policy that comes with the project, as far as the build allows."""
        path = os.path.join(POLICIES, name)
        if not SANITIZED:
            return path
        with open(path, encoding="utf-8") as file:
            policy = json.load(file)
        allow_sanitizers(policy)
        return self.write_file(name, json.dumps(policy))

    def write_file(self, name, content):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)
        return path

    def policy(self, name="policy.json", **sections):
        """Writes a policy for the test device; @sections replace and add to what it has."""
        policy = {"version": 1, "device": self.device(), **sections}
        if SANITIZED:
            allow_sanitizers(policy)
        return self.write_file(name, json.dumps(policy, indent=4))

    # --- brokers ---

    def spawn(self, command, preexec=None, **options):
        def prepare():
            die_with_parent()
            if preexec is not None:
                preexec()

        if os.geteuid() == 0 and self.user.uid != 0:
            options |= {"user": self.user.uid, "group": self.user.gid, "extra_groups": []}
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, cwd=self.dir, preexec_fn=prepare, **options
        )
        self.brokers.append(process)
        return process

    def broker_command(self, *args):
        return [self.built(STAGED[0]), *args]

    def start(self, policy=None, *args, preexec=None, **options):
        """A broker with --policy and --sock, not waited for."""
        command = self.broker_command("--policy", policy or self.policy(), "--sock", self.socket)
        return Broker(self, [*command, *args], preexec, **options)

    def broker(self, policy=None, *args, **options):
        """The same, ready."""
        return self.start(policy, *args, **options).wait_ready()

    def run_broker(self, *args, preexec=None, **options):
        """Runs one that ends by itself: (exit status, standard output, standard error)."""
        process = self.spawn(
            self.broker_command(*args),
            preexec,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        out, err = process.communicate(timeout=DEADLINE)
        return process.returncode, out, err

    def fails(self, status, *args, **options):
        """One that ends with this status, and one clear line, which is returned."""
        got, _, err = self.run_broker(*args, **options)
        self.assertEqual(got, status, err)
        self.assertEqual(err.count("\n"), 1, f"not one line: {err}")
        self.assertTrue(err.startswith("vfu-broker: "), err)
        return err

    # --- assertions ---

    def wait_no_orphans(self):
        """Until nobody is left below us but the brokers that we wait for ourselves."""
        own = {process.pid for process in self.brokers if process.returncode is None}

        def gone():
            for pid in children(os.getpid()).keys() - own:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            return not children(os.getpid()).keys() - own

        wait_until("orphans to be gone", gone)

    def assert_served(self, client):
        """The device of a negotiated client answers."""
        self.assertEqual(len(client.read(7, 0, 4)), 4)

    def assert_next_served(self, broker):
        with broker.client() as client:
            self.assert_served(client)

    def assert_mode(self, path, mode):
        self.assertEqual(oct(stat.S_IMODE(os.lstat(path).st_mode)), oct(mode))


def allow_sanitizers(policy):
    """What a device process that is built with sanitizers needs in its jail."""
    jail = dict(policy.get("jail", {}))
    jail["syscalls"] = sorted({*jail.get("syscalls", []), *SANITIZER_CALLS})
    jail["files"] = [*jail.get("files", []), SANITIZER_FILE]
    jail["limits"] = {**jail.get("limits", {}), "memory": "256T"}
    policy["jail"] = jail


def stage_build(folder):
    """VFU_DEVICES, if it is there, is a folder of other device programs of the same names."""
    build = os.environ["VFU_BUILD"]
    for path in STAGED:
        target = os.path.join(folder, path)
        other = os.path.join(os.environ.get("VFU_DEVICES", build), os.path.basename(path))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(other if os.path.exists(other) else os.path.join(build, path), target)


def variants(case, stage):
    """The classes to run: one for each user."""
    for user in users():
        if case.needs_root and os.geteuid() != 0 or case.only not in (None, user.name):
            continue
        name = f"{case.__name__}[{user.name}]"
        yield type(name, (case,), {"user": user, "stage": stage, "__module__": "test"})


def main():
    """Runs the tests of the calling script."""
    module = sys.modules["__main__"]
    cases = [
        case
        for case in vars(module).values()
        if isinstance(case, type) and issubclass(case, BrokerTest) and case is not BrokerTest
    ]
    os.umask(0o022)
    adopt_orphans()
    names = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="vfu-broker-") as stage:
        os.chmod(stage, 0o755)
        stage_build(stage)
        suite = unittest.TestSuite()
        for case in cases:
            for variant in variants(case, stage):
                for test in unittest.defaultTestLoader.loadTestsFromTestCase(variant):
                    if not names or any(name in test.id() for name in names):
                        suite.addTest(test)
        result = unittest.TextTestRunner(verbosity=2).run(suite)
    sys.exit(0 if result.wasSuccessful() and result.testsRun > 0 else 1)
