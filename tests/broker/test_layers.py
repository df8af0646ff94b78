#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
Hosts that lack a layer of the jail: exit status 4, and a line that names the layer and what a
policy can say about it. A host is made to lack one by a seccomp filter, by a limit of namespaces
in a user namespace, or by chroot(2), in which no user namespace can be made.
"""

import ctypes
import errno
import os
import platform
import struct

import harness

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, PR_GET_MDWE = 4, 22, 38, 66

X86 = platform.machine() == "x86_64"
PRCTL = 157 if X86 else 167
SECCOMP = 317 if X86 else 277
CLONE3, MOUNT_SETATTR, LANDLOCK_CREATE_RULESET = 435, 442, 444

# What the jail is closed with, and checked: number of the call, and what names it where it fails, of
# the device process or the gate, whichever comes first.
CLOSING = {
    "pidfd_send_signal": (424, "a pidfd"),
    "pidfd_open": (434, "a pidfd"),
    "open_tree": (428, 'layer="private-root'),
    "move_mount": (429, 'layer="private-root'),
    "fsopen": (430, 'layer="private-root'),
    "fsconfig": (431, 'layer="private-root'),
    "fsmount": (432, 'layer="private-root'),
    "pivot_root": (155 if X86 else 41, 'layer="private-root'),
    "umount2": (166 if X86 else 39, 'layer="private-root'),
    "close_range": (436, 'layer="(descriptors|gate)"'),
    "prlimit64": (302 if X86 else 261, 'layer="(limits|gate)"'),
    "pidfd_getfd": (438, "verification-failed session=1 process=device"),
}

_libc = ctypes.CDLL(None, use_errno=True)


def call(name, *args):
    if getattr(_libc, name)(*args) < 0:
        raise OSError(ctypes.get_errno(), name)


def refuse_call(number, error, argument=None):
    """For this process and its children: the call fails, always or with this first argument."""
    load, equal, give = 0x20, 0x15, 0x06
    program = [(load, 0, 0, 0), (equal, 0, 1 if argument is None else 3, number)]
    if argument is not None:
        program += [(load, 0, 0, 16), (equal, 0, 1, argument)]
    program += [(give, 0, 0, 0x00050000 | error), (give, 0, 0, 0x7FFF0000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    header = struct.pack("@HP", len(program), ctypes.addressof(code))
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    call("prctl", PR_SET_SECCOMP, 2, header, 0, 0)


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def map_ids_from_outside(pid, ready):
    """All ids onto themselves, which takes a privileged process in the outer namespace."""
    os.read(ready, 1)
    for kind in ["uid", "gid"]:
        write(f"/proc/{pid}/{kind}_map", "0 0 4294967295")


def enter_user_namespace():
    """With the same ids inside as outside, and without any power over the outside."""
    if os.geteuid() != 0:
        uid, gid = os.geteuid(), os.getegid()
        call("unshare", CLONE_NEWUSER)
        # Or /proc/self would be root's since the change of ids.
        call("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)
        write("/proc/self/setgroups", "deny")
        write("/proc/self/gid_map", f"{gid} {gid} 1")
        write("/proc/self/uid_map", f"{uid} {uid} 1")
        return
    ready, done = os.pipe()
    us = os.getpid()
    helper = os.fork()
    if helper == 0:
        os.close(done)
        map_ids_from_outside(us, ready)
        os._exit(0)
    os.close(ready)
    call("unshare", CLONE_NEWUSER)
    os.write(done, b"x")
    os.close(done)
    if os.waitpid(helper, 0)[1] != 0:
        raise OSError("mapping ids")


def limit_namespaces(kind):
    enter_user_namespace()
    write(f"/proc/sys/user/max_{kind}_namespaces", "0")


def enter_chroot(folder):
    """Into the same tree at another place."""
    here = os.getcwd()
    call("unshare", CLONE_NEWNS)
    call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    call("mount", b"/", folder.encode(), None, MS_BIND | MS_REC, None)
    os.chroot(folder)
    os.chdir(here)


class LayerTest(harness.BrokerTest):
    def optional(self, *layers):
        return self.policy(jail={"optional": list(layers)})

    def assert_missing(self, layer, policy, preexec, can_be_optional=True):
        args = ["--policy", policy, "--sock", self.socket]
        line = self.fails(4, *args, preexec=preexec)
        self.assertIn(f"does not offer {layer}", line)
        if can_be_optional:
            self.assertIn('"jail": {"optional": ["%s"]}' % layer, line)
        else:
            self.assertIn("no policy can do without", line)
        self.assertFalse(os.path.lexists(self.socket))
        self.assert_check_says_so(layer, policy, preexec)

    def assert_must_be_root(self, policy, preexec):
        """Only root can do without."""
        line = self.fails(4, "--policy", policy, "--sock", self.socket, preexec=preexec)
        self.assertIn("must be root", line)
        self.assertIn("user", line)

    def assert_check_says_so(self, layer, policy, preexec):
        status, out, err = self.run_broker("--check", "--policy", policy, preexec=preexec)
        self.assertEqual(status, 4)
        self.assertRegex(out, rf"\n  {layer} +NO ")
        self.assertIn(layer, err)

    def assert_works(self, policy, preexec):
        broker = self.broker(policy, preexec=preexec)
        with harness.acting_as(self.user.uid, self.user.gid):
            self.assert_next_served(broker)
        broker.stop()
        status, out, _ = self.run_broker("--check", "--policy", policy, preexec=preexec)
        self.assertEqual(status, 0)
        self.assertIn("can be enforced here", out)


class Kernel(LayerTest):
    """What an old kernel, or one that was built without it, does not have."""

    def test_landlock(self):
        for error in [errno.ENOSYS, errno.EOPNOTSUPP]:
            with self.subTest(error=error):
                lack = lambda error=error: refuse_call(LANDLOCK_CREATE_RULESET, error)
                self.assert_missing("landlock", self.policy(), lack)
                self.assert_works(self.optional("landlock", "mdwe"), lack)

    def test_landlock_is_not_optional_where_the_gate_opens_files(self):
        lack = lambda: refuse_call(LANDLOCK_CREATE_RULESET, errno.ENOSYS)
        policy = self.policy(dma={"access": "ro"}, jail={"optional": ["landlock", "mdwe"]})
        line = self.fails(4, "--policy", policy, "--sock", self.socket, preexec=lack)
        self.assertIn("landlock", line)
        self.assertIn("dma.access", line)

    def test_mdwe(self):
        lack = lambda: refuse_call(PRCTL, errno.EINVAL, PR_GET_MDWE)
        self.assert_missing("mdwe", self.optional(), lack)
        self.assert_works(self.policy(), lack)

    def test_private_root(self):
        lack = lambda: refuse_call(MOUNT_SETATTR, errno.ENOSYS)
        self.assert_missing("private-root", self.policy(), lack, can_be_optional=False)

    def test_seccomp(self):
        lack = lambda: refuse_call(SECCOMP, errno.EINVAL, 2)  # SECCOMP_GET_ACTION_AVAIL
        for args in [["--sock", self.socket], ["--check"]]:
            line = self.fails(4, "--policy", self.policy(), *args, preexec=lack)
            self.assertIn("seccomp-filter", line)

    def test_no_namespaces_at_all(self):
        lack = lambda: refuse_call(CLONE3, errno.ENOSYS)
        self.assert_missing("user-namespace", self.policy(), lack)
        policy = self.optional("user-namespace")
        if self.user.uid == 0:
            self.assert_missing("pid-namespace", policy, lack, can_be_optional=False)
        else:
            self.assert_must_be_root(policy, lack)

    def test_call_that_the_jail_is_closed_with(self):
        """Such a host is none that lacks a layer as such; nothing is served on it either."""
        for name, (number, words) in CLOSING.items():
            for error in [errno.ENOSYS, errno.EPERM]:
                with self.subTest(call=name, error=error):
                    lack = lambda number=number, error=error: refuse_call(number, error)
                    args = ["--policy", self.policy(), "--sock", self.socket]
                    status, out, err = self.run_broker(*args, preexec=lack)
                    self.assertEqual(status, 4, err)
                    self.assertRegex(err, words)
                    self.assertNotIn("info ready", out + err)
                    self.assertFalse(os.path.lexists(self.socket))
                    self.wait_no_orphans()

    def test_filter_alone_is_no_obstacle(self):
        """The control of the others: what counts is the call that is refused."""
        self.assert_works(self.optional(), lambda: refuse_call(9999, errno.ENOSYS))


class Namespaces(LayerTest):
    """What an administrator can forbid."""

    def test_namespace_that_every_jail_needs(self):
        for kind, layer in {
            "pid": "pid-namespace",
            "mnt": "mount-namespace",
            "net": "network-namespace",
            "ipc": "ipc-namespace",
            "uts": "uts-namespace",
        }.items():
            with self.subTest(layer=layer):
                lack = lambda kind=kind: limit_namespaces(kind)
                self.assert_missing(layer, self.policy(), lack, can_be_optional=False)

    def test_cgroup_namespace(self):
        lack = lambda: limit_namespaces("cgroup")
        self.assert_missing("cgroup-namespace", self.policy(), lack)
        self.assert_works(self.optional("cgroup-namespace", "mdwe"), lack)

    def test_user_namespace(self):
        lack = lambda: limit_namespaces("user")
        self.assert_missing("user-namespace", self.policy(), lack)
        policy = self.optional("user-namespace", "mdwe")
        if self.user.uid == 0:
            self.assert_works(policy, lack)
        else:
            self.assert_must_be_root(policy, lack)

    def test_user_namespace_alone_is_no_obstacle(self):
        """The control of the others."""
        self.assert_works(self.policy(), enter_user_namespace)


class Cgroup(LayerTest):
    """Nobody has delegated one; what holds where somebody has is in test_cgroup.py."""

    def limited(self, **jail):
        return self.policy(jail={"limits": {"cpu_percent": 50}, **jail})

    def test_limit_of_cpu_takes_one(self):
        self.assert_missing("cgroup", self.limited(), None)
        self.assert_works(self.limited(optional=["cgroup", "mdwe"]), None)

    def test_directory_that_is_none(self):
        args = ["--policy", self.policy(), "--cgroup", self.dir, "--sock", self.socket]
        line = self.fails(4, *args)
        self.assertIn(f"does not offer cgroup: {self.dir}: Operation not supported", line)
        self.assertIn('"jail": {"optional": ["cgroup"]}', line)

    def test_no_limit_of_cpu_takes_none(self):
        """The control: the limit of memory is another layer's too."""
        self.assert_works(self.policy(jail={"limits": {"memory": "256T"}}), None)


