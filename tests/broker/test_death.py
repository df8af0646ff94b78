#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Processes that die: the log tells the cause, the client's connection ends, the next is served."""

import os
import signal
import struct
import time

import device
import harness


class DeathTest(harness.BrokerTest):
    def crash(self, broker, how):
        """Has the device of a new client do it; returns the session, over by then."""
        with broker.client() as client:
            count = len(broker.matches("info client-accepted .*"))
            session = broker.serving(count)
            client.write_register(device.SCRATCH, 1)
            with self.assertRaises(harness.vfio_user.Closed):
                client.write_register(device.CRASH, how)
        broker.wait_log(f"info session-end session={session.number}")
        return session

    def assert_next_is_fresh(self, broker, session):
        with broker.client() as client:
            count = len(broker.matches("info client-accepted .*"))
            following = broker.serving(count)
            self.assertEqual(client.read_register(device.SCRATCH), 0)
        self.assertFalse({following.device, following.gate} & {session.device, session.gate})


class Crashes(DeathTest):
    def assert_logged(self, how, *lines):
        """The lines come in this order; {0} stands for the session, {1} for the device."""
        broker = self.broker()
        session = self.crash(broker, how)
        found = [
            broker.wait_log(line.format(session.number, session.device)).start() for line in lines
        ]
        self.assertEqual(found, sorted(found), broker.log())
        self.assert_next_is_fresh(broker, session)
        broker.stop()

    def test_sigsegv(self):
        self.assert_logged(
            device.CRASH_SEGV, "error device-died session={0} device={1} signal=SIGSEGV"
        )

    def test_exit(self):
        self.assert_logged(device.CRASH_EXIT, "error device-died session={0} device={1} status=3")

    def test_exit_with_status_0_is_no_failure(self):
        self.assert_logged(device.CRASH_LEAVE, "info device-exited session={0} device={1}")

    def test_blocked_call(self):
        self.assert_logged(
            device.CRASH_CALL,
            "error blocked-call session={0} call=socket nr=[0-9]+ args=0x1,0x1,0,.* "
            "pc=0x[0-9a-f]+ arch=x86_64",
        )

    def test_abort(self):
        """Its first step is a call that the jail does not allow."""
        self.assert_logged(device.CRASH_ABORT, "error blocked-call session={0} call=[a-z_]+ .*")

    def test_no_crash_is_no_failure(self):
        broker = self.broker()
        with broker.client() as client:
            client.write_register(device.CRASH, 0)
            self.assert_served(client)
        broker.stop()
        self.assertEqual(broker.matches("error .*"), [])

    def test_busy_loop_ends_with_its_client(self):
        broker = self.broker()
        with broker.client() as client:
            session = broker.serving()
            message = harness.vfio_user.struct.pack("=QIIQ", device.CRASH, 0, 8, device.CRASH_SPIN)
            client.send(harness.vfio_user.REGION_WRITE, message)
        self.assert_next_is_fresh(broker, session)
        harness.wait_until("the device's end", lambda: not harness.alive(session.device))
        broker.stop()


class Kills(DeathTest):
    """By somebody from outside."""

    def kill(self, broker, pid, line):
        with broker.client() as client:
            session = broker.serving()
            os.kill(getattr(session, pid), signal.SIGKILL)
            client.wait_closed()
        broker.wait_log(line.format(session.number, getattr(session, pid)))
        broker.wait_log(f"info session-end session={session.number}")
        self.assertFalse(harness.alive(session.device))
        self.assertFalse(harness.alive(session.gate))
        self.assert_next_is_fresh(broker, session)
        broker.stop()

    def test_device_is_killed(self):
        self.kill(
            self.broker(), "device", "error device-died session={0} device={1} signal=SIGKILL"
        )

    def test_gate_is_killed(self):
        """Either end may be seen first: the device has nothing to live for without its gate."""
        self.kill(self.broker(), "gate", "error (gate|device)-died session={0} .*")

    def test_device_in_reserve_is_killed(self):
        self.kill_reserve("device")

    def test_gate_in_reserve_is_killed(self):
        self.kill_reserve("gate")

    def kill_reserve(self, pid):
        broker = self.broker(None, "--log-level", "debug")
        with broker.client() as client:
            broker.wait_log("debug device-verified session=2 .*")
            reserve = broker.sessions()[2]
            os.kill(getattr(reserve, pid), signal.SIGKILL)
            broker.wait_log("error (gate|device)-died session=2.*")
            self.assert_served(client)
        self.assert_next_is_fresh(broker, reserve)
        broker.stop()


