"""Runs component scripts: a store per component instance, since a trap poisons what it happened in.

The same runner serves both kinds of store: it is written as coroutines, which `SyncStores` never makes wait.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import attrs
import trio

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

__all__ = ["FEATURES", "run_component_script", "run_component_script_in_trio"]

# What the suite's own instructions switch on (its README.md): additions that have not shipped in a release of WASI.
FEATURES = rt.Features.from_flags(
    f"component-model-{name}"
    for name in ("more-async-builtins", "threading", "async-stackful", "implements", "fixed-length-lists", "map")
)
_REFUSED: tuple[type[BaseException], ...] = (core_rt.DecodeError, core_rt.ValidationError)
_UNLINKABLE = (core_rt.LinkError,)
# after the first trap of an instance every later entry is refused with what happened then
_TRAPPED = (core_rt.Trap, core_rt.InstancePoisoned)


_LONGEST = 60.0
"""Seconds for a script."""


class Stores(Protocol):
    """Opens stores of one kind and calls into them; all are closed when the script is over."""

    async def instantiate(self, linker: rt.Linker, component: rt.Component) -> rt.Instance: ...

    async def call(self, function: Callable[..., Any], arguments: list[object]) -> object: ...


@attrs.define(eq=False)
class SyncStores:
    """Stores without an event loop."""

    engine: rt.Engine
    opened: contextlib.ExitStack

    async def instantiate(self, linker: rt.Linker, component: rt.Component) -> rt.Instance:
        return linker.instantiate(self.opened.enter_context(rt.Store(self.engine)), component)

    async def call(self, function: Callable[..., Any], arguments: list[object]) -> object:
        return function(*arguments)


@attrs.define(eq=False)
class TrioStores:
    """Stores with a nursery, inside of a trio loop."""

    engine: rt.Engine
    opened: contextlib.AsyncExitStack

    async def instantiate(self, linker: rt.Linker, component: rt.Component) -> rt.Instance:
        store = await self.opened.enter_async_context(rt.open_store(self.engine))
        return await linker.instantiate_async(store, component)

    async def call(self, function: Callable[..., Any], arguments: list[object]) -> object:
        return await function(*arguments)


@attrs.define(eq=False)
class ComponentRunner:
    """State of one script."""

    engine: rt.Engine
    stores: Stores
    tally: Tally
    current: rt.Instance | None = None
    named: dict[str, rt.Instance] = attrs.field(factory=dict)
    definitions: dict[str | None, rt.Component] = attrs.field(factory=dict)
    """By name; None: the latest one."""

    async def run(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if isinstance(command, AssertModule) and command.module.form == "quote":
                continue  # tests a text parser
            try:
                await self.step(command)
            except CommandFailed as failure:
                self.tally.record(command.line, str(failure))
            except Exception as error:  # whatever it is, it is no answer to this command
                first = (str(error).splitlines() or [""])[0]
                self.tally.record(command.line, f"{type(error).__name__}: {first}")
            else:
                self.tally.record(command.line, None)

    async def step(self, command: Command) -> None:
        match command:
            case Instantiate():
                self.current = None  # so that nothing that follows a failure speaks to the instance before
                self.current = await self.start(command.source)
                if command.name:
                    self.named[command.name] = self.current
            case Define():
                self.definitions[None] = self.definitions[command.name] = self.load(command.source)
            case Action():
                await self.act(command)
            case AssertReturn():
                await self.assert_return(command)
            case AssertOutcome(outcome="trap"):
                await self.assert_trap(command)
            case AssertModule():
                await self.assert_module(command)
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

    async def load_all(self, source: ModuleSource) -> rt.Component:
        return self.load(source, validate=True)

    async def start(self, source: ModuleSource | str | None) -> rt.Instance:
        if isinstance(source, ModuleSource):
            component = self.load(source)
        elif source in self.definitions:
            component = self.definitions[source]
        else:
            raise CommandFailed(f"no component definition {source or ''}")
        return await self.stores.instantiate(rt.Linker(self.engine), component)

    async def act(self, action: Action) -> object:
        instance = self.named.get(action.instance) if action.instance else self.current
        if instance is None:
            raise CommandFailed(f"no instance {action.instance or ''}")
        constants: Sequence[Const] = action.arguments or ()  # type: ignore[assignment]
        try:
            return await self.stores.call(instance.exports[action.field], list(map(argument, constants)))
        except rt.Err as error:
            return Raised(error)

    async def assert_return(self, command: AssertReturn) -> None:
        got = await self.act(command.action)
        wanted: Sequence[Const] = command.expected  # type: ignore[assignment]
        right = accepts_outcome(wanted[0], got) if wanted else got is None
        if not right:
            raise CommandFailed(f"{command.action.field}: got {got!r}, wanted {list(wanted)}")

    async def assert_trap(self, command: AssertOutcome) -> None:
        subject = command.subject
        try:
            result: object = await (self.act(subject) if isinstance(subject, Action) else self.start(subject))
        except _TRAPPED as error:
            # the wording of component traps is one implementation's own: compared, not binding
            self.tally.compare_text(command.line, command.text, str(error))
            return
        raise CommandFailed(f"no trap, but {result!r}")

    async def assert_module(self, command: AssertModule) -> None:
        attempt, kinds = (self.start, _UNLINKABLE) if command.outcome == "unlinkable" else (self.load_all, _REFUSED)
        try:
            await attempt(command.module)
        except kinds as error:
            self.tally.compare_text(command.line, command.text, str(error))
            return
        raise CommandFailed(f"accepted, but it is {command.outcome}: {command.text}")


class _Hung(BaseException):
    """No answer, and no way to cancel."""


@contextlib.contextmanager
def _within(seconds: float, tally: Tally) -> Iterator[None]:
    """Ends what neither returns nor waits, as far as it comes back to Python at times."""

    def ring(*_: object) -> None:
        raise _Hung

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except BaseException as error:
        # trio wraps what breaks through its loop
        if not isinstance(error, _Hung) and not isinstance(error.__cause__, _Hung):
            raise
        tally.record(0, f"no end after {seconds:.0f} s")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_component_script(path: Path, engine: rt.Engine) -> Tally:
    """Every countable command of a script, in synchronous stores."""
    tally = Tally(path)
    with _within(_LONGEST, tally), contextlib.ExitStack() as opened:
        running = ComponentRunner(engine, SyncStores(engine, opened), tally).run(load_script(path, parse_const))
        with contextlib.suppress(StopIteration):
            running.send(None)
            raise AssertionError("a synchronous store waited")
    return tally


def run_component_script_in_trio(path: Path, engine: rt.Engine) -> Tally:
    """The same, in trio stores."""
    tally = Tally(path)

    async def main() -> None:
        async with contextlib.AsyncExitStack() as opened:
            await ComponentRunner(engine, TrioStores(engine, opened), tally).run(load_script(path, parse_const))

    with _within(_LONGEST, tally):
        trio.run(main)
    return tally
