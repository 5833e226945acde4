"""Calls from the host that one C call makes: blocks copied in, results copied out, and every way in which the guest can spoil it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import pytest

import component_rt as rt
from tests.crowd import crowd

from .guests import engine, instantiate

# `realloc` is a bump allocator with a log of what it was asked for at 1024; `post` counts.
GUEST = """(component
  (import "tell" (func $tell))
  (core func $tell' (canon lower (func $tell)))
  (core module $M
    (import "host" "tell" (func $tell))
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 8192)) (global $log (mut i32) (i32.const 1024))
    (global $posts (mut i32) (i32.const 0))
    (func (export "realloc") (param $old i32) (param $n i32) (param $align i32) (param $size i32) (result i32)
      REALLOC)
    (func (export "echo") (param i32 i32) (result i32)
      (i32.store (i32.const 16) (local.get 0)) (i32.store (i32.const 20) (local.get 1)) (i32.const PLACE))
    (func (export "four") (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
      (i64.store (i32.const 2048) (i64.extend_i32_u (i32.load8_u (local.get 0))))
      (i64.store (i32.const 2056) (i64.extend_i32_u (i32.load16_u (i32.add (local.get 2) (i32.const 2)))))
      (i64.store (i32.const 2064) (i64.load (local.get 4)))
      (i64.store (i32.const 2072) (i64.extend_i32_u (local.get 7)))
      (i32.store (i32.const 16) (i32.const 2048)) (i32.store (i32.const 20) (i32.const 4)) (i32.const 16))
    (func (export "log") (result i32)
      (i32.store (i32.const 24) (i32.const 1024))
      (i32.store (i32.const 28) (i32.shr_u (i32.sub (global.get $log) (i32.const 1024)) (i32.const 2))) (i32.const 24))
    (func (export "post") (param i32) (global.set $posts (i32.add (global.get $posts) (i32.const 1))))
    (func (export "posts") (result i32) (global.get $posts))
    (func (export "told") (param i32 i32) (result i32) (call $tell) (local.get 1))
    (func (export "id32") (param i32) (result i32) (local.get 0))
    (func (export "id64") (param i64) (result i64) (local.get 0))
    (func (export "idf32") (param f32) (result f32) (local.get 0))
    (func (export "idf64") (param f64) (result f64) (local.get 0))
    (func (export "pair") (param i32 i64) (result i32)
      (i64.store (i32.const 40) (local.get 1)) (i32.store (i32.const 32) (local.get 0)) (i32.const 32)))
  (core instance $m (instantiate $M (with "host" (instance (export "tell" (func $tell'))))))
  (alias core export $m "realloc" (core func $realloc))
  (alias core export $m "post" (core func $post))
  (alias core export $m "memory" (core memory $memory))
  (func (export "echo") (param "a" string) (result string)
    (canon lift (core func $m "echo") ENCODING (memory (core memory $memory)) (realloc (core func $realloc)) (post-return (core func $post))))
  (func (export "wide") (param "a" (list u64)) (result (list u64))
    (canon lift (core func $m "echo") (memory (core memory $memory)) (realloc (core func $realloc)) (post-return (core func $post))))
  (func (export "bytes") (param "a" (list u8)) (result (list u8))
    (canon lift (core func $m "echo") (memory (core memory $memory)) (realloc (core func $realloc))))
  (func (export "four") (param "a" string) (param "b" (list u16)) (param "c" (list u64)) (param "d" string)
    (result (list u64)) (canon lift (core func $m "four") ENCODING (memory (core memory $memory)) (realloc (core func $realloc))))
  (func (export "log") (result (list u32)) (canon lift (core func $m "log") (memory (core memory $memory))))
  (func (export "posts") (result u32) (canon lift (core func $m "posts")))
  (func (export "told") (param "a" string) (result u32)
    (canon lift (core func $m "told") (memory (core memory $memory)) (realloc (core func $realloc))))
  (func (export "told-in-steps") (param "a" (list string)) (result u32)
    (canon lift (core func $m "told") (memory (core memory $memory)) (realloc (core func $realloc))))
  (func (export "u8") (param "a" u8) (result u8) (canon lift (core func $m "id32")))
  (func (export "s8") (param "a" s8) (result s8) (canon lift (core func $m "id32")))
  (func (export "u32") (param "a" u32) (result u32) (canon lift (core func $m "id32")))
  (func (export "s32") (param "a" s32) (result s32) (canon lift (core func $m "id32")))
  (func (export "u64") (param "a" u64) (result u64) (canon lift (core func $m "id64")))
  (func (export "s64") (param "a" s64) (result s64) (canon lift (core func $m "id64")))
  (func (export "f32") (param "a" f32) (result f32) (canon lift (core func $m "idf32")))
  (func (export "f64") (param "a" f64) (result f64) (canon lift (core func $m "idf64")))
  (func (export "pair") (param "a" s32) (param "b" u64) (result (tuple s32 u64))
    (canon lift (core func $m "pair") (memory (core memory $memory)) (post-return (core func $post))))
  (func (export "maybe") (param "a" (tuple s32 u64)) (result (result s32 (error u64)))
    (canon lift (core func $m "pair") (memory (core memory $memory)))))"""

HONEST = """(local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
      (global.set $next (i32.add (local.get $at) (local.get $size)))
      (i32.store (global.get $log) (local.get $align)) (i32.store offset=4 (global.get $log) (local.get $size))
      (global.set $log (i32.add (global.get $log) (i32.const 8)))
      (if (i32.gt_u (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
        (then (drop (memory.grow (i32.add (i32.shr_u (local.get $size) (i32.const 16)) (i32.const 1))))))
      (local.get $at)"""


def start(
    store: rt.Store, realloc: str = HONEST, encoding: str = "utf8", place: int = 16, tell: Any = lambda: None
) -> Any:
    text = GUEST.replace("REALLOC", realloc).replace("ENCODING", f"string-encoding={encoding}")
    return instantiate(store, text.replace("PLACE", str(place)), tell=tell).exports


@pytest.mark.parametrize("encoding", ["utf8", "utf16", "latin1+utf16"])
@pytest.mark.parametrize("letter", ["x", "é", "日", "🜁"])
def test_texts_of_every_length_come_back(encoding: str, letter: str) -> None:
    lengths = (0, 1, 511, 512, 513, 1024, 2048, 2049, 4096, 4097, 16383, 16384, 70_000)
    with rt.Store(engine()) as store:
        api = start(store, encoding=encoding)
        for length in lengths:
            assert api["echo"](letter * length) == letter * length, length
        assert api["posts"]() == len(lengths), "the post-return function ran once for each"


def test_a_subclass_of_str_is_a_string_and_a_surrogate_is_not() -> None:
    class Text(str):
        pass

    with rt.Store(engine()) as store:
        api = start(store)
        assert api["echo"](Text("a" * 20_000)) == "a" * 20_000
        assert api["echo"](Text("é")) == "é"
        for wrong in ("\ud800", "a" * 20_000 + "\udfff", b"bytes", 7, None):
            with pytest.raises((TypeError, ValueError), match="parameter `a`"):
                api["echo"](wrong)
        assert api["echo"]("still usable") == "still usable"


@pytest.mark.parametrize("encoding", ["utf8", "utf16"])
def test_blocks_are_stored_in_order(encoding: str) -> None:
    with rt.Store(engine()) as store:
        api = start(store, encoding=encoding)
        assert api["four"]("A", [1, 2, 3], [1 << 63], "four") == [65, 2, 1 << 63, 4]
        wide = 2 if encoding == "utf16" else 1
        assert api["log"]() == [wide, wide, 2, 6, 8, 8, wide, 4 * wide]
        assert api["four"]("B", [0, 9], [3], "x" * 10_000) == [66, 9, 3, 10_000]


@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 9000])
def test_lists_of_numbers_come_back(count: int) -> None:
    import array

    with rt.Store(engine()) as store:
        api = start(store)
        numbers = list(range((1 << 64) - count, 1 << 64))
        assert api["wide"](numbers) == numbers
        assert api["wide"](array.array("Q", numbers)) == numbers
        data = bytes(range(256)) * (count // 8)
        assert api["bytes"](data) == data
        assert api["bytes"](bytearray(data)) == data
        assert api["bytes"](memoryview(data)[::-1]) == data[::-1]
        assert api["posts"]() == 2


def test_results_at_the_ends_of_their_range() -> None:
    ends = {"u8": (0, 255), "s8": (-128, 127), "u32": (0, (1 << 32) - 1), "s32": (-(1 << 31), (1 << 31) - 1)}
    ends |= {"u64": (0, 1 << 63, (1 << 64) - 1), "s64": (-(1 << 63), 5 - (1 << 63), (1 << 63) - 1, -1)}
    with rt.Store(engine()) as store:
        api = start(store)
        for name, values in ends.items():
            for value in values:
                assert api[name](value) == value
        for name in ("f32", "f64"):
            assert math.isnan(api[name](math.nan))
            assert [api[name](value) for value in (0.5, -0.0, math.inf, -math.inf)] == [0.5, 0.0, math.inf, -math.inf]
        assert api["pair"](-5, (1 << 64) - 1) == (-5, (1 << 64) - 1)
        assert api["maybe"]((0, 0xFFFFFFFF)) == -1
        with pytest.raises(rt.Err) as caught:
            api["maybe"]((1, 77))
        assert caught.value.value == 77


UNALIGNED = "(i32.const 4097)"
BEYOND = "(i32.const 65532)"
NEGATIVE = "(i32.const -8)"


@pytest.mark.parametrize(
    ("realloc", "name", "argument", "message"),
    [
        (UNALIGNED, "wide", [1], "realloc return: result not aligned"),
        (BEYOND, "echo", "12345", "realloc return: beyond end of memory"),
        (NEGATIVE, "echo", "12345", "realloc return: beyond end of memory"),
        (NEGATIVE, "wide", [1, 2], "realloc return: beyond end of memory"),
        ("unreachable", "echo", "x", "unreachable"),
        ("(call $tell) (i32.const 4096)", "echo", "x", "cannot leave component instance"),
        ("(i32.load (i32.const 65536))", "echo", "x", "out of bounds memory access"),
    ],
)
def test_a_realloc_that_lies_is_a_trap(realloc: str, name: str, argument: Any, message: str) -> None:
    with rt.Store(engine()) as store:
        api = start(store, realloc)
        with pytest.raises(rt.Trap, match=message):
            api[name](argument)
        with pytest.raises(rt.InstancePoisoned):
            api["posts"]()


def test_a_realloc_that_does_not_end_is_interrupted() -> None:
    with rt.Store(engine()) as store:
        api = start(store, "(loop $again (br $again)) unreachable")
        store.set_epoch_deadline(1)
        timer = threading.Timer(0.05, engine().increment_epoch)
        timer.start()
        with pytest.raises(rt.Trap) as caught:
            api["echo"]("x")
        timer.join()
        assert caught.value.code is rt.TrapCode.INTERRUPT
        with pytest.raises(rt.InstancePoisoned):
            api["posts"]()


def test_records_and_texts_that_lie_in_lists_arrive() -> None:
    text = """(component
      (core module $M (memory (export "memory") 1) (global $next (mut i32) (i32.const 1024))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
          (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
          (global.set $next (i32.add (local.get $at) (local.get 3)))
          (if (i32.gt_u (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
            (then (drop (memory.grow (i32.add (i32.shr_u (local.get 3) (i32.const 16)) (i32.const 1))))))
          (local.get $at))
        (func (export "echo") (param i32 i32) (result i32)
          (i32.store (i32.const 16) (local.get 0)) (i32.store (i32.const 20) (local.get 1)) (i32.const 16)))
      (core instance $m (instantiate $M))
      (func (export "echo") (param "a" (list (tuple string u8 (list u16) (option string))))
        (result (list (tuple string u8 (list u16) (option string))))
        (canon lift (core func $m "echo") (memory (core memory $m "memory")) (realloc (core func $m "realloc")))))"""
    sent = [("é" * i, i, list(range(i)), None if i % 2 else "x" * 50 * i) for i in range(100)]
    with rt.Store(engine()) as store:
        echo = instantiate(store, text).exports["echo"]
        assert echo(sent) == sent
        for wrong in ([("\udc80", 1, [], None)], [("", 256, [], None)], [("", 1, [-1], None)], [("", 1, [], 5)]):
            with pytest.raises((TypeError, ValueError, OverflowError), match="parameter `a`"):
                echo(wrong)
        assert echo(sent[:3]) == sent[:3]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (18, "pointer not aligned"),
        (65532, "pointer out of bounds of memory"),
        (-4, "pointer out of bounds of memory"),
        (8000, None),
    ],
)
def test_a_result_in_a_bad_place_is_a_trap(place: int, message: str | None) -> None:
    with rt.Store(engine()) as store:
        api = start(store, place=place)
        if message is None:
            assert api["echo"]("x") == ""
            return
        with pytest.raises(rt.Trap, match=message):
            api["echo"]("x")
        with pytest.raises(rt.InstancePoisoned):
            api["posts"]()


TEXT = """(component
  (core module $M (memory (export "memory") 1) (data (i32.const 64) "\\ff\\fe") (data (i32.const 65534) "\\e6\\97")
    (func (export "f") (param i32 i32) (result i32)
      (i32.store (i32.const 16) (local.get 0)) (i32.store (i32.const 20) (local.get 1)) (i32.const 16)))
  (core instance $m (instantiate $M))
  (func (export "f") (param "a" u32) (param "n" u32) (result string)
    (canon lift (core func $m "f") (memory (core memory $m "memory")))))"""


@pytest.mark.parametrize(
    ("address", "length", "message"),
    [
        (65535, 2, "string pointer/length out of bounds of memory"),
        (0xFFFFFFFF, 0xFFFFFFFF, "string pointer/length out of bounds of memory"),
        (0, 65537, "string pointer/length out of bounds of memory"),
        (64, 2, "invalid utf-8"),
        (65534, 2, "incomplete utf-8 byte sequence"),
        (60, 60_000, "invalid utf-8"),
    ],
)
def test_a_text_that_is_none_is_a_trap(address: int, length: int, message: str) -> None:
    with rt.Store(engine()) as store:
        f = instantiate(store, TEXT).exports["f"]
        assert f(0, 0) == "" and f(65536, 0) == ""
        with pytest.raises(rt.Trap, match=message):
            f(address, length)
        with pytest.raises(rt.InstancePoisoned):
            f(0, 0)


def test_the_host_may_be_called_on_the_way() -> None:
    calls: list[int] = []
    with rt.Store(engine()) as store:
        api = start(store, tell=lambda: calls.append(1))
        assert api["told"]("a" * 5000) == 5000
        assert calls == [1]


@pytest.mark.parametrize("kind", [KeyError, rt.StoreError])
@pytest.mark.parametrize(("name", "argument"), [("told", "x"), ("told-in-steps", ["x"])])
def test_what_the_host_raises_on_the_way_poisons(kind: type[Exception], name: str, argument: Any) -> None:
    def tell() -> None:
        raise kind("told")

    with rt.Store(engine()) as store:
        api = start(store, tell=tell)
        with pytest.raises(kind, match="told"):
            api[name](argument)
        with pytest.raises(rt.InstancePoisoned):
            api[name](argument)


def test_an_instance_that_is_active_is_not_entered() -> None:
    seen: list[str] = []

    def tell() -> None:
        with pytest.raises(rt.Trap, match="cannot enter component instance"):
            api["echo"]("inner")
        assert other["echo"]("other") == "other"
        seen.append("told")

    with rt.Store(engine()) as store:
        api, other = start(store, tell=tell), start(store)
        assert api["told"]("outer") == 5
        assert api["echo"]("again") == "again"
        assert seen == ["told"]


def test_threads_whose_calls_allocate_in_steps_get_their_own_results_or_are_refused() -> None:
    text = """(component
      (core module $M (memory (export "memory") 4) (global $next (mut i32) (i32.const 1024))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
          (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
          (global.set $next (i32.add (local.get $at) (local.get 3)))
          (local.get $at))
        (func (export "echo") (param i32 i32) (result i32) (global.set $next (i32.const 1024))
          (i32.store (i32.const 16) (local.get 0)) (i32.store (i32.const 20) (local.get 1)) (i32.const 16)))
      (core instance $m (instantiate $M))
      (func (export "echo") (param "a" (list string)) (result (list string))
        (canon lift (core func $m "echo") (memory (core memory $m "memory")) (realloc (core func $m "realloc")))))"""

    def work(echo: Any, letter: str) -> Callable[[], object]:
        sent = [letter * i for i in range(9)]
        return lambda: None if echo(sent) == sent else letter

    with rt.Store(engine()) as store:
        echoes = [instantiate(store, text).exports["echo"] for _ in range(3)]
        assert not crowd([work(echo, letter) for echo, letter in zip(echoes, "abc")], 0.3)
        for echo in echoes:
            assert echo(["still", "usable"]) == ["still", "usable"]


def test_threads_that_share_a_store_get_their_own_results_or_are_refused() -> None:
    def work(api: Any, letter: str, number: int) -> Callable[[], object]:
        wanted = (letter * 9, number, float(number))

        def once() -> object:
            results = (api["echo"](letter * 9), api["u64"](number), api["f64"](float(number)))
            return None if results == wanted else results

        return once

    with rt.Store(engine()) as store:
        apis = [start(store) for _ in range(3)]
        assert apis[0]["echo"]("warm") == "warm"
        assert not crowd([work(api, "abc"[i], i + 1) for i, api in enumerate(apis)], 0.3)


def test_a_memory_of_64_bit_addresses() -> None:
    text = """(component
      (core module $M (memory (export "memory") i64 4) (global $next (mut i64) (i64.const 1024))
        (func (export "realloc") (param i64 i64 i64 i64) (result i64) (local $at i64)
          (local.set $at (i64.and (i64.add (global.get $next) (i64.const 7)) (i64.const -8)))
          (global.set $next (i64.add (local.get $at) (local.get 3)))
          (local.get $at))
        (func (export "echo") (param i64 i64) (result i64) (global.set $next (i64.const 1024))
          (i64.store (i64.const 16) (local.get 0)) (i64.store (i64.const 24) (local.get 1)) (i64.const 16)))
      (core instance $m (instantiate $M))
      (func (export "echo") (param "a" string) (result string)
        (canon lift (core func $m "echo") (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
      (func (export "list") (param "a" (list string)) (result (list string))
        (canon lift (core func $m "echo") (memory (core memory $m "memory")) (realloc (core func $m "realloc")))))"""
    with rt.Store(engine()) as store:
        api = instantiate(store, text).exports
        for length in (0, 1, 3000, 20_000):
            assert api["echo"]("é" * length) == "é" * length
        assert api["list"](["a", "bb", ""]) == ["a", "bb", ""]
