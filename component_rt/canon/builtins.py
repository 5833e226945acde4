"""Canonical built-ins by name: `BUILTINS[name](instance, definition, options, table)` makes the handler of one.

A handler finds its arguments in the store's buffer and writes its result there. Other modules add rows (`register`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from component_rt.canon.resource import resource_drop, resource_new, resource_rep
from component_rt.types import ResourceType as ResourceTypeRef
from core_rt.errors import Trap, TrapCode

if TYPE_CHECKING:
    from component_rt.instance import ComponentInstance, RuntimeOptions
    from component_rt.model import CanonBuiltin

__all__ = ["BUILTINS", "make_builtin", "register"]

Maker = Callable[["ComponentInstance", "CanonBuiltin", "RuntimeOptions", Any], Callable[[], object]]
BUILTINS: dict[str, Maker] = {}
_TASKLESS = frozenset({"resource.new", "resource.rep", "resource.drop"})


def register(name: str) -> Callable[[Maker], Maker]:
    """Decorator: the maker of built-in `name`."""

    def add(maker: Maker) -> Maker:
        BUILTINS[name] = maker
        return maker

    return add


def make_builtin(
    instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any
) -> Callable[[], object]:
    """The handler of a built-in."""
    if definition.name not in _TASKLESS or instance.uses_tasks or instance.store.is_async:
        from component_rt.canon import task  # noqa: F401  (adds built-ins; components without tasks never load it)
    maker: Maker = BUILTINS.get(definition.name, _unavailable)
    return maker(instance, definition, options, table)


def _unavailable(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
    flags, cannot_leave = instance.flags, instance.cannot_leave

    def handler() -> None:
        if not flags[1]:
            cannot_leave()
        raise Trap(TrapCode.CANONICAL_ABI, f"the built-in `{definition.name}` is not available in this store")

    return handler


def _rt(instance: ComponentInstance, definition: CanonBuiltin) -> Any:
    assert isinstance(definition.type, ResourceTypeRef)
    return instance.resource(definition.type.id)


def _wide(core_type: Any, which: str) -> bool:
    return [str(v) for v in getattr(core_type, which)] == ["i64"]


@register("resource.new")
def _new(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
    return resource_new(instance, _rt(instance, definition), _wide(definition.core_type, "params"))


@register("resource.rep")
def _rep(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
    return resource_rep(instance, _rt(instance, definition), _wide(definition.core_type, "results"))


@register("resource.drop")
def _drop(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
    return resource_drop(instance, _rt(instance, definition))