class Restart(DeathTest):
    def crash_until_the_end(self, count, **restart):
        broker = self.broker(self.policy(restart=restart))
        for _ in range(count):
            self.crash(broker, device.CRASH_SEGV)
        self.assertEqual(broker.wait(), 5, broker.log())
        self.assertRegex(broker.matches("error .*")[-1][0], "^error stopping cause=.*")
        self.assertFalse(os.path.lexists(self.socket))
        self.assertEqual(harness.children(os.getpid()), {})

    def test_one_more_than_max_ends_the_broker(self):
        for allowed in [0, 1, 3]:
            with self.subTest(max=allowed):
                self.crash_until_the_end(allowed + 1, max=allowed)

    def test_stop_ends_the_broker_at_once(self):
        self.crash_until_the_end(1, on_crash="stop")

    def test_max_is_forgiven(self):
        broker = self.broker(self.policy(restart={"max": 3}))
        for _ in range(3):
            session = self.crash(broker, device.CRASH_SEGV)
        self.assert_next_is_fresh(broker, session)
        broker.stop()

    def test_old_failures_do_not_count(self):
        broker = self.broker(self.policy(restart={"max": 1, "within_seconds": 1}))
        for _ in range(3):
            session = self.crash(broker, device.CRASH_SEGV)
            # The time that the policy speaks of has to pass.
            time.sleep(1.1)
        self.assert_next_is_fresh(broker, session)
        broker.stop()

    def test_device_that_ends_by_itself_is_not_counted(self):
        broker = self.broker(self.policy(restart={"max": 0}))
        for _ in range(3):
            self.crash(broker, device.CRASH_LEAVE)
        self.assert_next_served(broker)
        broker.stop()

    def test_clients_that_come_and_go_are_not_counted(self):
        broker = self.broker(self.policy(restart={"max": 0}))
        for _ in range(200):
            broker.client().close()
        self.assert_next_served(broker)
        broker.stop()

    def test_client_that_left_is_not_counted_however_the_program_ends(self):
        """The gate knows that it left, but is not asked in time."""
        broker = self.broker(self.policy(device=self.device("--once"), restart={"max": 0}))
        with broker.client():
            session = broker.serving()
            os.kill(session.gate, signal.SIGSTOP)
        harness.wait_until("the device's end", lambda: not harness.alive(session.device))
        os.kill(session.gate, signal.SIGCONT)
        broker.wait_log(f"info client-gone session={session.number}")
        self.assert_next_is_fresh(broker, session)
        broker.stop()

    CRASH_EXIT = struct.pack("=QIIQ", device.CRASH, 0, 8, device.CRASH_EXIT)

    def test_death_is_counted_even_if_the_gate_hangs(self):
        broker = self.broker(self.policy(restart={"max": 0}))
        with broker.client() as client:
            session = broker.serving()
            os.kill(session.gate, signal.SIGSTOP)
            client.send(harness.vfio_user.REGION_WRITE, self.CRASH_EXIT)
            self.assertEqual(broker.wait(), 5)
        broker.wait_log("error device-died .* status=3")

    def test_one_clear_line_with_a_log_file(self):
        log = os.path.join(self.dir, "other.log")
        args = ["--policy", self.policy(restart={"on_crash": "stop"}), "--sock", self.socket]
        broker = harness.Broker(self, self.broker_command(*args, "--log-file", log))
        with broker.wait_connect().negotiate() as client:
            with self.assertRaises(harness.vfio_user.Closed):
                client.write_register(device.CRASH, device.CRASH_SEGV)
        self.assertEqual(broker.wait(), 5)
        self.assertEqual(len(broker.log().splitlines()), 1, broker.log())
        self.assertIn("restart.on_crash", broker.log())


if __name__ == "__main__":
    harness.main()
