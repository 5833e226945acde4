"""Runs component scripts: a store per component instance, since a trap poisons what it happened in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

import component_rt as rt
import core_rt

from .component_values import Const, Raised, accepts_outcome, argument, parse_const
from .script import (
    Action,
    AssertModule,
    AssertOutcome,
    AssertReturn,
    Command,
    Define,
    Instantiate,
    ModuleSource,
    load_script,
)
from .tally import CommandFailed, Tally

__all__ = ["FEATURES", "run_component_script"]

# What the suite's own instructions switch on (its README.md): additions that have not shipped in a release of WASI.
FEATURES = rt.Features.from_flags(
    f"component-model-{name}"
    for name in ("more-async-builtins", "threading", "async-stackful", "implements", "fixed-length-lists", "map")
)
_REFUSED: tuple[type[BaseException], ...] = (core_rt.DecodeError, core_rt.ValidationError)
_UNLINKABLE = (core_rt.LinkError,)
# after the first trap of an instance every later entry is refused with what happened then
_TRAPPED = (core_rt.Trap, core_rt.InstancePoisoned)


@attrs.define(eq=False)
class _Running:
    store: rt.Store
    instance: rt.Instance


@attrs.define(eq=False)
class ComponentRunner:
    """State of one script."""

    engine: rt.Engine
    tally: Tally
    current: _Running | None = None
    named: dict[str, _Running] = attrs.field(factory=dict)
    definitions: dict[str | None, rt.Component] = attrs.field(factory=dict)
    """By name; None: the latest one."""
    stores: list[rt.Store] = attrs.field(factory=list)

    def run(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if isinstance(command, AssertModule) and command.module.form == "quote":
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

    def close(self) -> None:
        for store in self.stores:
            store.close()

    def step(self, command: Command) -> None:
        match command:
            case Instantiate():
                self.current = None  # so that nothing that follows a failure speaks to the instance before
                self.current = self.start(command.source)
                if command.name:
                    self.named[command.name] = self.current
            case Define():
                self.definitions[None] = self.definitions[command.name] = self.load(command.source)
            case Action():
                self.act(command)
            case AssertReturn():
                self.assert_return(command)
            case AssertOutcome(outcome="trap"):
                self.assert_trap(command)
            case AssertModule():
                self.assert_module(command)
            case _:
                raise CommandFailed(f"nothing runs {command!r}")

    def load(self, source: ModuleSource, *, validate: bool = False) -> rt.Component:
        if source.wasm is None:
            raise CommandFailed(f"the script's component does not encode: {source.error}")
        if source.kind == "module":
            core_rt.Module(self.engine, source.wasm).validate()
            raise CommandFailed("a core module in a component script")
        component = rt.Component(self.engine, source.wasm, FEATURES)
        if validate:  # bodies of core modules are otherwise read when they are compiled
            component.validate()
        return component

    def load_all(self, source: ModuleSource) -> rt.Component:
        return self.load(source, validate=True)

    def start(self, source: ModuleSource | str | None) -> _Running:
        if isinstance(source, ModuleSource):
            component = self.load(source)
        elif source in self.definitions:
            component = self.definitions[source]
        else:
            raise CommandFailed(f"no component definition {source or ''}")
        store = rt.Store(self.engine)
        self.stores.append(store)
        return _Running(store, rt.Linker(self.engine).instantiate(store, component))

    def act(self, action: Action) -> object:
        running = self.named.get(action.instance) if action.instance else self.current
        if running is None:
            raise CommandFailed(f"no instance {action.instance or ''}")
        exports = running.instance.exports
        constants: Sequence[Const] = action.arguments or ()  # type: ignore[assignment]
        try:
            return exports[action.field](*map(argument, constants))
        except rt.Err as error:
            return Raised(error)

    def assert_return(self, command: AssertReturn) -> None:
        got = self.act(command.action)
        wanted: Sequence[Const] = command.expected  # type: ignore[assignment]
        right = accepts_outcome(wanted[0], got) if wanted else got is None
        if not right:
            raise CommandFailed(f"{command.action.field}: got {got!r}, wanted {list(wanted)}")

    def assert_trap(self, command: AssertOutcome) -> None:
        subject = command.subject
        try:
            result: object = self.act(subject) if isinstance(subject, Action) else self.start(subject)
        except _TRAPPED as error:
            # the wording of component traps is one implementation's own: compared, not binding
            self.tally.compare_text(command.line, command.text, str(error))
            return
        raise CommandFailed(f"no trap, but {result!r}")

    def assert_module(self, command: AssertModule) -> None:
        attempt, kinds = (self.start, _UNLINKABLE) if command.outcome == "unlinkable" else (self.load_all, _REFUSED)
        try:
            attempt(command.module)
        except kinds as error:
            self.tally.compare_text(command.line, command.text, str(error))
            return
        raise CommandFailed(f"accepted, but it is {command.outcome}: {command.text}")


def run_component_script(path: Path, engine: rt.Engine) -> Tally:
    """Every countable command of a script."""
    tally = Tally(path)
    runner = ComponentRunner(engine, tally)
    try:
        runner.run(load_script(path, parse_const))
    finally:
        runner.close()
    return tally