class OrdinaryUserInUserNamespace(LayerTest):
    only = "user"

    def test_user_that_the_namespace_does_not_know_is_refused(self):
        """As is everybody else in there: the kernel calls them all 65534."""
        policy = self.policy(client={"uids": [self.user.uid, 65534]})
        line = self.fails(3, "--policy", policy, "--check", preexec=enter_user_namespace)
        self.assertIn("client.uids", line)


class RootWithoutUserNamespaces(LayerTest):
    """The real one, which has every capability but may make no user namespace."""

    only = "root"

    def setUp(self):
        super().setUp()
        self.folder = os.path.join(self.stage, "root-" + os.path.basename(self.dir))
        os.mkdir(self.folder)
        self.lack = lambda: enter_chroot(self.folder)

    def test_is_refused_by_default(self):
        self.assert_missing("user-namespace", self.policy(), self.lack)

    def test_works_if_the_policy_says_so(self):
        self.assert_works(self.optional("user-namespace", "mdwe"), self.lack)

    def test_jail_is_as_tight(self):
        broker = self.broker(self.optional("user-namespace", "mdwe"), preexec=self.lack)
        with broker.client():
            device = broker.serving().device
            for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]:
                self.assertEqual(int(harness.status_field(device, name)[0], 16), 0)
            self.assertNotIn("0", harness.status_field(device, "Uid"))
            for name in ["pid", "mnt", "net", "ipc", "uts", "cgroup"]:
                self.assertNotEqual(
                    os.readlink(f"/proc/{device}/ns/{name}"), os.readlink(f"/proc/self/ns/{name}")
                )
        broker.stop()


if __name__ == "__main__":
    harness.main()
