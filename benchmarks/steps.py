"""`python -m benchmarks.steps [--only TEXT]`: where the time of a call goes, by ablation.

Each step of a path is run on its own, in turn with the others and with the same values; what is left of the whole is the last
row. Figures are nanoseconds, the best of many short runs less an empty one. A step on its own finds its memory in the nearest
cache, so the rest is also what steps cost each other.
"""

from __future__ import annotations

import argparse
import struct
import time
from collections.abc import Callable, Generator
from typing import Any

import component_rt as rt
import core_rt
from core_rt import native

from .components import _API, _PAIR, _sides
from .core_calls import _combine, _exports
from .core_calls import _sides as _core_sides

Acts = dict[str, tuple[Callable[[], object], int]]
"""Callables by name, and how many calls are timed as one run."""
Rows = list[tuple[str, float]]
Path = Callable[[], Generator[Acts | Rows, dict[str, float], None]]
"""Yields acts, is sent their times, yields rows: the whole first."""
_TRIES = 400
_MANY, _FEW, _ONE = 200, 4, 1
_LOOP = 2000
_LONG = "x" * 300_000


def _warm(function: Any, *arguments: Any) -> None:
    """Call until the guest's functions have their best code, or nearly."""
    end = time.perf_counter() + 0.3
    while time.perf_counter() < end:
        function(*arguments)


def _nothing() -> None:
    return None


def _measure(acts: Acts) -> dict[str, float]:
    """Nanoseconds per call."""
    clock = time.perf_counter
    best = dict.fromkeys([*acts, *range(_MANY + 1)], float("inf"))
    empty = {loops: (_nothing, loops) for loops in {loops for _, loops in acts.values()}}
    for _ in range(_TRIES):
        for name, (call, loops) in (*acts.items(), *empty.items()):
            turns = range(loops)
            begun = clock()
            for _ in turns:
                call()
            best[name] = min(best[name], (clock() - begun) / loops)
    return {name: 1e9 * (best[name] - best[loops]) for name, (_, loops) in acts.items()}


class _Callable:
    def __call__(self, a: int, b: int, /) -> None:
        return None


def _core_call() -> Generator[Any, Any, None]:
    with _exports("add") as (add, _), core_rt.Store(core_rt.Engine()) as other:
        assert isinstance(add, core_rt.Func) and add(3, 4) == 7
        _warm(add, 3, 4)
        function, head = _Callable(), add.head
        pack = struct.Struct("16si12xi12x").pack
        packed = pack(head, 3, 4)
        elsewhere = core_rt.Func.from_python(other, add.type, _combine)  # which owns what the bytes point to
        refused = pack(elsewhere.head, 3, 4)
        other.close()
        ns = yield {
            "whole": (lambda: add(3, 4), _MANY),
            "object": (lambda: function(3, 4), _MANY),
            "pack": (lambda: pack(head, 3, 4), _MANY),
            "outside": (lambda: native.call_int(refused), _MANY),
            "call": (lambda: native.call_int(packed), _MANY),
        }
        yield [
            ("the whole", ns["whole"]),
            ("Python calls an object that has `__call__`", ns["object"]),
            ("`struct` packs the arguments", ns["pack"]),
            ("cffi: argument, errno, the GIL given up and taken back", ns["outside"]),
            ("into the guest and out: fiber, bridge, function", ns["call"] - ns["outside"]),
        ]


def _host_call() -> Generator[Any, Any, None]:
    """A raw host function leaves its values where they are: the difference is what conversions and the function take."""
    sides = _core_sides()
    with core_rt.Store(sides.engine) as store:
        type_ = core_rt.FuncType([core_rt.I32] * 2, [core_rt.I32])
        raw = core_rt.Linker(sides.engine)
        raw.define("host", "combine", core_rt.Func.from_raw(store, type_, lambda values: None))
        converting: Any = sides.linker.instantiate(store, sides.module).exports["loop"]
        plain: Any = raw.instantiate(store, sides.module).exports["loop"]
        context = store.context
        _warm(converting, _LOOP)
        _warm(plain, _LOOP)
        ns = yield {
            "whole": (lambda: converting(_LOOP), _ONE),
            "raw": (lambda: plain(_LOOP), _ONE),
            "function": (lambda: _combine(3, 4), _MANY),
            "resume": (lambda: native.resume_running(context), _MANY),
        }
        whole, without = ns["whole"] / _LOOP, ns["raw"] / _LOOP
        yield [
            ("the whole", whole),
            ("the host's function", ns["function"]),
            ("arguments read, result written and checked", whole - without - ns["function"]),
            ("the C call that resumes (refused here: cffi only)", ns["resume"]),
        ]


def _component_add() -> Generator[Any, Any, None]:
    with rt.Store(_sides(_API).engine) as store:
        add = _api(store).add
        assert add(3, 4) == 7
        _warm(add, 3, 4)

        def checked(a: int, b: int) -> None:
            if type(a) is not int or not 0 <= a <= 0xFFFFFFFF:
                raise TypeError
            if type(b) is not int or not 0 <= b <= 0xFFFFFFFF:
                raise TypeError

        pack, head = struct.Struct("32sI12xI12x").pack, _bound(add, "head")
        packed = pack(head, 3, 4)
        ns = yield {
            "whole": (lambda: add(3, 4), _MANY),
            "checks": (lambda: checked(3, 4), _MANY),
            "pack": (lambda: pack(head, 3, 4), _MANY),
            "call": (lambda: native.lifted_int(packed), _MANY),
        }
        yield [
            ("the whole", ns["whole"]),
            ("a Python function, types and ranges of two arguments", ns["checks"]),
            ("`struct` packs the arguments", ns["pack"]),
            ("the C call, with the flags of two instances", ns["call"]),
        ]


