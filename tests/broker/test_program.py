#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What a device program is given at its start: arguments, environment, resources, files."""

import os

import device
import harness


class ProgramTest(harness.BrokerTest):
    def lines(self, broker, kind):
        """What the device wrote about one thing, by its first word."""
        pattern = f'info device-log session=1 text="{kind} (.*)"'
        return [found[1] for found in broker.matches(pattern)]


class Start(ProgramTest):
    def test_arguments_and_environment(self):
        program = self.built("tests/broker/broker-test-device")
        section = {
            "program": program,
            "args": ["--print", "{socket}"],
            "env": {"COLOUR": "blue", "EMPTY": "", "PLACE": "at {socket}, {socket}"},
        }
        broker = self.broker(self.policy(device=section))
        self.assertEqual(
            self.lines(broker, "argument"), [f"0 {program}", "1 --print", f"2 {self.socket}"]
        )
        wanted = {
            "COLOUR=blue",
            "EMPTY=",
            f"PLACE=at {self.socket}, {self.socket}",
            "VFU_BROKER_FD=3",
            f"LD_ORIGIN_PATH={os.path.dirname(program)}",
            "VFU_BROKER_POLICY=policy",
        }
        self.assertEqual(set(self.lines(broker, "environment")), wanted)
        broker.stop()

    def test_broker_s_environment_stays_outside(self):
        secret = {**os.environ, "SECRET": "42", "LD_DEBUG_OUTPUT": "/nowhere"}
        broker = self.broker(self.policy(device=self.device("--print")), env=secret)
        self.assertNotIn("SECRET", broker.log())
        self.assertNotIn("nowhere", broker.log())
        broker.stop()

    def test_args_default_to_the_socket(self):
        section = {"program": self.built("tests/broker/broker-test-device")}
        broker = self.broker(self.policy(device=section))
        self.assert_next_served(broker)
        broker.stop()


class Seal(ProgramTest):
    def test_poll_us_of_the_policy_is_in_it(self):
        for section, wanted in (({}, 50), ({"poll_us": 0}, 0), ({"poll_us": 1000}, 1000)):
            with self.subTest(poll_us=wanted):
                broker = self.broker(self.policy(device=self.device("--show-seal"), **section))
                self.assertEqual(self.lines(broker, "seal"), [f"poll_us={wanted}"])
                broker.stop()


class Ioeventfds(ProgramTest):
    """What clients would be sent is looked at when the device is sealed."""

    def broker_of(self, kind):
        return self.start(self.policy(device=self.device("--ioeventfd", kind)))

    def test_eventfd_and_sealable_memory_are_fine(self):
        for kind in ["event", "sealed"]:
            with self.subTest(kind=kind):
                broker = self.broker_of(kind).wait_ready()
                self.assert_next_served(broker)
                broker.stop()

    def test_descriptor_that_is_no_eventfd(self):
        for kind in ["pipe", "memory"]:
            with self.subTest(kind=kind):
                broker = self.broker_of(kind)
                self.assertEqual(broker.wait(), 1)
                broker.wait_log('error ioeventfd-refused .*cause="its descriptor is not an eventfd"')
                self.wait_no_orphans()

    def test_shadow_memory_that_cannot_be_sealed(self):
        """The library says so before the gate has to."""
        broker = self.broker_of("unsealable")
        self.assertEqual(broker.wait(), 1)
        broker.wait_log("info device-log .*attach: .*")
        self.assertNotIn("ioeventfd-refused", broker.log())


