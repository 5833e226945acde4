"""Linked code: what the cache keeps of an optimised module, and a start that only maps it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import core_rt
from core_rt.compile import CompiledModule, Compiler
from core_rt.compile.cache import CodeCache, entry_key
from core_rt.compile.linked import LinkedCode, link
from core_rt.compile.stored import StoredUnit
from core_rt.errors import EngineBug
from core_rt.native import CodeArena
from tests.core.support import World, wasm

MODULE = """(module (table funcref (elem $one $two)) (type $t (func (param i32) (result i32)))
  (func $one (type $t) (i32.add (local.get 0) (i32.const 1)))
  (func $two (type $t) (i32.mul (local.get 0) (i32.const 2)))
  (func (export "pick") (param i32 i32) (result i32) (call_indirect (type $t) (local.get 1) (local.get 0)))
  (func $bad (param i32) (result i32)
    (if (result i32) (i32.eqz (local.get 0)) (then unreachable) (else (i32.div_u (i32.const 7) (local.get 0)))))
  (func (export "switch") (param i32) (result i32)
    (block (block (block (block (block (br_table 0 1 2 3 4 (local.get 0))) (return (i32.const 17))) (return (i32.const 4)))
      (return (i32.const 99))) (return (i32.const -5))) (call $bad (i32.sub (local.get 0) (i32.const 4)))))"""
KEY = entry_key("linked")


@pytest.fixture
def compiled():
    module = core_rt.Module(core_rt.Engine(core_rt.Config(cache=False)), wasm(MODULE))
    yield module.compiled
    module.compiled.close()


def _units(compiled: CompiledModule) -> list[StoredUnit]:
    return [compiled.optimise([0, 1]), compiled.optimise([2, 3, 4])]


def _linked(compiled: CompiledModule) -> bytes:
    return b"".join(link(_units(compiled), compiled.count))


@pytest.mark.parametrize("mapped", [True, False])
def test_every_function_is_entered_and_known(compiled, tmp_path, mapped):
    (tmp_path / "code").write_bytes(_linked(compiled))
    fd = os.open(tmp_path / "code", os.O_RDONLY)
    code = LinkedCode(memoryview((tmp_path / "code").read_bytes()))
    assert code.units == 2
    compiled.enter_linked(code, fd if mapped else None)
    os.close(fd)
    assert all(compiled.is_compiled(entry) for entry in range(compiled.count))
    starts = [compiled._table[entry] for entry in range(compiled.count)]
    assert [compiled.lookup(at)[0] for at in starts] == list(range(compiled.count))
    assert compiled.lookup(code.address - 1) is None
    assert compiled.lookup(code.address + code.size) is None


@pytest.mark.parametrize("size", ["small", "mapped"])
def test_warm_start_runs_and_knows_where_it_trapped(tmp_path, monkeypatch, size):
    if size == "mapped":
        monkeypatch.setattr("core_rt.compile.cache._MAPPED_FROM", 1)
    config = core_rt.Config(cache=tmp_path / "code")
    core_rt.Engine(config).precompile(wasm(MODULE))
    world = World(config)
    exports = world.load(MODULE)
    assert [exports["pick"](i, 10) for i in range(2)] == [11, 20]
    assert [exports["switch"](i) for i in range(4)] == [17, 4, 99, -5]
    assert exports["switch"](5) == 7
    with pytest.raises(core_rt.Trap) as caught:
        exports["switch"](4)
    frame = caught.value.frames[0]  # of what may have been inlined
    assert (wasm(MODULE)[frame.offset], frame.function, frame.name) == (0, 3, "bad")
    [instance] = world.store.instances
    assert instance.module.compiled.statistics()["quick_functions"] == 0


def test_code_that_cannot_be_mapped_is_copied(compiled, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(CodeArena, "map", refuse)
    code = LinkedCode(memoryview(_linked(compiled)))
    compiled.enter_linked(code, 0)
    assert compiled.is_compiled(0)


def test_a_file_that_is_no_code_cannot_be_mapped(tmp_path):
    arena = CodeArena()
    with pytest.raises(OSError):
        arena.map(-1, 0, 4096)
    arena.close()
    with pytest.raises(EngineBug):
        arena.map(-1, 0, 4096)


def test_addresses_in_code_are_completed():
    text = """@table = internal constant [2 x ptr] [ptr @f0, ptr @f1]
