#!/usr/bin/env python3
"""What the desktop app takes: start, memory and idle CPU, beside an app that does nothing, in turns in one run.

Usage: tests/desktop/figures.py APP EMPTY [ROUNDS] [IDLE SECONDS]
Both are release builds. Each start has a virtual display, a bus and a home of its own.
"""

import mmap
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

SCREEN = (1100, 760)
# A window with no word in it has fewer, the emptiest with one has more.
INK_PIXELS = 300


def children_of(pid):
    kids = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as file:
                kids.setdefault(int(file.read().rsplit(")", 1)[1].split()[1]), []).append(int(entry))
        except OSError:
            pass
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        left += kids.get(found[-1], [])
    return found


def pss_mb(pid):
    total = 0
    for each in children_of(pid):
        try:
            with open(f"/proc/{each}/smaps_rollup") as file:
                total += next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
        except (OSError, StopIteration):
            pass
    return total / 1024


def cpu_s(pid):
    """Of all its threads and children; the kernel counts in ticks too, which are too coarse for a program at rest."""
    nanos = 0
    for each in children_of(pid):
        try:
            for thread in os.listdir(f"/proc/{each}/task"):
                with open(f"/proc/{each}/task/{thread}/schedstat") as file:
                    nanos += int(file.read().split()[0])
        except OSError:
            pass
    return nanos / 1e9


class Desk:
    """A display whose pixels can be read without asking it, a bus, and a home."""

    def __enter__(self):
        self.home = tempfile.mkdtemp()
        out = os.pipe()
        self.display = subprocess.Popen(
            ["Xvfb", "-displayfd", str(out[1]), "-screen", "0", f"{SCREEN[0]}x{SCREEN[1]}x24", "-fbdir", self.home, "-nolisten", "tcp"],
            pass_fds=[out[1]], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(out[1])
        with os.fdopen(out[0]) as told:
            number = told.readline().strip()
        config = os.path.join(self.home, "config", "tidegate")
        os.makedirs(config)
        with open(os.path.join(config, "settings.toml"), "w") as file:
            file.write('[gateway]\nlisten = "127.0.0.1:0"\n')
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("WAYLAND")}
        self.env |= {"DISPLAY": f":{number}", "HOME": self.home, "NO_AT_BRIDGE": "1"}
        self.env |= {f"XDG_{kind.upper()}_HOME": os.path.join(self.home, kind) for kind in ("data", "config", "cache")}
        with open(os.path.join(self.home, "Xvfb_screen0"), "rb") as file:
            self.pixels = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.header = int.from_bytes(self.pixels[:4], "big")
        return self

    def __exit__(self, *_):
        self.display.terminate()
        self.display.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def ink(self):
        """Pixels that differ from the one beside them, in every fourth row: the edges of what is written."""
        length, edges = SCREEN[0] * 4, 0
        for row in range(0, SCREEN[1], 4):
            at = self.header + 256 * 12 + row * length
            line = self.pixels[at:at + length]
            greens = line[1::4]
            edges += sum(1 for one, next in zip(greens, greens[1:]) if abs(one - next) > 24)
            if edges > INK_PIXELS:
                break
        return edges

    def start(self, *command):
        return subprocess.Popen(
            ["dbus-run-session", "--", *command], env=self.env, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def end(process):
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def opening_s(*command):
    """Of the first start in a home, and of the next."""
    with Desk() as desk:
        return [drawn_s(desk, *command) for _ in range(2)]


def drawn_s(desk, *command):
    began = time.monotonic()
    process = desk.start(*command)
    try:
        while desk.ink() <= INK_PIXELS:
            if time.monotonic() - began > 60:
                raise SystemExit(f"{command[0]} drew nothing within a minute")
            time.sleep(0.002)
        return time.monotonic() - began
    finally:
        end(process)
        while desk.ink() > INK_PIXELS:
            time.sleep(0.02)


def idle(seconds, *command):
    """Memory in MB when all is quiet, and the share of one processor."""
    with Desk() as desk:
        process = desk.start(*command)
        try:
            time.sleep(15)
            before, began = cpu_s(process.pid), time.monotonic()
            time.sleep(seconds)
            share = (cpu_s(process.pid) - before) / (time.monotonic() - began)
            return pss_mb(process.pid), share
        finally:
            end(process)


def main(app, empty, rounds=9, seconds=60):
    rounds, seconds = int(rounds), float(seconds)
    starts = {"app": [], "empty": []}
    for _ in range(rounds):
        starts["empty"].append(opening_s(empty))
        starts["app"].append(opening_s(app))
    for which, turn in (("first", 0), ("next", 1)):
        took = {name: [one[turn] * 1000 for one in all] for name, all in starts.items()}
        middle = {name: statistics.median(all) for name, all in took.items()}
        for name, all in took.items():
            print(f"{which} start to first words, {name}: median {middle[name]:.0f} ms, {min(all):.0f} to {max(all):.0f}, {rounds} rounds")
        print(f"{which} start over an empty window: {middle['app'] - middle['empty']:.0f} ms")
    for what, options in (("without a window", ["--hidden"]), ("with the window", [])):
        ours, theirs = idle(seconds, app, *options), idle(seconds, empty, *options)
        print(f"{what}: {ours[0]:.1f} MB, {ours[0] - theirs[0]:+.1f} MB over an empty app's {theirs[0]:.1f}; idle CPU {ours[1] * 100:.2f} % ({theirs[1] * 100:.2f} %)")


if __name__ == "__main__":
    main(*sys.argv[1:])
