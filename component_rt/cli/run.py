"""`component-rt run`: a command component, a core module of WASI 0.1, or one call of an export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from component_rt import types as t
from component_rt.cli.files import explaining_imports, is_component, make_engine, make_limits, read_wasm
from component_rt.cli.report import TimedOut, deadline, take_deadline
from component_rt.cli.wave import Call, parse_arguments, parse_call, parse_numbers, to_text
from component_rt.namespace import find_interface
from component_rt.values import Err, Ok
from core_rt.errors import GuestExit, LinkError, Trap, TrapCode
from wit.names import canonical_version_key, parse_interface_id

if TYPE_CHECKING:
    import component_rt as rt
    import core_rt
    from component_rt.cli.commands import Grants

__all__ = ["run_file"]


def run_file(path: Path, args: Sequence[str], grants: Grants, invoke: str | None, argv0: str | None) -> int:
    """Run a file and return its exit code. Raises the runtime's errors."""
    data = read_wasm(path)
    config = grants.wasi([argv0 or path.name, *args], stdin="inherit", stdout="inherit", stderr="inherit")
    work = _run_component if is_component(data) else _run_module
    with deadline(grants.timeout):
        return work(data, config, grants, invoke)


def _run_module(data: bytes, config: Any, grants: Grants, invoke: str | None) -> int:
    import core_rt
    from component_rt.wasi.preview1 import Preview1

    engine = make_engine(grants)
    linker = core_rt.Linker(engine)
    wasi = Preview1(config)
    wasi.define(linker)
    with core_rt.Store(engine, limits=make_limits(grants)) as store:
        if grants.fuel is not None:
            store.fuel = grants.fuel
        module = core_rt.Module(engine, data)
        with explaining_imports():
            if grants.unknown_imports_trap:
                _define_as_traps(linker, store, module)
            instance = linker.instantiate(store, module)
        if invoke is None:
            return wasi.run(instance)
        if "memory" in instance.exports:
            wasi.attach(instance)
        if "_initialize" in instance.exports:
            instance.exports["_initialize"]()
        call = parse_call(invoke)
        function = instance.exports.get(call.name)
        if not isinstance(function, core_rt.Func):
            known = [name for name, item in instance.exports.items() if isinstance(item, core_rt.Func)]
            raise LinkError(_no_export(call.name, known, known))
        try:
            results = function(*parse_numbers(call))
        except (TypeError, ValueError, OverflowError) as error:
            raise LinkError(str(error)) from None
        except GuestExit as exited:
            return exited.code
        if results is not None:
            print(*(results if isinstance(results, tuple) else (results,)), sep="\n")
    return 0


def _define_as_traps(linker: core_rt.Linker, store: core_rt.Store, module: core_rt.Module) -> None:
    """Define the functions that a core module imports and nobody gives."""
    import core_rt

    for space, name, of in module.imports:
        if isinstance(of, core_rt.DefType) and linker.get(store, space, name) is None:

            def unknown(*args: object, label: str = f"{space}.{name}") -> None:
                raise Trap(TrapCode.UNKNOWN_IMPORT, f"unknown import called: `{label}`")

            linker.define_func(space, name, of.func, unknown)


