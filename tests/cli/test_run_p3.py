"""`component-rt run` with commands of WASI 0.3."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.wasi.p3.guests import COPY, WAITS, WRITE

NEVER = """
(component
  (import "wasi:clocks/monotonic-clock@0.3.0" (instance $clock (export "wait-for" (func async (param "how-long" u64)))))
  (core func $for (canon lower (func $clock "wait-for")))
  (core module $main
    (import "h" "for" (func $for (param i64)))
    (func (export "run") (result i32) (call $for (i64.const 3600000000000)) (i32.const 0))
    (func (export "spin") (result i32) (loop $more (br $more)) (i32.const 0)))
  (core instance $main (instantiate $main (with "h" (instance (export "for" (func $for))))))
  (func $run async (result (result)) (canon lift (core func $main "run")))
  (func (export "spin") async (result u32) (canon lift (core func $main "spin")))
  (instance $api (export "run" (func $run)))
  (export "wasi:cli/run@0.3.0" (instance $api)))
"""
FAILS = """
(component
  (core module $main (func (export "run") (result i32) (i32.const 1)))
  (core instance $main (instantiate $main))
  (func $run async (result (result)) (canon lift (core func $main "run")))
  (instance $api (export "run" (func $run)))
  (export "wasi:cli/run@0.3.0" (instance $api)))
"""


def test_exit_codes(component_rt: Any, wasm: Any) -> None:
    assert component_rt("run", wasm(WRITE)) == (7, "hello\n", "")
    assert component_rt("run", wasm(FAILS)) == (1, "", "")


def test_standard_streams(wasm: Any, tmp_path: Path) -> None:
    data = bytes(range(256)) * 2000
    command = [sys.executable, "-m", "component_rt", "run", "--no-cache", str(wasm(COPY))]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    assert (done.returncode, done.stdout == data, done.stderr) == (0, True, b"")
    with open("/dev/full", "wb") as full:
        assert subprocess.run(command, input=data, stdout=full, check=False).returncode == 1


@pytest.mark.parametrize("invoke", [[], ["--invoke", "spin()"]], ids=["waits", "computes"])
def test_time_runs_out(component_rt: Any, wasm: Any, invoke: list[str]) -> None:
    outcome = component_rt("run", "--timeout", "0.2", *invoke, wasm(NEVER))
    assert outcome.code == 124 and "0.2 s" in outcome.err


def test_invoking(component_rt: Any, wasm: Any) -> None:
    outcome = component_rt("run", "--invoke", "wait(1000000)", wasm(WAITS))
    assert outcome.code == 0 and int(outcome.out) >= 1_000_000
