"""Damaged binaries never crash the process, hang it, or raise anything outside the `WasmError` family.

    python -m tests.robustness.mutate --count 100000 [--seed 1] [--suite core|component-model]

Each case damages one binary of the conformance suites, or a random module with all that `generate` knows, decodes and validates it and, when it is still valid,
instantiates it under tight limits and calls every export with zeros under a bound of fuel.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

import core_rt

from .corpus import collect, read_corpus, write_corpus
from .differential import EXTRAS
from .generate import generate
from .hosting import define_imports, zero
from .mutation import mutate
from .supervise import Report, add_worker_options, run_worker, supervise

__all__ = ["mutated", "run"]

_FUEL = 20_000
_RANDOM_MODULES = 400
_LIMITS = core_rt.Limits(
    memory_bytes=64 << 20, table_elements=200_000, instances=50, memories=50, tables=50, gc_heap_bytes=16 << 20
)
# A module of a million functions is valid; calling each of them proves nothing.
_MOST_EXPORTS = 20


def _call_exports(instance: core_rt.Instance, store: core_rt.Store) -> str:
    called = 0
    for _, item in list(instance.exports.items())[:_MOST_EXPORTS]:
        if not isinstance(item, core_rt.Func):
            continue
        try:
            arguments = [zero(kind) for kind in item.type.params]
        except LookupError:
            continue
        store.fuel = _FUEL
        called += 1
        try:
            item.call_raw(arguments)
        except core_rt.EngineBug:
            raise
        except core_rt.WasmError:
            pass
    return "called" if called else "instantiated"


def _core_case(engine: core_rt.Engine, data: bytes, eager: bool) -> str:
    """`eager`: all bodies are validated first; else only those that are called, when they are compiled."""
    try:
        module = core_rt.Module(engine, data)
    except core_rt.DecodeError:
        return "malformed"
    except core_rt.ValidationError:
        return "invalid"
    try:
        if eager:
            module.validate()
    except (core_rt.DecodeError, core_rt.ValidationError):
        return "invalid body"
    with core_rt.Store(engine, limits=_LIMITS) as store:
        store.fuel = _FUEL
        linker = core_rt.Linker(engine)
        try:
            if not define_imports(linker, store, module):
                return "valid"
            instance = linker.instantiate(store, module)
        except core_rt.EngineBug:
            raise
        except core_rt.WasmError as error:
            return f"not instantiated: {type(error).__name__}"
        return _call_exports(instance, store)


def _component_case(engine: core_rt.Engine, data: bytes, eager: bool) -> str:
    import component_rt as rt
    from tests.wast.component import FEATURES

    try:
        component = rt.Component(engine, data, FEATURES)
        if eager:
            component.validate()
    except core_rt.DecodeError:
        return "malformed"
    except core_rt.ValidationError:
        return "invalid"
    linker = rt.Linker(engine)
    with rt.Store(engine, limits=_LIMITS) as store:
        store.fuel = _FUEL
        try:
            linker.define_unknown_imports_as_traps(component)
            instance = linker.instantiate(store, component)
            for name in list(instance.exports)[:_MOST_EXPORTS]:
                export = instance.exports[name]
                if callable(export):
                    store.fuel = _FUEL
                    export()
        except core_rt.EngineBug:
            raise
        except (core_rt.WasmError, rt.Err):
            return "stopped"
        except TypeError:
            return "wants arguments"
    return "called"


def mutated(corpus: list[bytes], seed: int, index: int) -> bytes:
    """The binary of a case."""
    return mutate(random.Random(f"{seed}/{index}"), corpus)


def _worker(options: argparse.Namespace) -> None:
    corpus = read_corpus(options.corpus)
    config = core_rt.Config(cache=False, tiers="lazy", consume_fuel=True, max_wasm_stack=256 << 10)
    engine = core_rt.Engine(config)
    case = _core_case if options.suite == "core" else _component_case
    run_worker(options.worker, lambda index: case(engine, mutated(corpus, options.seed, index), index % 2 == 0))


def binaries(suite: str) -> list[bytes]:
    """What is damaged: a suite's binaries, and for the core suite random modules, which have what is in none of its scripts (atomics)."""
    found = collect(suite)
    if suite == "core":
        found += [generate(f"corpus/{i}", **dict.fromkeys(EXTRAS, True)).wasm for i in range(_RANDOM_MODULES)]
    return found


def run(count: int, *, seed: int = 1, suite: str = "core", first: int = 0) -> Report:
    """`count` cases in a worker process; an empty report when the component suite is not here."""
    corpus = binaries(suite)
    if not corpus:
        return Report()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "corpus")
        write_corpus(path, corpus)
        arguments = ["--corpus", str(path), "--seed", str(seed), "--suite", suite]
        return supervise(__spec__.name if __name__ == "__main__" else __name__, arguments, count, first=first)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="index of the first case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--suite", choices=["core", "component-model"], default="core")
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--write", type=Path, help="write the binary of case --first to this file and stop")
    add_worker_options(parser)
    options = parser.parse_args()
    if options.worker:
        _worker(options)
        return 0
    if options.write:
        options.write.write_bytes(mutated(binaries(options.suite), options.seed, options.first))
        return 0
    report = run(options.count, seed=options.seed, suite=options.suite, first=options.first)
    print(report)
    return bool(report.findings) or not report.cases


if __name__ == "__main__":
    sys.exit(main())
