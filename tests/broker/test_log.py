#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The log: what a device writes can neither forge a line nor flood it."""

import re
import time

import device
import harness

# DEVICE_LOG_LINE, and log_limit's burst and rate.
LINE, BURST, RATE = 400, 50, 10
# All sessions'.
TOTAL_BURST, TOTAL_RATE = 2000, 50


class Log(harness.BrokerTest):
    def after(self, register, value):
        """The broker, when a client has written to this register of its device and left."""
        broker = self.broker()
        with broker.client() as client:
            client.write_register(register, value)
            self.assert_served(client)
        broker.wait_log("info session-end session=1")
        return broker

    def test_every_line_has_one_form(self):
        broker = self.after(device.NASTY, 1)
        broker.stop()  # looks at all of them
        self.assertTrue(broker.log().isascii())
        self.assertTrue(broker.log().endswith("\n"))

    def test_text_of_the_device_is_escaped(self):
        broker = self.after(device.NASTY, 1)
        texts = [found[1] for found in broker.matches('info device-log session=1 text="(.*)"')]
        first = texts.index(r"before' level=error\x0d\x1b[2J\x80\xff\x5c after")
        self.assertEqual(texts[first + 1], "error forged x=1")
        self.assertEqual(broker.matches("error .*"), [])
        broker.stop()

    def test_long_line_is_cut(self):
        broker = self.after(device.LONG, 3000)
        self.assertEqual(len(broker.matches(f'info device-log session=1 text="x{{{LINE}}}"')), 1)
        broker.stop()

    def test_long_line_of_escapes_is_cut_where_the_text_ends(self):
        broker = self.after(device.LONG, 0xFF << 32 | 3000)
        line = rf'info device-log session=1 text="(\\xff){{{LINE}}}"'
        self.assertEqual(len(broker.matches(line)), 1, broker.log())
        broker.stop()

    def test_flood_is_limited(self):
        started = time.monotonic()
        broker = self.after(device.LOG, 100000)
        written = len(broker.matches("info device-log session=1 .*"))
        seconds = time.monotonic() - started
        self.assertGreaterEqual(written, 10)
        self.assertLessEqual(written, BURST + RATE * (seconds + 2))
        dropped = broker.wait_log(r"warning log-limited session=1 lines-dropped=(\d+)")
        self.assertGreater(int(dropped[1]), 0)
        broker.stop()

    def test_flood_does_not_hold_up_the_next_client(self):
        broker = self.broker()
        for _ in range(5):
            with broker.client() as client:
                client.write_register(device.LOG, 20000)
        self.assert_next_served(broker)
        broker.stop()

    def test_limit_is_each_session_s_own(self):
        broker = self.after(device.LOG, 1000)
        with broker.client() as client:
            client.write_register(device.LOG, 3)
            broker.wait_log('info device-log session=2 text="line 2"')
        broker.stop()

    def test_all_sessions_together_are_limited_too(self):
        """A client that comes again and again, and causes little each time."""
        started = time.monotonic()
        broker = self.broker()
        lines = 0
        while lines < TOTAL_BURST * 3 // 2:
            for _ in range(50):
                broker.client().close()
            lines += 50 * 5
        self.assert_next_served(broker)
        broker.stop()
        seconds = time.monotonic() - started
        written = len(broker.log().splitlines())
        self.assertLessEqual(written, TOTAL_BURST + TOTAL_RATE * (seconds + 2) + 10)

    def test_paths_of_the_operator_are_escaped_too(self):
        self.socket += "\n\"x"
        broker = self.start()
        broker.socket = self.socket
        broker.wait_connect().close()
        broker.stop()
        self.assertEqual(len(re.findall("^info ready .*$", broker.log(), re.MULTILINE)), 1)
        self.assertNotIn('\n"x', broker.log())


if __name__ == "__main__":
    harness.main()
