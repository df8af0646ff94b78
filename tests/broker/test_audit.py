# SPDX-License-Identifier: BSD-3-Clause
"""--audit: what a device would need that its policy does not allow."""

import json
import re
import signal

import device
import harness


class Audit(harness.BrokerTest):
    def audit(self, *calls):
        """What the audit prints of a device that makes blocked calls."""
        broker = self.broker(None, "--audit")
        self.assertEqual(len(broker.matches("warning audit cause=.*")), 1)
        with broker.client() as client:
            for call in calls:
                client.write_register(device.CRASH, call)
            client.read_register(device.SCRATCH)
        broker.signal(signal.SIGTERM)
        self.assertEqual(broker.wait(), 0)
        return broker

    def test_calls_pass_and_are_told_once(self):
        broker = self.audit(device.CRASH_WHERE, device.CRASH_WHERE)
        self.assertEqual(len(broker.matches("info device-log .*getcwd.2. gave [0-9].*")), 2)
        told = broker.matches(r'warning audit-call session=1 call=getcwd nr=\d+ risk="high: .*"')
        self.assertEqual(len(told), 1)
        self.assertEqual(broker.matches("error .*"), [])

    def test_policy_that_it_prints_is_enough(self):
        broker = self.audit(device.CRASH_WHERE)
        line = broker.matches(r'"jail": .*')[0][0]
        section = json.loads("{" + line + "}")
        self.assertEqual(section, {"jail": {"syscalls": ["getcwd"]}})
        self.assertEqual(len(broker.matches(r"  getcwd +high: .*")), 1)
        broker = self.broker(self.policy(**section))
        with broker.client() as client:
            client.write_register(device.CRASH, device.CRASH_WHERE)
            client.read_register(device.SCRATCH)
        broker.stop()

    def test_call_that_no_policy_can_allow(self):
        broker = self.audit(device.CRASH_CALL)
        self.assertEqual(len(broker.matches(r'"jail": \{ "syscalls": \[\] \}')), 1)
        self.assertEqual(len(broker.matches(r"  socket +no policy can allow it")), 1)

    def test_device_that_needs_nothing(self):
        broker = self.audit()
        self.assertTrue(broker.log().endswith('\n"jail": { "syscalls": [] }\n'), broker.log())

    def test_check_does_not_audit(self):
        line = self.fails(2, "--policy", self.policy(), "--check", "--audit")
        self.assertIn("--audit", line)

    def test_every_line_of_the_log_is_one(self):
        log = self.audit(device.CRASH_WHERE).log().split('"jail":')[0]
        for line in log.splitlines():
            self.assertRegex(line, re.compile(r"(error|warning|info) [a-z-]+ .*"))


if __name__ == "__main__":
    harness.main()
