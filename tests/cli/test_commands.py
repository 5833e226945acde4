"""The command line as a person uses it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests import outside

HELLO = """
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\08\\00\\00\\00\\06\\00\\00\\00hello\\n")
  (func (export "_start")
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 100)))
    (call $exit (i32.const 7))))
"""
MATH = """
(module
  (func (export "add") (param i32 i64) (result i64) (i64.add (i64.extend_i32_s (local.get 0)) (local.get 1)))
  (func (export "half") (param f64) (result f64) (f64.mul (local.get 0) (f64.const 0.5)))
  (func (export "two") (result i32 i32) (i32.const 1) (i32.const 2))
  (func (export "trap") unreachable)
  (func (export "spin") (loop (br 0)))
  (func (export "grow") (result i32) (memory.grow (i32.const 1000)))
  (memory (export "memory") 1))
"""
COMPONENT = """
(component
  (core module $m
    (memory (export "memory") 1)
    (global $end (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (global.get $end))
      (global.set $end (i32.add (global.get $end) (i32.and (i32.add (local.get 3) (i32.const 15)) (i32.const -16))))
      (local.get $at))
    (func (export "echo") (param i32 i32) (result i32)
      (i32.store (i32.const 0) (local.get 0))
      (i32.store (i32.const 4) (local.get 1))
      (i32.const 0))
    (func (export "div") (param i32 i32) (result i32)
      (if (result i32) (local.get 1)
        (then (i32.store8 (i32.const 16) (i32.const 0))
              (i32.store (i32.const 20) (i32.div_u (local.get 0) (local.get 1))) (i32.const 16))
        (else (i32.store8 (i32.const 16) (i32.const 1)) (i32.const 16))))
    (func (export "trap") unreachable))
  (core instance $i (instantiate $m))
  (alias core export $i "memory" (core memory $memory))
  (func $echo (param "text" string) (result string)
    (canon lift (core func $i "echo") (memory (core memory $memory)) (realloc (core func $i "realloc"))))
  (func $div (param "a" u32) (param "b" u32) (result (result u32))
    (canon lift (core func $i "div") (memory (core memory $memory))))
  (func $trap (canon lift (core func $i "trap")))
  (instance $api (export "div" (func $div)))
  (export "echo" (func $echo))
  (export "fail" (func $trap))
  (export "local:demo/api@1.2.0" (instance $api)))
"""


def test_help_names_every_command(component_rt: Any) -> None:
    outcome = component_rt("--help")
    assert outcome.code == 0
    for command in ("run", "serve", "compile", "validate", "inspect", "wit", "bindgen"):
        assert f"\n  {command} " in outcome.out
        assert component_rt(command, "--help").code == 0


@pytest.mark.parametrize("words", [["--help"], ["serve", "--help"]])
def test_nothing_is_loaded_that_is_not_needed(words: list[str]) -> None:
    code = f"""
import sys
from component_rt.cli.commands import cli
try:
    cli.main({words!r})
