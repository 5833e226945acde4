"""A call that computes for long in a trio store goes on in better code in the middle of its loop, also on another thread."""

from __future__ import annotations

import gc
import platform
import time

import pytest
import trio
import wasmtime

import component_rt as rt
import core_rt
from core_rt.compile.module import CompiledModule

TEXT = """(component
  (core module $m
    (memory (export "memory") 1)
    (func (export "count") (param i32) (result i32) (local i32)
      (loop $l
        (local.set 1 (i32.add (local.get 1) (local.get 0)))
        (br_if $l (i32.lt_u (local.get 1) (i32.const 0xf0000000))))
      (local.get 1)))
  (core instance $i (instantiate $m))
  (func (export "count") (param "n" u32) (result u32) (canon lift (core func $i "count"))))"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="only there can loops be left")
def test_a_loop_is_left_between_slices():
    engine = rt.Engine(core_rt.Config(cache=False, tick_seconds=0.001))
    beats = []

    async def beat() -> None:
        while True:
            beats.append(None)
            await trio.sleep(0.005)

    async def main() -> bool:
        async with rt.open_store(engine) as store, trio.open_nursery() as nursery:
            nursery.start_soon(beat)
            instance = await rt.Linker(engine).instantiate_async(
                store, rt.Component(engine, bytes(wasmtime.wat2wasm(TEXT)))
            )
            limit = time.monotonic() + 30
            left = 0
            while not left and time.monotonic() < limit:
                assert await instance.exports["count"](8) == 0xF0000000
                left = max(o.loops_left for o in gc.get_objects() if isinstance(o, CompiledModule))
            nursery.cancel_scope.cancel()
            return left > 0

    assert trio.run(main)
    assert len(beats) > 3
