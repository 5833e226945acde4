"""Runs core scripts: one store and one linker per script, as its modules are linked with each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

import core_rt

from .script import (
    Action,
    AssertModule,
    AssertOutcome,
    AssertReturn,
    Command,
    Define,
    Instantiate,
    ModuleSource,
    Register,
    load_script,
)
from .tally import CommandFailed, Tally, same_text
from .values import Pattern, parse_value

__all__ = ["define_spectest", "run_core_script"]

_OUTCOMES: dict[str, tuple[type[BaseException], ...]] = {
    "trap": (core_rt.Trap,),
    "exhaustion": (core_rt.Trap, core_rt.ExhaustionError),
    "exception": (core_rt.GuestException,),
    "malformed": (core_rt.DecodeError, core_rt.ValidationError),
    "invalid": (core_rt.DecodeError, core_rt.ValidationError),
    "unlinkable": (core_rt.LinkError,),
}


def define_spectest(linker: core_rt.Linker, store: core_rt.Store) -> None:
    """The host module that the suite's scripts import from."""
    i32, i64, f32, f64 = core_rt.I32, core_rt.I64, core_rt.F32, core_rt.F64
    for name, params in {
        "print": [],
        "print_i32": [i32],
        "print_i64": [i64],
        "print_f32": [f32],
        "print_f64": [f64],
        "print_i32_f32": [i32, f32],
        "print_f64_f64": [f64, f64],
    }.items():
        linker.define_func("spectest", name, core_rt.FuncType(params, []), lambda *_: None)
    for name, content, value in (
        ("global_i32", i32, 666),
        ("global_i64", i64, 666),
        ("global_f32", f32, 666.6),
        ("global_f64", f64, 666.6),
    ):
        linker.define("spectest", name, core_rt.Global(store, core_rt.GlobalType(content), value))
    for name, is64 in (("table", False), ("table64", True)):
        table = core_rt.Table(store, core_rt.TableType(core_rt.FUNCREF, 10, 20, is64=is64), None)
        linker.define("spectest", name, table)
    linker.define("spectest", "memory", core_rt.Memory(store, core_rt.MemoryType(min=1, max=2)))


@attrs.define(eq=False)
class CoreRunner:
    """State of one script."""

    engine: core_rt.Engine
    tally: Tally
    store: core_rt.Store = attrs.field(init=False)
    linker: core_rt.Linker = attrs.field(init=False)
    current: core_rt.Instance | None = None
    named: dict[str, core_rt.Instance] = attrs.field(factory=dict)
    definitions: dict[str | None, core_rt.Module] = attrs.field(factory=dict)
    """By name; None: the latest one."""

    def __attrs_post_init__(self) -> None:
        self.linker = core_rt.Linker(self.engine)
        self.store = core_rt.Store(self.engine)
        define_spectest(self.linker, self.store)

    def run(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if isinstance(command, AssertModule) and command.outcome == "malformed" and command.module.form != "binary":
                continue  # tests a text parser
            try:
                self.step(command)
            except CommandFailed as failure:
                self.tally.record(command.line, str(failure))
            except Exception as error:  # whatever it is, it is no answer to this command
                first = (str(error).splitlines() or [""])[0]
                self.tally.record(command.line, f"{type(error).__name__}: {first}")
            else:
                self.tally.record(command.line, None)

    def step(self, command: Command) -> None:
        match command:
            case Instantiate():
                self.current = None  # so that nothing that follows a failure speaks to the instance before
                self.current = self.start(command.source)
                if command.name:
                    self.named[command.name] = self.current
            case Define():
                module = self.load(command.source)
                self.definitions[command.name] = self.definitions[None] = module
            case Register():
                self.linker.define_instance(command.as_name, self.instance(command.instance))
            case Action():
                self.act(command)
            case AssertReturn():
                self.assert_return(command)
            case AssertOutcome():
                self.assert_outcome(command)
            case AssertModule():
                self.assert_module(command)
            case _:
                raise CommandFailed(f"nothing runs {command!r}")

    def load(self, source: ModuleSource, *, validate: bool = False) -> core_rt.Module:
        if source.wasm is None:
            raise CommandFailed(f"the script's module does not encode: {source.error}")
        module = core_rt.Module(self.engine, source.wasm)
        if validate:
            module.validate()
        return module

    def start(self, source: ModuleSource | str | None) -> core_rt.Instance:
        if isinstance(source, ModuleSource):
            module = self.load(source)
        elif source in self.definitions:
            module = self.definitions[source]
        else:
            raise CommandFailed(f"no module definition {source or ''}")
        return self.linker.instantiate(self.store, module)

    def instance(self, name: str | None) -> core_rt.Instance:
        instance = self.named.get(name) if name else self.current
        if instance is None:
            raise CommandFailed(f"no instance {name or ''}")
        return instance

    def act(self, action: Action) -> list[object]:
        export = self.instance(action.instance).exports[action.field]
        if action.arguments is None:
            assert isinstance(export, core_rt.Global)
            return [export.raw]
        assert isinstance(export, core_rt.Func)
        arguments: list[Pattern] = list(action.arguments)  # type: ignore[arg-type]
        return list(export.call_raw([argument.raw for argument in arguments]))

    def assert_return(self, command: AssertReturn) -> None:
        got = self.act(command.action)
        wanted: Sequence[Pattern] = command.expected  # type: ignore[assignment]
        if len(got) != len(wanted) or not all(pattern.accepts(value) for pattern, value in zip(wanted, got)):
            raise CommandFailed(f"{command.action.field}: got {got}, wanted {list(wanted)}")

    def assert_outcome(self, command: AssertOutcome) -> None:
        subject, kinds = command.subject, _OUTCOMES[command.outcome]
        try:
            if isinstance(subject, Action):
                result: object = self.act(subject)
            else:
                result = self.start(subject)
        except kinds as error:
            # texts of traps are part of our interface; a GuestException has no wording
            if command.text and isinstance(error, core_rt.WasmError) and not same_text(command.text, str(error)):
                raise CommandFailed(f"trapped with {str(error)!r}, wanted {command.text!r}") from None
            return
        raise CommandFailed(f"no {command.outcome}, but {result!r}")

    def assert_module(self, command: AssertModule) -> None:
        try:
            if command.outcome == "unlinkable":
                self.start(command.module)
            else:
                self.load(command.module, validate=True)
        except _OUTCOMES[command.outcome] as error:
            self.tally.compare_text(command.line, command.text, str(error))
            return
        raise CommandFailed(f"accepted, but it is {command.outcome}: {command.text}")


def run_core_script(path: Path, engine: core_rt.Engine) -> Tally:
    """Every countable command of a script. Text-form `assert_malformed` tests a text parser and is not counted."""
    tally = Tally(path)
    runner = CoreRunner(engine, tally)
    try:
        runner.run(load_script(path, parse_value))
    finally:
        runner.store.close()
    return tally
