#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
No idle rule: without any one rule of the final filter, those for threads included, a test fails that
is no escape test, and that passes with all of them. A rule that no test needs is one that no device
needs. (Of the gate's filter: test_gate.c.)

BUILD SOURCES: the folders; then names of calls, to look at these alone.
"""

import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

BUILD, SOURCES = map(pathlib.Path, sys.argv[1:3])
BROKER = "tests/rules/broker-of-other-rules"

# Call, or call and condition: the test. (program of tests/protocol, policy), or names of a test of
# tests/broker.
ACCESS = ("access", "plain")
DMA = ("dma", "plain")
FILES = ("migration", "migration")
HEAPS = "threads Work.*test_each_thread_allocates"
ENDING = "threads Work.*test_thread_may_end"
LATE = "threads Work.*test_thread_may_begin_after_the_seal"
TESTS = {
    "read": ACCESS,
    "write": ACCESS,
    "recvfrom": ACCESS,
    "ppoll": ACCESS,
    "epoll_ctl": ACCESS,
    "recvmsg": ACCESS,
    "sendmsg": ACCESS,
    "close": ACCESS,
    "mmap prot == RW, flags == PRIVATE|ANONYMOUS": ACCESS,
    "mmap prot == RW, flags == SHARED": DMA,
    "mmap prot == R, flags == SHARED": DMA,
    "mmap prot == W, flags == SHARED": DMA,
    "mmap prot == NONE, flags == SHARED": DMA,
    "mmap prot == RW, flags == SHARED|FIXED": DMA,
    "mmap prot == R, flags == SHARED|FIXED": DMA,
    "mmap prot == W, flags == SHARED|FIXED": DMA,
    "munmap": DMA,
    "mremap": ("message", "plain"),
    "brk": ("dma_messages", "plain"),
    "fstat": DMA,
    "pread64": FILES,
    "pwrite64": FILES,
    "futex": "calls Calls.*test_something_is_done_once",
    "clock_gettime": "calls Calls.*test_time_on_the_processor_is_asked_for",
    "rt_sigreturn": DMA,
    "restart_syscall": "calls Calls.*test_wait_is_resumed_after_a_stop",
    "exit_group": "death Crashes.*test_exit",
    "rseq": LATE,
    "set_robust_list": LATE,
    "rt_sigprocmask": ENDING,
    "mprotect": HEAPS,
    "mmap prot == NONE, flags == PRIVATE|ANONYMOUS or PRIVATE|ANONYMOUS|NORESERVE": HEAPS,
    "madvise": ENDING,
    "exit": ENDING,
}

SECONDS = 120


def rules():
    """In the order of the tables: call, with its condition where a call has more than one rule."""
    text = SOURCES.joinpath("broker/filter_rules.c").read_text(encoding="utf-8")
    found = []
    for name in ["filter_final_rules", "filter_thread_rules"]:
        start = text.index(f"{name}[] = {{")
        table = text[start : text.index("\n};", start)]
        found += re.findall(
            r'ANY\("(\w+)"|(?:ONE|TWO)\("(\w+)", "([^"]*)"|\.syscall = "(\w+)"', table
        )
    names = [(a or b or d, c) for a, b, c, d in found]
    calls = [call for call, _ in names]
    return [f"{call} {text}" if calls.count(call) > 1 else call for call, text in names]


def command(test):
    if isinstance(test, tuple):
        return [BUILD / f"tests/protocol/test-protocol-{test[0]}", "brokered"]
    file, name = test.split(" ")
    user = "root" if os.geteuid() == 0 else "user"
    return [sys.executable, SOURCES / f"tests/broker/test_{file}.py", name.replace(".*", f"[{user}].")]


def passes(test, without):
    environment = dict(
        os.environ,
        TEST_DEVICE=str(BUILD / "tests/protocol/test-device"),
        TEST_BROKER=str(BUILD / BROKER),
        TEST_POLICIES=str(BUILD / "tests/protocol"),
        TEST_POLICY=test[1] if isinstance(test, tuple) else "",
        VFU_BROKER=BROKER,
        VFU_BUILD=str(BUILD),
        VFU_POLICIES=str(SOURCES / "policy"),
        VFU_DEADLINE="20",
        PYTHONDONTWRITEBYTECODE="1",
    )
    if without is not None:
        environment["VFU_RULES_WITHOUT"] = str(without)
    try:
        done = subprocess.run(
            command(test), env=environment, stdin=subprocess.DEVNULL, capture_output=True,
            timeout=SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def main():
    wanted = sys.argv[3:]
    table = [(i, rule) for i, rule in enumerate(rules()) if not wanted or rule.split()[0] in wanted]
    bad = [rule for _, rule in table if rule not in TESTS]
    for rule in bad:
        print(f"{rule}: the table names no test")
    for test in {TESTS[rule] for _, rule in table if rule not in bad}:
        if not passes(test, None):
            print(f"{test}: fails with all rules")
            bad.append(test)
    with concurrent.futures.ThreadPoolExecutor(4) as runs:
        checks = [(i, rule) for i, rule in table if rule not in bad]
        for (i, rule), good in zip(checks, runs.map(lambda c: passes(TESTS[c[1]], c[0]), checks)):
            print(f"{rule}: {'idle' if good else 'needed'} by {TESTS[rule]}", flush=True)
            bad += [rule] * good
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