finally:
    print([name for name in ("core_rt", "llvmlite", "trio", "rich", "component_rt.wasi") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "[]", done


def test_running_a_core_program(component_rt: Any, wasm: Any) -> None:
    assert component_rt("run", wasm(HELLO)) == (7, "hello\n", "")


def test_invoking_core_functions(component_rt: Any, wasm: Any) -> None:
    path = wasm(MATH)
    assert component_rt("run", "--invoke", "add(-1, 0x10)", path) == (0, "15\n", "")
    assert component_rt("run", "--invoke", "half(3)", path).out == "1.5\n"
    assert component_rt("run", "--invoke", "two", path).out == "1\n2\n"
    outcome = component_rt("run", "--invoke", "ad(1, 2)", path)
    assert outcome.code == 1 and "did you mean `add`?" in outcome.err
    outcome = component_rt("run", "--invoke", "add(1)", path)
    assert outcome.code == 1 and "error:" in outcome.err
    assert "no WASI command" in component_rt("run", path).err


def test_traps_and_limits_have_codes_of_their_own(component_rt: Any, wasm: Any) -> None:
    path = wasm(MATH)
    outcome = component_rt("run", "--invoke", "trap", path)
    assert outcome.code == 134 and outcome.err.startswith("trap: unreachable")
    outcome = component_rt("run", "--fuel", "10000", "--invoke", "spin", path)
    assert outcome.code == 134 and "all fuel consumed" in outcome.err
    assert component_rt("run", "--max-memory", "1MiB", "--invoke", "grow", path).out == "-1\n"
    assert component_rt("run", "--max-memory", "1g", "--invoke", "grow", path).out == "1\n"


def test_the_timeout_stops_guests_that_spin(component_rt: Any, wasm: Any) -> None:
    start = time.monotonic()
    outcome = component_rt("run", "--timeout", "100ms", "--invoke", "spin", wasm(MATH))
    assert outcome.code == 124 and "stopped after 0.1 s" in outcome.err
    assert time.monotonic() - start < 5


def test_invoking_functions_of_components(component_rt: Any, wasm: Any) -> None:
    path = wasm(COMPONENT)
    assert component_rt("run", "--invoke", 'echo("a \\"quoted\\" ☃")', path) == (0, '"a \\"quoted\\" ☃"\n', "")
    for name in ("div", "api#div", "local:demo/api#div", "local:demo/api@1.2.0#div"):
        assert component_rt("run", "--invoke", f"{name}(7, 2)", path) == (0, "ok(3)\n", "")
    assert component_rt("run", "--invoke", "div(1, 0)", path) == (1, "err\n", "")
    outcome = component_rt("run", "--invoke", "div(1, -1)", path)
    assert outcome.code == 1 and "-1 is out of range for u32" in outcome.err and "^" in outcome.err
    assert component_rt("run", "--invoke", "fail", path).code == 134
    assert "exports no wasi:cli/run" in component_rt("run", path).err
    assert "did you mean `echo`?" in component_rt("run", "--invoke", "ecko", path).err


def test_imports_that_nobody_gives(component_rt: Any) -> None:
    guests = Path(__file__).parents[2] / "examples" / "guest"
    for path, call, result in (
        (guests / "greeter.wasm", 'hello("you")', '"Hello, you!"\n'),
        (guests / "primes.wasm", "primes(2)", "0\n"),
    ):
        outcome = component_rt("run", "--invoke", call, path)
        assert outcome.code == 1 and "unknown import" in outcome.err and "--unknown-imports-trap" in outcome.err
        assert component_rt("run", "--unknown-imports-trap", "--invoke", call, path) == (0, result, "")
    greet = 'greet({name: "you", age: 3})'
    outcome = component_rt("run", "--unknown-imports-trap", "--invoke", greet, guests / "greeter.wasm")
    assert outcome.code == 134 and "unknown import called: `example:greeter/log" in outcome.err


def test_calls_are_checked_before_the_guest_runs(component_rt: Any) -> None:
    guests = Path(__file__).parents[2] / "examples" / "guest"
    path = guests / "greeter.wasm"
    outcome = component_rt("run", "--invoke", "counter(1)", path)
    assert outcome.code == 1
    assert "it exports greet, hello, greet-all\nMethods and constructors of resources" in outcome.err
    outcome = component_rt("run", "--invoke", 'greet({name: "you"})', path)
    assert outcome.code == 1 and "field `age` (u8) is missing" in outcome.err
    assert "try `component-rt serve`" in component_rt("run", guests / "web.wasm").err
    assert "Did you mean '--dir'" in component_rt("run", "--dri", "x", path).err


def test_wrong_usage(component_rt: Any, wasm: Any, tmp_path: Path) -> None:
    path = wasm(MATH)
    for option, value, said in (
        ("--dir", "/no/such/dir", "is no directory"),
        ("--dir", f"{tmp_path}::", "is empty"),
        ("--dir", "a::b::c::d", "wanted HOST"),
        ("--env", "=x", "wanted NAME=VALUE"),
        ("--env", "NOT_SET_ANYWHERE", "is not set here"),
        ("--timeout", "soon", "wanted a duration"),
        ("--max-memory", "1 furlong", "wanted a size"),
        ("--fuel", "-1", "-1"),
        ("--network", "all", "none"),
    ):
        outcome = component_rt("run", option, value, path)
        assert outcome.code == 2 and said in outcome.err, (option, value, outcome)
    assert component_rt("run", "/no/such/file").code == 2
    assert component_rt("frobnicate").code == 2


def test_files_that_are_no_wasm(component_rt: Any, tmp_path: Path) -> None:
    text = tmp_path / "a.wat"
    text.write_text("(module)")
    outcome = component_rt("run", text)
    assert outcome.code == 1 and "text format" in outcome.err
    broken = tmp_path / "b.wasm"
    broken.write_bytes(b"\0asm\1\0\0\0\xff\xff")
    for command in ("run", "inspect", "compile"):
        outcome = component_rt(command, broken)
        assert outcome.code == 1 and outcome.err.startswith("error:"), command


def test_validate(component_rt: Any, wasm: Any, tmp_path: Path) -> None:
    module, component = wasm(MATH), wasm(COMPONENT, "c.wasm")
    broken = tmp_path / "b.wasm"
    broken.write_bytes(module.read_bytes()[:-3])
    assert component_rt("validate", module, component).out.splitlines() == [
        f"{module}: valid module",
        f"{component}: valid component",
    ]
    outcome = component_rt("validate", "--json", module, broken)
    first, second = json.loads(outcome.out)
    assert outcome.code == 1 and first["valid"] and not second["valid"] and second["error"]
    assert "(at offset 0x" in component_rt("validate", broken).err


def test_inspect(component_rt: Any, wasm: Any) -> None:
    found = json.loads(component_rt("inspect", "--json", wasm(MATH)).out)
    assert found["kind"] == "module" and found["imports"] == []
    assert {"name": "add", "type": "(func [i32 i64] -> [i64])"} in found["exports"]
    path = wasm(COMPONENT)
    found = json.loads(component_rt("inspect", "--json", path).out)
    assert found["kind"] == "component" and len(found["core_modules"]) == 1
    assert found["exports"][2]["functions"] == {"div": "func(a: u32, b: u32) -> result<u32>"}
    shown = component_rt("inspect", path).out
    assert "echo: func(text: string) -> string" in shown and "local:demo/api@1.2.0" in shown


def test_wit_and_bindings(component_rt: Any, wasm: Any, tmp_path: Path) -> None:
    path = wasm(COMPONENT)
    text = component_rt("wit", path).out
    assert "export echo: func(text: string) -> string;" in text and "interface api" in text
    source = tmp_path / "world.wit"
    source.write_text("package local:demo; world app { export run: func(times: u8) -> string; }")
    assert "export run: func(times: u8) -> string;" in component_rt("wit", source).out
    binary = tmp_path / "package.wasm"
    assert component_rt("wit", source, "--binary", binary).code == 0
    assert binary.read_bytes()[:4] == b"\0asm"
    for what in (source, path):
        code = component_rt("bindgen", what).out
        compile(code, "bindings", "exec")
    written = tmp_path / "bindings.py"
    assert component_rt("bindgen", source, "-o", written).code == 0
    assert "local:demo/app" in written.read_text()
    source.write_text("package local:demo; world app { export run: func(times: u9); }")
    outcome = component_rt("wit", source)
    assert outcome.code == 1 and "u9" in outcome.err and "^" in outcome.err


def test_compile_fills_the_cache(component_rt: Any, wasm: Any) -> None:
    outcome = component_rt("compile", wasm(MATH))
    assert outcome.code == 0 and "compiled in" in outcome.out


def test_as_a_module_of_python(wasm: Any) -> None:
    done = subprocess.run([sys.executable, "-m", "component_rt", "run", wasm(HELLO)], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (7, b"hello\n")


def test_interrupting_a_guest_that_spins(wasm: Any) -> None:
    command = [sys.executable, "-m", "component_rt", "run", "--invoke", "spin", wasm(MATH)]
    for seconds in (1, 4, 16):  # until the guest is running, on however busy a machine
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        if process.returncode == 130:
            break
    assert process.returncode == 130 and "interrupted" in err


def test_without_standard_streams(wasm: Any) -> None:
    """A daemon may have none: the guest runs all the same."""
    command = f"exec {sys.executable} -m component_rt run {wasm(HELLO)} <&- >&-"
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, check=False)
    assert done.returncode == 7, done.stderr


@pytest.mark.parametrize("name", ["c/cmd_p1.wasm", "c/cmd_p2.wasm"])
def test_a_real_program(component_rt: Any, tmp_path: Path, name: str) -> None:
    guest = outside.guest(name)
    box = tmp_path / "box"
    box.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (box / "in.txt").write_text("l1\n")

    def run(*args: str, mode: str = "rw") -> Any:
        return component_rt("run", "--dir", f"{box}::/d::{mode}", "--env", "A=b", guest, *args)

    outcome = run("hello", "--flag")
    assert outcome.code == 0 and "arg 2: --flag" in outcome.out and "env A=b" in outcome.out
    assert "to stderr" in outcome.err
    assert run("cat", "/d/in.txt").out.endswith("l1\n")
    assert run("write", "/d/new", "data").code == 0 and (box / "new").read_text() == "data"
    assert "f 4 new" in run("ls", "/d").out
    for path in ("/d/../secret.txt", "/etc/passwd", "../secret.txt"):
        outcome = run("cat", path)
        assert outcome.code != 0 and "secret" not in outcome.out.replace(path, "")
    outcome = run("write", "/d/other", "data", mode="ro")
    assert outcome.code != 0 and "open:" in outcome.out and not (box / "other").exists()
