#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""How long a device stands still when it migrates, and how fast its state travels.

Run from a build tree, as root or an ordinary user; prints tables in Markdown. Source and destination
are both jailed. The device keeps changing its window of memory and is stopped when it has changed
all of it again, so that the last round has as much to copy whatever the size of the state.
"""
import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

PARTS = ["stop", "memory", "device", "restore", "install", "run", "total"]
MIB = 1 << 20


def parse_arguments():
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(here, "build"), help="build tree")
    parser.add_argument("--sizes", default="1M,64M,1G", help="of the device's state; default 1M,64M,1G")
    parser.add_argument("--runs", type=int, default=9, help="of each; default 9")
    parser.add_argument("--window", default="1M", help="of memory that keeps changing; default 1M")
    return parser.parse_args()


def write_policy(path, build, size):
    policy = {
        "version": 1,
        "device": {"program": os.path.join(build, "samples/server"), "args": ["--size", size, "{socket}"]},
        "dma": {"access": "rw"},
        "irqs": {"max_vectors": 8},
        "jail": {"limits": {"memory": "1100M"}},
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(policy, file)
    return path


@contextlib.contextmanager
def started(build, policy, socket):
    """A broker with the device that the client moves away."""
    command = [os.path.join(build, "broker/vfu-broker"), "--policy", policy, "--sock", socket]
    broker = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while not os.path.exists(socket):
            if broker.poll() is not None:
                sys.exit(f"it has ended; run it by hand: {' '.join(command)}")
            time.sleep(0.01)
        yield socket
    finally:
        broker.send_signal(signal.SIGTERM)
        broker.wait()


def run_client(arguments, source, *options):
    client = os.path.join(arguments.build, "samples/client")
    result = subprocess.run([client, "--json", *options, source], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{' '.join(result.args)}: {result.stderr}{result.stdout}")
    return json.loads(result.stdout)


def migrate(arguments, policy, source):
    result = run_client(arguments, source, "--policy", policy, "--no-tour", "--keep-dirty", "--rate", "4096",
                        "--guest-rate", "0", "--window", arguments.window, "--stop-bytes", "16M")
    return {**{part: result["blackout_ns"][part] / 1e6 for part in PARTS},
            "dirty": result["rounds"][-1]["device_bytes"] / MIB}


def report_blackout(arguments, directory):
    """All sizes take turns, so that what else the machine does meets all of them."""
    sizes = arguments.sizes.split(",")
    runs = {size: [] for size in sizes}
    with contextlib.ExitStack() as stack:
        sources = {}
        for size in sizes:
            policy = write_policy(os.path.join(directory, f"{size}.json"), arguments.build, size)
            socket = os.path.join(directory, size)
            sources[size] = policy, stack.enter_context(started(arguments.build, policy, socket))
        for _ in range(arguments.runs):
            for size in sizes:
                runs[size].append(migrate(arguments, *sources[size]))
    print(f"Blackout, ms, median of {arguments.runs} runs\n")
    print("| state | dirty | " + " | ".join(PARTS[:-1]) + " | **blackout** | of the first |")
    print("|---|---" + "|---" * (len(PARTS) + 1) + "|")
    first = None
    for size in sizes:
        run = sorted(runs[size], key=lambda run: run["total"])[arguments.runs // 2]
        first = first or run["total"]
        parts = " | ".join(f"{run[part]:.2f}" for part in PARTS[:-1])
        print(f"| {size} | {run['dirty']:.1f} MiB | {parts} | **{run['total']:.2f}** "
              f"| {run['total'] / first:.2f} |")


def report_transfer(arguments, directory):
    policy = write_policy(os.path.join(directory, "transfer.json"), arguments.build, "64M")
    with started(arguments.build, policy, os.path.join(directory, "transfer")) as source:
        result = run_client(arguments, source, "--transfer")
    names = {"plain": "plain writes (REGION_WRITE)", "read": "MIG_DATA_READ", "write": "MIG_DATA_WRITE",
             "bare": "a socket, and nothing done with the bytes"}
    print(f"\n{result['bytes'] / MIB:.0f} MiB of state in pieces of 1 MiB, medians of {result['turns']} turns\n")
    print("| | MiB/s | of plain writes |\n|---|---|---|")
    for key, name in names.items():
        rate = result[key]["bytes_per_second"] / MIB
        print(f"| {name} | {rate:.0f} | {result[key]['to_plain']:.2f} |")


def main():
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="vfu-migration-") as directory:
        os.chmod(directory, 0o711)
        report_blackout(arguments, directory)
        report_transfer(arguments, directory)


if __name__ == "__main__":
    main()
