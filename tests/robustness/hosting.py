"""Stands in for whatever a random module imports."""

from __future__ import annotations

import core_rt

__all__ = ["define_imports", "zero"]


def zero(kind: core_rt.ValType) -> object:
    """The raw default value of a type; raises `LookupError` for references that cannot be null."""
    if isinstance(kind, core_rt.RefType):
        if not kind.nullable:
            raise LookupError(f"{kind} has no default value")
        return None
    return 0


def _host_function(signature: core_rt.FuncType) -> object:
    results = tuple(zero(kind) for kind in signature.results)

    def answer(*_: object) -> object:
        return None if not results else results[0] if len(results) == 1 else results

    return answer


def define_imports(linker: core_rt.Linker, store: core_rt.Store, module: core_rt.Module) -> bool:
    """Defines something of the wanted type under every imported name; False when a type has no value at hand."""
    for where, name, wanted in module.imports:
        match wanted:
            case core_rt.FuncType() | core_rt.DefType():
                signature = wanted.composite if isinstance(wanted, core_rt.DefType) else wanted
                if not isinstance(signature, core_rt.FuncType):
                    return False
                try:
                    answer = _host_function(signature)
                except LookupError:
                    return False
                linker.define_func(where, name, signature, answer)
                continue
            case core_rt.MemoryType():
                item: object = core_rt.Memory(store, wanted)
            case core_rt.TableType() if wanted.element.nullable:
                item = core_rt.Table(store, wanted, None)
            case core_rt.GlobalType():
                try:
                    value = zero(wanted.content)
                except LookupError:
                    return False
                item = core_rt.Global(store, wanted, bytes(16) if wanted.content is core_rt.V128 else value)
            case core_rt.TagType():
                item = core_rt.Tag(store, wanted)
            case _:
                return False
        linker.define(where, name, item)
    return True