define hidden i32 @f0() { ret i32 1 }
define hidden i32 @f1() { ret i32 2 }
define hidden ptr @f2(i64 %i) { %p = getelementptr ptr, ptr @table, i64 %i
 %v = load volatile ptr, ptr %p
 ret ptr %v }"""
    compiler = Compiler(core_rt.Config(cache=False))
    unit = StoredUnit(compiler.jit.compile(text, optimise=True), frozenset())
    code = LinkedCode(memoryview(b"".join(link([unit, unit], 3))))
    assert len(code._absolute) == 4
    arena = CodeArena()
    code.load(arena, None)
    [(start, used)] = arena.ranges
    assert start == code.address and used >= code.size
    import ctypes

    block = ctypes.string_at(code.address, code.size)
    for at in code._absolute:
        target = int.from_bytes(block[at : at + 8], "little")
        assert code.address <= target < code.address + code.size
    arena.close()
    compiler.close()


@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: d + b"x", lambda d: b"", lambda d: b"x" + d[1:]])
def test_other_contents_are_refused(compiled, damage):
    with pytest.raises(ValueError):
        LinkedCode(memoryview(damage(_linked(compiled))))


def test_code_of_a_module_with_other_functions_is_refused(compiled):
    code = LinkedCode(memoryview(b"".join(link(_units(compiled), compiled.count + 1))))
    with pytest.raises(ValueError):
        compiled.enter_linked(code, None)


def test_a_file_of_somebody_else_is_refused(tmp_path):
    cache = CodeCache(tmp_path / "cache")
    cache.put(KEY, bytes(10))
    [file] = Path(cache.folder).glob("??/*")
    file.chmod(0o666)
    assert cache.get(KEY) is None
    assert cache.statistics()["refused"] == 1
    cache.put(KEY, bytes(10))
    target = tmp_path / "elsewhere"
    os.replace(file, target)
    file.symlink_to(target)
    assert cache.get(KEY) is None


def test_what_a_crashed_writer_left_goes_away(tmp_path, monkeypatch):
    monkeypatch.setattr("core_rt.compile.cache._LOOK_AT_ONCE", 256)
    cache = CodeCache(tmp_path / "cache")
    cache.put(KEY, b"x")
    [file] = Path(cache.folder).glob("??/*")
    old, new = file.parent / "new-old", file.parent / "new-new"
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    os.utime(old, (1000, 1000))
    cache.put(KEY, b"x")
    assert not old.exists()
    assert new.exists()


def test_mapped_contents_outlive_their_file(tmp_path, monkeypatch):
    monkeypatch.setattr("core_rt.compile.cache._MAPPED_FROM", 1)
    cache = CodeCache(tmp_path / "cache")
    data = os.urandom(20_000)
    cache.put(KEY, [data[:7], data[7:]])
    entry = cache.open(KEY)
    assert entry.mapped
    contents = entry.contents
    del entry
    for file in Path(cache.folder).glob("??/*"):
        file.unlink()
    assert contents == data


def test_a_warm_start_compiles_nothing(tmp_path, monkeypatch):
    config = core_rt.Config(cache=tmp_path / "code")
    core_rt.Engine(config).precompile(wasm(MODULE))
    world = World(config)
    exports = world.load(MODULE)
    monkeypatch.setattr(Compiler, "jit", property(lambda self: pytest.fail("LLVM is needed")))
    assert exports["pick"](1, 21) == 42 and exports["switch"](7) == 2
    assert world.engine.cache.hits == 1
    world.engine.compiler.close()


TAILS = """(module (type $t (func (param i32 i64) (result i64))) (table funcref (elem $plain $loop))
  (func $plain (type $t) (i64.add (i64.extend_i32_u (local.get 0)) (local.get 1)))
  (func $loop (export "loop") (type $t)
    (if (i32.eqz (local.get 0)) (then (return_call $plain (i32.const 7) (local.get 1))))
    (return_call $loop (i32.sub (local.get 0) (i32.const 1)) (i64.add (local.get 1) (i64.const 2))))
  (func (export "any") (param i32) (result i64)
    (return_call_indirect (type $t) (i32.const 5) (i64.const 1) (local.get 0))))"""


def test_tail_calls_find_entries_that_were_made_ahead(tmp_path, monkeypatch):
    config = core_rt.Config(cache=tmp_path / "code")
    core_rt.Engine(config).precompile(wasm(TAILS))
    world = World(config)
    exports = world.load(TAILS)
    monkeypatch.setattr(Compiler, "jit", property(lambda self: pytest.fail("LLVM is needed")))
    assert exports["loop"](1000, 0) == 2007
    assert [exports["any"](i) for i in range(2)] == [6, 18]
    world.engine.compiler.close()


LARGE_DATA = '(module (memory (export "mem") 3) (data (i32.const 70000) "{}") (data (i32.const 8) "head") (data "passive"))'.format(
    "ab" * 33000
)


def test_images_of_memories_come_from_the_cache(tmp_path, monkeypatch):
    config = core_rt.Config(cache=tmp_path / "code")
    for attempt in range(3):
        world = World(config)
        if attempt:
            monkeypatch.setattr(core_rt.Module, "_new_images", lambda *_: pytest.fail("the image is made again"))
        memory = world.load(LARGE_DATA)["mem"]
        assert bytes(memory.read(8, 4)) == b"head" and bytes(memory.read(70000 + 65996, 5)) == b"abab\0"
        assert not any(memory.read(70000 + 66000, 3 * 65536 - 136000))
        memory.write(8, b"gone")
        assert bytes(world.load(LARGE_DATA)["mem"].read(8, 4)) == b"head"
