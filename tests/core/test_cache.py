"""The code cache: whole files or none, never a failure."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

import core_rt
from core_rt.compile import ahead
from core_rt.compile.cache import PAGE, CodeCache, entry_key
from tests.core.support import World, wasm

KEY = entry_key(b"module", "config")


@pytest.fixture
def cache(tmp_path):
    return CodeCache(tmp_path / "cache")


def _only_file(cache):
    [file] = Path(cache.folder).glob("??/*")
    return file


def test_what_is_put_can_be_got(cache):
    assert cache.get(KEY) is None
    assert cache.put(KEY, b"code")
    assert cache.get(KEY) == b"code"
    assert CodeCache(cache.folder).get(KEY) == b"code"
    assert cache.statistics()["hits"] == 1


def test_parts_do_not_run_together():
    assert entry_key("ab", "c") != entry_key("a", "bc")


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-1], lambda d: d[:10], lambda d: b"x" + d[1:], lambda d: d[:-1] + b"\xff", lambda d: b""]
)
def test_a_damaged_file_is_a_miss_and_goes_away(cache, damage):
    cache.put(KEY, b"code" * 10)
    file = _only_file(cache)
    file.write_bytes(damage(file.read_bytes()))
    assert cache.get(KEY) is None
    assert not file.exists()
    assert cache.statistics()["refused"] == 1
    assert cache.put(KEY, b"again")
    assert cache.get(KEY) == b"again"


def test_a_file_under_another_name_is_refused(cache):
    other = entry_key("other")
    cache.put(other, b"other code")
    name = KEY.hex()
    target = Path(cache.folder, name[:2])
    target.mkdir(exist_ok=True)
    os.replace(_only_file(cache), target / f"{name[2:]}.code")
    assert cache.get(KEY) is None


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    cache = CodeCache(folder)
    assert not cache.put(KEY, b"code")
    assert cache.get(KEY) is None
    assert cache.statistics()["errors"] == 1


def test_a_folder_that_cannot_be_made_is_no_failure(tmp_path):
    (tmp_path / "file").write_text("")
    cache = CodeCache(tmp_path / "file" / "below")
    assert not cache.put(KEY, b"code")
    assert cache.get(KEY) is None


def test_the_least_recently_used_go_first(cache):
    cache.max_bytes = 3 * (PAGE + 200)
    keys = [entry_key(str(i)) for i in range(4)]
    for age, key in enumerate(keys[:3]):
        cache.put(key, bytes(800))
        path = cache._path(key)
        os.utime(path, (1000 + age, 1000 + age))
    assert cache.get(keys[0]) is not None  # used again: now the newest
    cache.put(keys[3], bytes(800))
    assert cache.get(keys[1]) is None
    assert cache.get(keys[0]) is not None
    assert cache.get(keys[3]) is not None


def test_many_writers(cache):
    contents = os.urandom(100_000)
    failures = []

    def work():
        mine = CodeCache(cache.folder)
        for _ in range(20):
            mine.put(KEY, contents)
            found = mine.get(KEY)
            if found is not None and found != contents:
                failures.append(found)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert cache.get(KEY) == contents
    assert len(list(Path(cache.folder).glob("??/*"))) == 1


MODULE = """(module (import "host" "log" (func $log (param i32)))
  (func $fib (export "fib") (param i32) (result i32)
    (if (result i32) (i32.lt_u (local.get 0) (i32.const 2)) (then (local.get 0))
      (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1))) (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
  (func $bad unreachable) (func (export "bad") call $bad))"""


def _run(config):
    world = World(config)
    world.host("log", lambda n: None, "i32")
    exports = world.load(MODULE)
    return world, exports


@pytest.mark.parametrize("tiers", ["lazy", "optimized"])
def test_a_second_engine_compiles_nothing(tmp_path, tiers):
    folder = tmp_path / "code"
    core_rt.Engine(core_rt.Config(cache=folder)).precompile(wasm(MODULE))
    world, exports = _run(core_rt.Config(cache=folder, tiers=tiers))
    assert exports["fib"](15) == 610
    with pytest.raises(core_rt.Trap) as caught:
        exports["bad"]()
    assert wasm(MODULE)[caught.value.frames[0].offset] == 0
    assert world.engine.cache.hits == 1
    [instance] = world.store.instances
    assert instance.module.compiled.statistics()["quick_functions"] == 0


def test_code_of_another_config_is_not_used(tmp_path):
    folder = tmp_path / "code"
    core_rt.Engine(core_rt.Config(cache=folder)).precompile(wasm(MODULE))
    world, exports = _run(core_rt.Config(cache=folder, consume_fuel=True))
    world.store.fuel = 100_000
    assert exports["fib"](10) == 55
    assert world.store.fuel < 100_000
    assert world.engine.cache.hits == 0


def test_workers_compile_the_chunks_of_a_large_module(tmp_path, monkeypatch):
    monkeypatch.setattr(ahead, "_CHUNK_BYTES", 60)
    monkeypatch.setattr(ahead, "_ONE_CHUNK", 100)
    functions = "".join(
        f'(func (export "f{i}") (param i32) (result i32) (i32.add (local.get 0) (call {max(0, i - 1)} (i32.const {i}))))'
        if i
        else '(func (export "f0") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3)))'
        for i in range(40)
    )
    text = f"(module {functions})"
    steps = []
    folder = tmp_path / "code"
    core_rt.Engine(core_rt.Config(cache=folder)).precompile(wasm(text), lambda *step: steps.append(step))
    assert steps == [(done, len(steps)) for done in range(1, len(steps) + 1)] and len(steps) > 3
    world = World(core_rt.Config(cache=folder))
    exports = world.load(text)
    assert exports["f39"](1) == 1 + sum(range(2, 40)) + 3
    assert world.engine.cache.hits == 1


def test_an_invalid_body_in_a_large_module_is_reported_as_such(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(ahead, "_CHUNK_BYTES", 60)
    monkeypatch.setattr(ahead, "_ONE_CHUNK", 100)
    function = "(func (param i32) (result i32) (i32.add (local.get 0) (i32.mul (local.get 0) (i32.const 77777))))"
    data = bytearray(wasm(f"(module {function * 40})"))
    data[data.rindex(b"\x41\xd1\xdf\x04")] = 0x43  # f32.const, whose immediate has four bytes
    with pytest.raises(core_rt.WasmError):
        core_rt.Engine(core_rt.Config(cache=tmp_path / "code")).precompile(data)
    assert "Traceback" not in capfd.readouterr().out


def test_modules_of_a_component_share_progress(tmp_path):
    one, two = [f'(core module (func (export "f") (result i32) (i32.const {i})))' for i in range(2)]
    steps = []
    engine = core_rt.Engine(core_rt.Config(cache=tmp_path / "code"))
    for expected in ([(1, 3), (2, 3), (3, 3)], [(1, 3), (2, 3), (3, 3)]):
        steps.clear()
        engine.precompile(wasm(f"(component {one} {two} {one})"), lambda *step: steps.append(step))
        assert steps == expected
    assert engine.cache.statistics()["entries"] == 2


def test_functions_too_large_to_optimise_are_compiled_ahead_too(tmp_path, monkeypatch):
    monkeypatch.setattr("core_rt.compile.writer._OPTIMISED_MOST", 8)
    config = core_rt.Config(cache=tmp_path / "code")
    core_rt.Engine(config).precompile(wasm(MODULE))
    world, exports = _run(config)
    assert exports["fib"](15) == 610
    [instance] = world.store.instances
    assert instance.module.compiled.statistics()["quick_functions"] == 0
    with pytest.raises(core_rt.Trap) as caught:
        exports["bad"]()
    assert wasm(MODULE)[caught.value.frames[0].offset] == 0


def test_hot_code_adds_up_from_process_to_process(tmp_path):
    config = core_rt.Config(cache=tmp_path / "code")
    for functions in ([0], [1], []):
        engine = core_rt.Engine(config)
        compiled = core_rt.Module(engine, wasm(MODULE)).compiled
        before = [entry for entry in range(compiled.count) if compiled.is_compiled(entry)]
        if functions:
            ahead.keep_hot(compiled, [compiled.optimise(functions)])
        else:
            assert before == [0, 1]
        compiled.close()


def test_the_size_is_bounded_without_a_look_at_every_put(cache, monkeypatch):
    cache.max_bytes = 1 << 20
    looks = []
    evict = CodeCache._evict
    monkeypatch.setattr(CodeCache, "_evict", lambda self: looks.append(evict(self)))
    monkeypatch.setattr("core_rt.compile.cache._LOOK_AT_ONCE", 0)
    for i in range(600):
        cache.put(entry_key(str(i)), bytes(1500))
    assert 150 < len(looks) < 250
    assert cache.statistics()["bytes"] <= cache.max_bytes + 3 * 8192
    monkeypatch.setattr("core_rt.compile.cache._LOOK_AT_ONCE", 256)
    cache.put(entry_key("one more"), b"")
    assert cache.statistics()["bytes"] <= cache.max_bytes
