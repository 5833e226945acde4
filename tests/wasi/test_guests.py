"""Guests that use WASI, in both kinds of store: what they print, that they wait, and that others run meanwhile."""

from __future__ import annotations

import time
from typing import Any

import pytest
import trio
import trio.testing

import component_rt as rt
from tests.outside import guest

# Sleeps 30 ms by a pollable, then writes a line; versions are mixed as in the wild.
SLEEPER = """
(component
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $p (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $p))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.3" (instance $clock
    (alias outer 1 $pollable (type $p0))
    (export "pollable" (type $p1 (eq $p0)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $p1))))))
  (import "wasi:io/error@0.2.9" (instance $error (export "error" (type (sub resource)))))
  (alias export $error "error" (type $io-error))
  (import "wasi:io/streams@0.2.1" (instance $streams
    (export "output-stream" (type $o (sub resource)))
    (alias outer 1 $io-error (type $e0))
    (export "error" (type $e (eq $e0)))
    (type $v (variant (case "last-operation-failed" (own $e)) (case "closed")))
    (export "stream-error" (type $se (eq $v)))
    (export "[method]output-stream.blocking-write-and-flush"
      (func (param "self" (borrow $o)) (param "contents" (list u8)) (result (result (error $se)))))))
  (alias export $streams "output-stream" (type $output))
  (import "wasi:cli/stdout@0.2.99" (instance $stdout
    (alias outer 1 $output (type $o0))
    (export "output-stream" (type $o1 (eq $o0)))
    (export "get-stdout" (func (result (own $o1))))))
  (core module $libc (memory (export "memory") 1) (data (i32.const 64) "slept\\n"))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core func $drop (canon resource.drop $pollable))
  (core func $get (canon lower (func $stdout "get-stdout")))
  (core func $write
    (canon lower (func $streams "[method]output-stream.blocking-write-and-flush") (memory (core memory $memory))))
  (core module $main
    (import "h" "subscribe" (func $subscribe (param i64) (result i32)))
    (import "h" "block" (func $block (param i32)))
    (import "h" "drop" (func $drop (param i32)))
    (import "h" "get" (func $get (result i32)))
    (import "h" "write" (func $write (param i32 i32 i32 i32)))
    (func (export "run") (result i32)
      (local $p i32)
      (local.set $p (call $subscribe (i64.const 30000000)))
      (call $block (local.get $p))
      (call $drop (local.get $p))
      (call $write (call $get) (i32.const 64) (i32.const 6) (i32.const 0))
      (i32.const 0)))
  (core instance $main (instantiate $main (with "h" (instance
    (export "subscribe" (func $subscribe)) (export "block" (func $block)) (export "drop" (func $drop))
    (export "get" (func $get)) (export "write" (func $write))))))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $api (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $api)))
"""


@pytest.fixture(scope="module")
def engine() -> rt.Engine:
    return rt.Engine(rt.Config(cache=False))


@pytest.fixture(scope="module")
def sleeper(engine: rt.Engine) -> rt.Component:
    wasmtime = pytest.importorskip("wasmtime")
    return rt.Component(engine, bytes(wasmtime.wat2wasm(SLEEPER)))


def linker(engine: rt.Engine, **grants: Any) -> rt.Linker:
    made = rt.Linker(engine)
    made.define_wasi(rt.WasiConfig(**grants))
    return made


def test_a_guest_waits_in_a_synchronous_store(engine: rt.Engine, sleeper: rt.Component) -> None:
    out = bytearray()
    with rt.Store(engine) as store:
        instance = linker(engine, stdout=out).instantiate(store, sleeper)
        start = time.monotonic()
        assert instance.exports["wasi:cli/run"].run() is None
        assert time.monotonic() - start >= 0.03
        assert out == b"slept\n"


def test_guests_wait_side_by_side_in_trio(engine: rt.Engine, sleeper: rt.Component) -> None:
    """Of ten guests that each sleep 30 ms several sleep at a time, and the event loop runs on."""
    out = bytearray()
    ticks = running = most = 0
    link = linker(engine, stdout=out)

    async def one() -> None:
        nonlocal running, most
        async with rt.open_store(engine) as store:
            instance = await link.instantiate_async(store, sleeper)
            running += 1
            most = max(most, running)
            await instance.exports["wasi:cli/run"].run()
            running -= 1

    async def tick() -> None:
        nonlocal ticks
        while True:
            await trio.sleep(0.001)
            ticks += 1

    async def main() -> None:
        with trio.fail_after(20):
            await one()
            out.clear()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tick)
                async with trio.open_nursery() as guests:
                    for _ in range(10):
                        guests.start_soon(one)
                nursery.cancel_scope.cancel()

    trio.run(main)
    assert out == b"slept\n" * 10
    assert ticks
    assert most > 1


def test_a_waiting_guest_can_be_cancelled(engine: rt.Engine, sleeper: rt.Component) -> None:
    async def main() -> None:
        with trio.fail_after(20):
            async with rt.open_store(engine) as store:
                instance = await linker(engine).instantiate_async(store, sleeper)
                with trio.move_on_after(0.005) as scope:
                    await instance.exports["wasi:cli/run"].run()
                assert scope.cancelled_caught

    trio.run(main)


def test_a_store_can_be_opened_by_one_who_is_cancelled(engine: rt.Engine) -> None:
    async def main() -> None:
        with trio.move_on_after(5) as guard:
            with trio.CancelScope() as scope:
                scope.cancel()
                async with rt.open_store(engine):
                    await trio.lowlevel.checkpoint()
            assert scope.cancelled_caught
        assert not guard.cancelled_caught

    trio.run(main)


def test_a_c_program_reads_a_trio_stream(engine: rt.Engine) -> None:
    component = rt.Component.from_file(engine, guest("c/cmd_p2.wasm"))
    ours, theirs = trio.testing.memory_stream_pair()
    link = linker(engine, args=["cmd", "stdin"], stdin=ours, stdout=ours)
    got = bytearray()

    async def drain() -> None:
        async for piece in theirs:
            got.extend(piece)

    async def feed() -> None:
        for number in range(5):
            await trio.sleep(0.005)
            await theirs.send_all(b"line %d\n" % number)
        await theirs.send_eof()

    async def main() -> None:
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(drain)
                nursery.start_soon(feed)
                async with rt.open_store(engine) as store:
                    instance = await link.instantiate_async(store, component)
                    await instance.exports["wasi:cli/run"].run()
                await ours.aclose()

    trio.run(main)
    assert got.endswith(b"".join(b"line %d\n" % n for n in range(5)) + b"5 lines\n")