class Resources(ProgramTest):
    def test_are_inherited_in_order(self):
        firmware = self.write_file("firmware", "hello")
        disk = self.write_file("disk", "world")
        for path in [firmware, disk]:
            if os.geteuid() == 0:
                os.chown(path, self.user.uid, self.user.gid)
            os.chmod(path, 0o600)
        resources = [
            {"name": "fw", "path": firmware},
            {"name": "disk.0", "path": disk, "access": "rw"},
        ]
        section = self.device("--print", "--show-fd", "4", "--show-fd", "5", "--show-fd", "6")
        broker = self.broker(self.policy(device=section, resources=resources))
        self.assertEqual(
            self.lines(broker, "content"),
            ["4: ro hello", "5: rw world", "6: Bad file descriptor"],
        )
        self.assertIn("VFU_BROKER_RESOURCES=fw=4,disk.0=5", self.lines(broker, "environment"))
        self.assert_next_served(broker)
        broker.stop()

    def test_are_found_by_name_also_after_the_seal(self):
        path = self.write_file("firmware", "hello")
        section = self.device(
            "--print", "--show-resource", "fw", "--show-resource", "f", "--show-resource", "a/b"
        )
        broker = self.broker(
            self.policy("card.json", device=section, resources=[{"name": "fw", "path": path}])
        )
        self.assertEqual(
            self.lines(broker, "content"),
            ["fw: ro hello", "f: No such file or directory", "a/b: Invalid argument"],
        )
        self.assertEqual(self.lines(broker, "outside"), ["sealed=0 policy=card fw=4"])
        with broker.client() as client:
            self.assert_served(client)
            client.write_register(device.TELL, 1)
        broker.wait_log('info device-log session=1 text="inside sealed=1 policy=card fw=4"')
        broker.stop()

    def test_every_session_has_them(self):
        path = self.write_file("firmware", "hello")
        section = self.device("--show-fd", "4")
        resources = [{"name": "fw", "path": path}]
        broker = self.broker(self.policy(device=section, resources=resources))
        for number in range(1, 4):
            broker.wait_log(f'info device-log session={number} text="content 4: ro hello"')
            self.assert_next_served(broker)
        broker.stop()

    def test_path_is_not_there_in_the_jail(self):
        path = self.write_file("firmware", "hello")
        section = self.device("--show-file", path)
        broker = self.broker(
            self.policy(device=section, resources=[{"name": "fw", "path": path}])
        )
        self.assertEqual(self.lines(broker, "content"), [f"{path}: No such file or directory"])
        broker.stop()


class ResourcesOfAnOrdinaryUser(ProgramTest):
    only = "user"

    def test_file_that_may_not_be_written_is_3(self):
        path = self.write_file("disk", "")
        os.chmod(path, 0o444)
        policy = self.policy(resources=[{"name": "disk", "path": path, "access": "rw"}])
        line = self.fails(3, "--policy", policy, "--sock", self.socket)
        for text in [policy, "resources[0]", path]:
            self.assertIn(text, line)


class Files(ProgramTest):
    def test_listed_file_is_there(self):
        path = self.write_file("data", "hello")
        section = self.device("--show-file", path)
        broker = self.broker(self.policy(device=section, jail={"files": [path]}))
        self.assertEqual(self.lines(broker, "content"), [f"{path}: ro hello"])
        broker.stop()

    def test_other_file_is_not(self):
        """The control: the device can read it, but for the jail."""
        path = self.write_file("data", "hello")
        broker = self.broker(self.policy(device=self.device("--show-file", path)))
        self.assertEqual(self.lines(broker, "content"), [f"{path}: No such file or directory"])
        broker.stop()

    def test_listed_directory_is_there_with_all_it_holds(self):
        folder = os.path.join(self.dir, "data")
        os.mkdir(folder)
        path = self.write_file("data/file", "hello")
        section = self.device("--show-file", path)
        broker = self.broker(self.policy(device=section, jail={"files": [folder]}))
        self.assertEqual(self.lines(broker, "content"), [f"{path}: ro hello"])
        broker.stop()

    def test_program_of_a_build_tree_is_found_by_name(self):
        broker = self.broker(self.policy(device={"program": "gpio-pci-idio-16"}))
        with broker.client() as client:
            self.assertEqual(client.read(7, 0, 4), b"\x4f\x49\xc8\x0d")
        broker.stop()


if __name__ == "__main__":
    harness.main()
