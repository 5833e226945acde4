"""Generated bindings: their text, what type checker and linter say to them, and their life in a running component."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import component_rt as rt
import wit
from tests.outside import guest
from wit.bindgen import generate
from wit.bindgen.naming import allot, param_names, sort_key

HERE = Path(__file__).parent / "bindings"
ROOT = Path(__file__).parents[2]


def shop() -> wit.Resolve:
    return wit.load(HERE / "shop.wit")


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_text(asynchronous: bool, golden: Callable[[Path, str], None]) -> None:
    golden(HERE / ("shop_async.out" if asynchronous else "shop.out"), generate(shop().world(), asynchronous))


def test_type_checker_and_linter_are_content(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    world = shop().world()
    (tmp_path / "shop.py").write_text(generate(world), encoding="utf-8")
    (tmp_path / "shop_async.py").write_text(generate(world, asynchronous=True), encoding="utf-8")
    users = ("uses_shop.py", "uses_shop_async.py")
    for user in users:
        shutil.copy(HERE / user, tmp_path)
    names = [str(tmp_path / name) for name in ("shop.py", "shop_async.py", *users)]
    config = tmp_path / "mypy.ini"
    config.write_text(f"[mypy]\nmypy_path = {tmp_path}:{ROOT}\nfollow_imports = silent\n", encoding="utf-8")
    output, errors, status = api.run(
        ["--strict", f"--config-file={config}", f"--cache-dir={tmp_path / 'cache'}", *names]
    )
    assert status == 0, output + errors
    if shutil.which("ruff") or importlib.util.find_spec("ruff"):
        select = "--select=B,C4,E4,E7,E9,F,I,PIE,RUF022,UP,W"
        command = [sys.executable, "-m", "ruff", "check", "--isolated", "--target-version=py311", select, *names[:2]]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


def test_names_that_linters_do_not_like(tmp_path: Path) -> None:
    text = "package a:b; interface i { record r { l: u8 } variant v { I, O(u8) } f: func(l: r) -> v; l: func(); } world w { import i; %s }"
    sources = [generate(wit.parse(text % more).world()) for more in ("", "export l: interface { record i { x: u8 } }")]
    assert all(source.startswith("# ruff: noqa: E741") for source in sources)
    if not (shutil.which("ruff") or importlib.util.find_spec("ruff")):
        pytest.skip("no ruff")
    for number, source in enumerate(sources):
        (tmp_path / f"m{number}.py").write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select=E4,E7,E9,F,RUF100", "."]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def load(name: str, text: str, folder: Path) -> ModuleType:
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_classes(tmp_path: Path) -> None:
    module = load("shop_bindings", generate(shop().world()), tmp_path)
    assert module.Price(1, "EUR") == module.Price(amount=1, currency="EUR")
    assert module.Error.NotFound is module.Error_NotFound
    assert module.Error.None_ is module.Error_None
    assert isinstance(module.Error_TooMany(None), module.Error)
    assert module.Error_NotFound("x").label == "not-found"
    assert [member.name for member in module.State] == ["OPEN", "SENT", "FROM_STOCK"]
    assert (module.Rights.READ | module.Rights.WRITE).value == 3
    assert module.ErrorReport(1, "s", ["x"]).self_ == "s"
    assert module.Price.__doc__ == "What a thing costs."


def test_values_of_components_are_of_these_classes(tmp_path: Path) -> None:
    path = guest("kitchen/kitchen_qjs_stub.wasm")
    kitchen = load("kitchen_bindings", generate(wit.load(guest("kitchen/wit")).world()), tmp_path)

    class Log:
        class Sink:
            def __init__(self, name: str) -> None:
                pass

            def write(self, line: str) -> int:
                return 1

            def lines(self) -> list[str]:
                return []

            @staticmethod
            def merge(a: object, b: object) -> object:
                return a

        def tick(self) -> int:
            return 42

    engine = rt.Engine()
    component = rt.Component(engine, path.read_bytes())
    linker = rt.Linker(engine)
    linker.define_unknown_imports_as_traps(component)
    kitchen.define_imports(linker, host_log=Log())
    with rt.Store(engine) as store:
        world = kitchen.Kitchen(linker.instantiate(store, component))
        assert "42" in world.hello("you")
        assert world.api.echo_shape(kitchen.Shape_Circle(1.5)) == kitchen.Shape_Circle(1.5)
        assert isinstance(world.api.echo_shape(kitchen.Shape.Empty()), kitchen.Shape)
        assert world.api.translate([kitchen.Point(1, 2)], kitchen.Point(3, 4)) == [kitchen.Point(4, 6)]
        assert world.api.echo_color(kitchen.Color.BLUE) is kitchen.Color.BLUE
        with pytest.raises(rt.Err) as caught:
            world.api.area(kitchen.Shape_Label("q"))
        assert caught.value.value == kitchen.Problem_NotFound("q")
        with world.counters.Counter(5) as counter:
            assert counter.add(3) == 8


def test_names_are_allotted_alike() -> None:
    wishes = [(1, ["Error", "FilesError"]), (2, ["Error", "StreamsError"]), (3, ["Files"])]
    assert allot(wishes) == {1: "FilesError", 2: "StreamsError", 3: "Files"}
    assert allot([(1, ["A"]), (2, ["A"])]) == {1: "A", 2: "A_"}
    assert allot([(1, ["A"])], taken=["A"]) == {1: "A_"}


def test_parameters_are_python() -> None:
    assert param_names(["self", "from", "a-b"]) == ["self_", "from_", "a_b"]


def test_public_names_are_sorted_as_formatters_do() -> None:
    names = ["define_imports", "Ab10", "Ab2", "CONST", "A"]
    assert sorted(names, key=sort_key) == ["CONST", "A", "Ab2", "Ab10", "define_imports"]


def test_an_empty_world(tmp_path: Path) -> None:
    module = load("empty_bindings", generate(wit.parse("package a:b; world w {}").world()), tmp_path)
    assert module.W(object()) is not None
