#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Every measurement once, with counts that say nothing of time: that there are figures is the test."""

import json
import math
import os
import subprocess
import sys
import unittest

BENCH, DEVICE = sys.argv[1:3]
del sys.argv[1:3]


def run(*arguments):
    return subprocess.run([BENCH, "--quick", *arguments], stdout=subprocess.PIPE, check=False)


class Bench(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # The library against itself.
        done = run("--json", "--peer-device", DEVICE)
        cls.status = done.returncode
        cls.report = json.loads(done.stdout)
        cls.figures = {figure["name"]: figure for figure in cls.report["figures"]}

    def test_status(self):
        self.assertEqual(self.status, 0)

    def test_machine(self):
        machine = self.report["machine"]
        self.assertGreaterEqual(machine["processors"], 1)
        self.assertEqual(set(machine), {"processor", "processors", "kernel", "architecture"})

    def test_names_differ(self):
        self.assertEqual(len(self.figures), len(self.report["figures"]))

    def test_every_figure_is_a_number(self):
        for name, figure in self.figures.items():
            with self.subTest(name=name):
                if os.geteuid() != 0 and figure.get("missing") == "takes root":
                    continue
                self.assertNotIn("missing", figure)
                self.assertTrue(math.isfinite(figure["value"]))
                self.assertGreaterEqual(figure["value"], 0)
                if "baseline" in figure:
                    self.assertGreater(figure["baseline"], 0)
                    self.assertTrue(math.isfinite(figure["ratio"]))

    def test_every_library_is_measured(self):
        for who in ["standalone", "broker", "peer library", "standalone against peer library"]:
            self.assertTrue(any(name.endswith(": " + who) for name in self.figures), who)

    def test_group_by_name(self):
        done = run("--json", "--only", "translate")
        self.assertEqual(done.returncode, 0)
        names = [figure["name"] for figure in json.loads(done.stdout)["figures"]]
        self.assertTrue(names)
        self.assertFalse([name for name in names if name.startswith("register")])

    def test_table(self):
        done = run("--only", "translate")
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"What has to hold", done.stdout)

    def test_unknown_option(self):
        self.assertEqual(run("--no-such-option").returncode, 2)


if __name__ == "__main__":
    unittest.main()
