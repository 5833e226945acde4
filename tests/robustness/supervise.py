"""Runs numbered cases in a worker process that is expected to survive all of them.

A worker is `python -m MODULE --worker FIRST COUNT ARGS...`; it prints one line per case, `INDEX<tab>OUTCOME`, in order,
as soon as the case is over. An outcome that starts with `FAIL` is a finding. When the worker dies or is silent for too
long, the case after the last reported one is the finding, and a new worker goes on behind it.
"""

from __future__ import annotations

import argparse
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import attrs

__all__ = ["Finding", "Report", "add_worker_options", "run_worker", "supervise"]

ROOT = Path(__file__).resolve().parents[2]


@attrs.frozen
class Finding:
    """A case that must be looked at; the same seed and index make the same case again."""

    index: int
    what: str

    def __str__(self) -> str:
        return f"case {self.index}: {self.what}"


@attrs.define
class Report:
    """What a run came to."""

    outcomes: Counter[str] = attrs.field(factory=Counter)
    findings: list[Finding] = attrs.field(factory=list)
    seconds: float = 0.0

    @property
    def cases(self) -> int:
        return sum(self.outcomes.values()) + len(self.findings)

    def __str__(self) -> str:
        outcomes = ", ".join(f"{name} {count}" for name, count in self.outcomes.most_common())
        lines = [f"{self.cases} cases in {self.seconds:.0f} s: {outcomes or 'none'}; {len(self.findings)} findings"]
        for same in self.kinds().values():
            others = f" (and {len(same) - 1} like it)" if len(same) > 1 else ""
            lines.append(f"  {same[0]}{others}")
        return "\n".join(lines)

    def kinds(self) -> dict[str, list[Finding]]:
        """Findings that say the same but for numbers, in the order of their first case."""
        groups: dict[str, list[Finding]] = {}
        for finding in self.findings:
            groups.setdefault(re.sub(r"(0x)?[0-9a-f]*[0-9]", "#", finding.what), []).append(finding)
        return groups


def _lines(pipe: IO[bytes], silence: float) -> Iterator[str]:
    """Lines as they come; raises TimeoutError when none came for `silence` seconds."""
    descriptor, rest = pipe.fileno(), b""
    while True:
        if not select.select([descriptor], [], [], silence)[0]:
            raise TimeoutError
        chunk = os.read(descriptor, 1 << 16)
        if not chunk:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace")


def _death(code: int, log: IO[bytes]) -> str:
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    log.seek(0)
    trace = log.read().decode("utf-8", "replace").strip().splitlines()
    return f"worker died with {how}: {' | '.join(trace[:12])}"


def supervise(
    module: str,
    arguments: Sequence[str],
    count: int,
    *,
    first: int = 0,
    silence: float = 60.0,
    most_findings: int = 200,
) -> Report:
    """Cases `first` to `first + count`; stops early after `most_findings`, or 20 kinds of them."""
    report, started, index, end = Report(), time.monotonic(), first, first + count
    while index < end and len(report.findings) < most_findings and len(report.kinds()) < 20:
        command = [sys.executable, "-X", "faulthandler", "-m", module, "--worker", str(index), str(end - index)]
        with tempfile.TemporaryFile() as log:
            worker = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=log, cwd=ROOT)
            assert worker.stdout is not None
            try:
                for line in _lines(worker.stdout, silence):
                    number, _, outcome = line.partition("\t")
                    assert int(number) == index, f"worker spoke of case {number}, expected {index}"
                    if outcome.startswith("FAIL"):
                        report.findings.append(Finding(index, outcome.removeprefix("FAIL ")))
                    else:
                        report.outcomes[outcome] += 1
                    index += 1
                    if len(report.findings) >= most_findings:
                        break
                else:
                    code = worker.wait()
                    if index < end:
                        report.findings.append(Finding(index, _death(code, log)))
                        index += 1
            except TimeoutError:
                report.findings.append(Finding(index, f"no answer within {silence:.0f} s"))
                index += 1
            finally:
                worker.kill()
                worker.wait()
                worker.stdout.close()
    report.seconds = time.monotonic() - started
    return report


def add_worker_options(parser: argparse.ArgumentParser) -> None:
    """The options that `supervise` passes on."""
    parser.add_argument("--worker", nargs=2, type=int, metavar=("FIRST", "COUNT"), help=argparse.SUPPRESS)


def run_worker(span: Sequence[int], case: Callable[[int], str]) -> None:
    """The worker's side: `case` gives the outcome; an exception that leaves it is a finding."""
    first, count = span
    for index in range(first, first + count):
        try:
            outcome = case(index)
        except Exception as error:
            frame = error.__traceback__
            while frame is not None and frame.tb_next is not None:
                frame = frame.tb_next
            place = "" if frame is None else f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}"
            first_line = (str(error).splitlines() or [""])[0]
            outcome = f"FAIL {type(error).__name__} at {place}: {first_line[:300]}"
        print(f"{index}\t{outcome}".replace("\n", " "), flush=True)