def _no_export(name: str, known: Sequence[str], shown: Sequence[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean `{near[0]}`?" if near else f"; it exports {', '.join(shown) or 'none'}"
    return f"there is no exported function `{name}`{hint}"


def _run_component(data: bytes, config: Any, grants: Grants, invoke: str | None) -> int:
    import component_rt as rt

    engine = make_engine(grants)
    component = rt.Component(engine, data)
    linker = rt.Linker(engine)
    linker.define_wasi(config)
    if grants.unknown_imports_trap:
        linker.define_unknown_imports_as_traps(component)
    if invoke is None and find_interface("wasi:cli/run", component.exports) is None:
        serves = find_interface("wasi:http/incoming-handler", component.exports) is not None
        hint = "try `component-rt serve`" if serves else "call one of its functions with --invoke 'name(args)'"
        raise LinkError(f"the component exports no wasi:cli/run: {hint}")
    planned = None if invoke is None else _plan(component, parse_call(invoke))
    with explaining_imports():
        linker.instantiate_pre(component)
    try:
        if _is_concurrent(component):
            return _run_in_trio(linker, component, grants, planned)
        with rt.Store(engine, limits=make_limits(grants)) as store:
            if grants.fuel is not None:
                store.fuel = grants.fuel
            instance = linker.instantiate(store, component)
            if planned is not None:
                return _invoke(instance, planned)
            instance.exports["wasi:cli/run"].run()
    except GuestExit as exited:
        return exited.code
    except Err:
        return 1
    return 0


def _is_concurrent(component: rt.Component) -> bool:
    """Whether a component speaks WASI 0.3, and so wants its waiting to overlap."""
    names = (parse_interface_id(name) for name in (*component.imports, *component.exports) if name.startswith("wasi:"))
    return any(canonical_version_key(name.version) == "0.3" for name in names)


def _run_in_trio(linker: rt.Linker, component: rt.Component, grants: Grants, planned: _Planned | None) -> int:
    """The same as for other components, in a trio store, which ends when all that the guest has written is out."""
    import trio

    from component_rt.tasks.opening import open_store

    async def work() -> int:
        async with open_store(linker.engine, limits=make_limits(grants)) as store:
            if grants.fuel is not None:
                store.fuel = grants.fuel
            instance = await linker.instantiate_async(store, component)
            if planned is not None:
                try:
                    value = await _function(instance, planned)(*planned.args)
                except Err as error:
                    value = error
                return _report(planned, value)
            await instance.exports["wasi:cli/run"].run()
        return 0

    async def in_time() -> int:
        with trio.move_on_after(take_deadline()):
            return await work()
        raise TimedOut(f"the guest was stopped after {grants.timeout:g} s")

    return trio.run(in_time)


def _callables(component: rt.Component) -> dict[str, tuple[str, str, t.FuncType]]:
    """What may be called, by every name that means it: interface (or ""), function and type.

    A function of an interface is called by `interface#name`, with or without package and version, and by its name alone
    where no other has it.
    """
    found: dict[str, tuple[str, str, t.FuncType]] = {}
    ambiguous: set[str] = set()

    def add(name: str, target: tuple[str, str, t.FuncType]) -> None:
        if name in found:
            ambiguous.add(name)
        found[name] = target

    for name, of in component.exports.items():
        if isinstance(of, t.FuncType):
            add(name, ("", name, of))
        elif isinstance(of, t.InstanceType):
            bare = name.partition("@")[0]
            for inner, function in of.exports.items():
                if isinstance(function, t.FuncType) and not inner.startswith("["):
                    target = (name, inner, function)
                    for spelled in {name, bare, bare.rpartition("/")[2]}:
                        add(f"{spelled}#{inner}", target)
                    add(inner, target)
    # The world's own functions come before those of interfaces.
    for name in ambiguous:
        del found[name]
    found |= {name: ("", name, of) for name, of in component.exports.items() if isinstance(of, t.FuncType)}
    return found


class _Planned(NamedTuple):
    """A call that makes sense: interface (or ""), function, its type and the arguments."""

    interface: str
    name: str
    type: t.FuncType
    args: list[Any]


def _plan(component: rt.Component, call: Call) -> _Planned:
    """What to call, before anything of the guest runs. Raises `LinkError` and `WaveError`."""
    known = _callables(component)
    if call.name not in known:
        # One name for each function is enough of a hint: the shortest that means it.
        shortest: dict[tuple[str, str], str] = {}
        for name in sorted(known, key=lambda name: (len(name), name)):
            shortest.setdefault(known[name][:2], name)
        message = _no_export(call.name, list(known), list(shortest.values()))
        if _has_resources(component):
            message += "\nMethods and constructors of resources can be called from Python only."
        raise LinkError(message)
    interface, name, of = known[call.name]
    return _Planned(interface, name, of, parse_arguments(call, of.params))


def _has_resources(component: rt.Component) -> bool:
    interfaces = (of for of in component.exports.values() if isinstance(of, t.InstanceType))
    return any(name.startswith("[") for of in interfaces for name in of.exports)


def _function(instance: rt.Instance, planned: _Planned) -> Any:
    namespace = instance.exports[planned.interface] if planned.interface else instance.exports
    return namespace[planned.name]


def _invoke(instance: rt.Instance, planned: _Planned) -> int:
    """Call one export and print its result as WAVE; 1 if the result is an error."""
    try:
        value = _function(instance, planned)(*planned.args)
    except Err as error:
        value = error
    return _report(planned, value)


def _report(planned: _Planned, value: Any) -> int:
    of = planned.type.result
    if isinstance(value, Err):
        if not isinstance(of, t.ResultType):
            raise value
        print(to_text(value, of))
        return 1
    if of is not None:
        print(to_text(Ok(value) if isinstance(of, t.ResultType) else value, of))
    return 0
