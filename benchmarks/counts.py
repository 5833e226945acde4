"""`python -m benchmarks.counts [--only TEXT] [--json]`: instructions per call, counted by callgrind.

Times of short paths move with the machine's load; the number of instructions hardly does. Each side of a row runs in a
process of its own under `valgrind --tool=callgrind`, which writes out what it has counted whenever `ctermid` is called:
once before the calls that are counted, and once after them. What runs in other processes is not counted, what other
threads of the process do is. Guests run as machine code from their first call, as they do elsewhere after some thousand. They are not interruptible while they are counted: valgrind cannot go on after the fault that
an interrupt is (a poll itself is one load).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import core_rt
from component_rt.canon import adapt
from core_rt.interpret import functions

from .rows import Missing, Pair, Row, rows

_CALLS = 50
_SETTLE = 1.0  # seconds for what was started in the background to end


def _child(title: str, side: str) -> int:
    """The process under callgrind: prepares a row, and makes its calls between two marks."""
    found = [row for row in rows() if _title(row) == title]
    mark = os.ctermid
    defaults = core_rt.Config.__init__.__kwdefaults__
    assert defaults is not None and defaults["epoch_interruption"] is True
    defaults["epoch_interruption"] = False
    functions.BUDGET = -(1 << 40)
    adapt.CALLS_BEFORE_COMPILING = 1
    with found[0].prepare() as pair:
        if not isinstance(pair, Pair):
            raise Missing("the row measures itself")
        call = pair.ours if side == "ours" else pair.theirs
        calls = range(min(_CALLS, pair.loops, pair.their_loops))
        for _ in calls:
            call()
        time.sleep(_SETTLE)
        call()
        gc.collect()
        gc.disable()
        mark()
        for _ in calls:
            call()
        mark()
        print(len(calls))
    return 0


def _title(row: Row) -> str:
    return f"{row.topic}: {row.name}"


def _totals(part: Path) -> int:
    """Instructions in one file of callgrind."""
    for line in part.read_text().splitlines():
        if line.startswith(("totals:", "summary:")):
            return int(line.split()[1])
    raise RuntimeError(f"{part.name} has no totals")


def count(row: Row, side: str) -> float:
    """Instructions of one call on a side ("ours", "theirs") of a row.

    Raises:
        Missing: the row cannot be run here, or measures itself.
        RuntimeError: the process failed otherwise.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "counts"
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--dump-before=ctermid"]
        command += [sys.executable, "-m", "benchmarks.counts", "--child", _title(row), "--side", side]
        environment = os.environ | {"PYTHONHASHSEED": "0"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode < 0:  # valgrind cannot go on after the fault that a trap is, where a handler jumps away
            raise Missing(f"the process died of {signal.Signals(-done.returncode).name} under valgrind")
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit code {done.returncode}"
            raise Missing(reason[8:]) if reason.startswith("Missing: ") else RuntimeError(done.stderr[-1500:])
        return _totals(out.with_name(out.name + ".2")) / int(done.stdout.split()[-1])


def measure(wanted: list[Row], *, echo: bool) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Counts of rows, and why others have none; prints a line for each if `echo`."""
    found: dict[str, dict[str, float]] = {}
    skipped: dict[str, str] = {}
    for row in wanted:
        try:
            ours, theirs = count(row, "ours"), count(row, "theirs")
        except Missing as error:
            skipped[_title(row)] = str(error)
            continue
        found[_title(row)] = {"ours": ours, "theirs": theirs, "ratio": theirs / ours}
        if echo:
            print(f"{_title(row):68.68s} {ours:>12,.0f} {theirs:>12,.0f} {theirs / ours:>9.2f}", flush=True)
    return found, skipped


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.counts", description=__doc__)
    parser.add_argument("--only", default=" calls: ", help='rows in whose "topic: name" this occurs')
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output instead of a table")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        try:
            return _child(options.child, options.side)
        except Missing as error:
            print(f"Missing: {error}", file=sys.stderr)
            return 1
    if shutil.which("valgrind") is None:
        print("valgrind is not installed", file=sys.stderr)
        return 2
    if not options.json:
        print(f"{'instructions per call':68s} {'ours':>12s} {'wasmtime-py':>12s} {'ratio':>9s}", flush=True)
    found, skipped = measure(rows(options.only), echo=not options.json)
    if options.json:
        json.dump({"counts": found, "skipped": skipped}, sys.stdout, indent=1)
        print()
    else:
        for name, reason in skipped.items():
            print(f"skipped {name}: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
