#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Numbers in the README, and the tests that the threat model names, against the sources."""

import ast
import pathlib
import re
import sys
import unittest

SOURCES = pathlib.Path(sys.argv.pop(1))

# A number in the README is rounded; this far it may be off.
TOLERANCE = 0.1


def read(*parts):
    return SOURCES.joinpath(*parts).read_text(encoding="utf-8")


def lines_of(folder):
    return sum(
        len(path.read_text(encoding="utf-8").splitlines())
        for path in SOURCES.joinpath(folder).glob("*.[ch]")
    )


def calls_of(table):
    """The names of system calls in one of the tables of filter_rules.c."""
    text = read("broker", "filter_rules.c")
    start = text.index(f"{table}[] = {{")
    body = re.sub(r"#ifdef.*?#endif", "", text[start : text.index("\n};", start)], flags=re.DOTALL)
    return set(re.findall(r'(?:\b(?:ANY|ONE|TWO)\(|\.syscall = )"(\w+)"', body))


class Readme(unittest.TestCase):
    def test_lines(self):
        found = re.search(r"`broker/` ([\d,]+) lines, `ipc/` ([\d,]+), `policy/` ([\d,]+)",
                          read("README.md"))  # fmt: skip
        self.assertIsNotNone(found, "the README does not say how many lines there are")
        for folder, said in zip(["broker", "ipc", "policy"], found.groups()):
            with self.subTest(folder=folder):
                actual = lines_of(folder)
                said = int(said.replace(",", ""))
                self.assertLess(abs(said - actual), TOLERANCE * actual, f"{folder} has {actual}")

    def test_system_calls(self):
        found = re.search(r"(\d+) system calls in a device process, (\d+) in a gate",
                          read("README.md"))  # fmt: skip
        self.assertIsNotNone(found, "the README does not say how many system calls there are")
        self.assertEqual(int(found[1]), len(calls_of("filter_final_rules")))
        self.assertEqual(int(found[2]), len(calls_of("filter_gate_rules")))


    def test_performance(self):
        limits = {
            name: float(most)
            for name, most in re.findall(r'\{ "(.+)",\s+(?:true|false),\s+([\d.]+) \}',
                                         read("bench", "limits.c"))  # fmt: skip
        }
        section = read("README.md").split("\n## Performance\n")[1].split("\n## ")[0]
        rows = [row.split(" | ") for row in section.splitlines() if row.startswith("| ")][1:]
        self.assertTrue(rows)
        for row in rows:
            with self.subTest(figure=row[0]):
                self.assertEqual(limits.get(row[0][2:]), float(row[-1][:-2]))


class ThreatModel(unittest.TestCase):
    text = read("docs", "threat-model.md")

    def names(self, suite):
        found = re.findall(rf"`{suite}:([^`]+)`", self.text)
        self.assertTrue(found)
        return found

    def test_escapes_exist(self):
        sources = "".join(path.read_text() for path in SOURCES.joinpath("tests/escape").glob("*.c"))
        known = set(re.findall(r'(?:[A-Z]+\(|\{ )"([a-z0-9-]+)",', sources))
        self.assertEqual([name for name in self.names("escape") if name not in known], [])

    def test_tests_of_the_broker_exist(self):
        for name in self.names("broker"):
            with self.subTest(name=name):
                file, case, test = name.split(".")
                tree = ast.parse(read("tests", "broker", file + ".py"))
                classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
                self.assertIn(case, classes)
                self.assertIn(test, [getattr(node, "name", "") for node in classes[case].body])

    def test_other_tests_exist(self):
        for suite in ["unit", "protocol"]:
            for name in self.names(suite):
                path = SOURCES.joinpath("tests", suite, f"test_{name}.c")
                self.assertTrue(path.exists(), path)

    def test_fuzzers_exist(self):
        built = read("tests", "fuzz", "meson.build")
        for name in self.names("fuzz"):
            self.assertIn(f"  '{name}': [", built)

    def test_every_line_of_a_list_names_a_test(self):
        for part in self.text.split("What it can do:\n")[1:]:
            lines = re.split(r"(?:^|\n)- ", part.split("\n## ")[0])[1:]
            self.assertTrue(lines)
            for line in lines:
                self.assertRegex(line, r"`\w+:[^`]+`", line)

    def test_every_line_of_a_table_names_a_test(self):
        for section in ["device process", "gate", "client"]:
            title = f"## What a {section}"
            body = self.text[self.text.index(title) + 1 :].split("\n## ")[0]
            rows = [line for line in body.splitlines() if line.startswith("| ")][1:]
            self.assertTrue(rows)
            for row in rows:
                self.assertRegex(row, r"`\w+:[^`]+` \|$")

    def test_readme_links_it(self):
        self.assertIn("docs/threat-model.md", read("README.md"))


class ManPage(unittest.TestCase):
    def test_every_event_of_the_log_is_there(self):
        call = r'(?:log_(?:error|warning|info|debug|session_info)\(|FAIL_SESSION\([^"]*)"([a-z-]+)"'
        section = read("broker", "vfu-broker.8").split(".SH LOG")[1].split(".SH ")[0]
        told = set(re.findall(r"[a-z-]+", section))
        for path in SOURCES.joinpath("broker").glob("*.c"):
            events = set(re.findall(call, path.read_text(encoding="utf-8")))
            self.assertEqual(events - told, set(), path.name)


if __name__ == "__main__":
    unittest.main()