def _short_echo() -> Generator[Any, Any, None]:
    with rt.Store(_sides(_API).engine) as store:
        api, text = _api(store), "hello world 1234"
        echo = api.echo
        assert echo(text) == text and api.add(1, 2) == 3
        _warm(echo, text)
        _warm(api.add, 1, 2)
        outs = [_bound(echo, "make_out")()]
        head, buffer, _ = outs[0]
        data = text.encode()
        pack = struct.Struct("32sI12xI12xI4x").pack
        packed = pack(head, 0, 16, 16) + data
        plain = struct.Struct("32sI12xI12x").pack(_bound(api.add, "head"), 3, 4)
        pop, push = outs.pop, outs.append

        def taken() -> None:
            out = pop()
            _a, _b, _c = out
            push(out)

        def encoded(text: str) -> None:
            if type(text) is str and len(text) < 16384:
                len(text.encode())

        ns = yield {
            "whole": (lambda: echo(text), _MANY),
            "encoded": (lambda: encoded(text), _MANY),
            "taken": (taken, _MANY),
            "pack": (lambda: pack(head, 0, 16, 16) + data, _MANY),
            "plain": (lambda: native.lifted_int(plain), _MANY),
            "call": (lambda: native.lifted_int(packed), _MANY),
            "text": (lambda: buffer[:16].decode(), _MANY),
        }
        yield [
            ("the whole", ns["whole"]),
            ("a Python function, the type of the argument, `encode`", ns["encoded"]),
            ("a buffer for the result, taken and given back", ns["taken"]),
            ("`struct` packs the arguments, the text appended", ns["pack"]),
            ("the C call, as for two integers", ns["plain"]),
            ("`realloc` in the guest, both copies", ns["call"] - ns["plain"]),
            ("a `str` of the result", ns["text"]),
        ]


def _long_echo() -> Generator[Any, Any, None]:
    with rt.Store(_sides(_API).engine) as store:
        echo = _api(store).echo
        assert echo(_LONG) == _LONG
        _warm(echo, "")
        data = _LONG.encode()
        memory = memoryview(bytearray(data))

        def copy() -> None:
            memory[:] = data

        ns = yield {
            "whole": (lambda: echo(_LONG), _FEW),
            "copy": (copy, _FEW),
            "text": (lambda: str(memory, "utf-8"), _FEW),
        }
        yield [
            ("the whole", ns["whole"]),
            ("copied into the guest, from the characters of the `str`", ns["copy"]),
            ("CPython's decoder: checked and copied", ns["text"]),
        ]


def _between_guests() -> Generator[Any, Any, None]:
    texts = {"string": _PAIR, "integers": _PAIR.replace('(param "a" string)', '(param "a" u32) (param "b" u32)')}
    with rt.Store(_sides(_PAIR).engine) as store, rt.Store(_sides(texts["integers"]).engine) as other:
        runs: dict[str, Any] = {}
        for (what, text), each in zip(texts.items(), (store, other)):
            sides = _sides(text)
            runs[what] = sides.linker.instantiate(each, sides.component).exports["run"]
            _warm(runs[what], 10)
        ns = yield {what: ((lambda run=run: run(_LOOP)), _ONE) for what, run in runs.items()}
        string, integers = ns["string"] / _LOOP, ns["integers"] / _LOOP
        yield [
            ("the whole, with the loop around it", string),
            ("stub, flags, the function (as for two integers), loop", integers),
            ("bounds, UTF-8, `realloc`, copy", string - integers),
        ]


def _api(store: rt.Store) -> Any:
    sides = _sides(_API)
    return sides.linker.instantiate(store, sides.component).exports["bench:guest/api"]


def _bound(function: Any, name: str) -> Any:
    """What generated code has bound to a name."""
    return dict(zip(function.__code__.co_freevars, function.__closure__))[name].cell_contents


_PATHS: dict[str, Path] = {
    "core call, add(i32, i32)": _core_call,
    "host call, combine(i32, i32)": _host_call,
    "component call, add(u32, u32)": _component_add,
    "component call, echo of 16 bytes": _short_echo,
    "component call, echo of 300 kB": _long_echo,
    "guest to guest, 16 bytes": _between_guests,
}


def main() -> None:
    """Print the steps of all paths."""
    parser = argparse.ArgumentParser(prog="benchmarks.steps", description="Where the time of a call goes.")
    parser.add_argument("--only", default="", metavar="TEXT", help="paths in whose name this occurs")
    only = parser.parse_args().only
    for name, path in _PATHS.items():
        if only not in name:
            continue
        steps = path()
        acts = next(steps)
        assert isinstance(acts, dict)
        native.stop_ticker()  # nobody answers a guest that a bare C call left at a tick
        rows = steps.send(_measure(acts))
        assert isinstance(rows, list)
        print(f"\n{name}")
        for what, ns in (*rows, ("the rest", rows[0][1] - sum([ns for _, ns in rows[1:]]))):
            print(f"  {what:60} {ns:10.1f} ns")
        steps.close()


if __name__ == "__main__":
    main()
