"""`canon resource.drop` where tasks can be seen: the destructor runs as a synchronous task, and may have to be awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from component_rt.canon.builtins import BUILTINS, register
from component_rt.handles import resource_handle, trap
from component_rt.tasks.calls import run_destructor
from component_rt.types import ResourceType as ResourceTypeRef

if TYPE_CHECKING:
    from component_rt.instance import ComponentInstance, RuntimeOptions
    from component_rt.model import CanonBuiltin

_plain = BUILTINS["resource.drop"]


@register("resource.drop")
def _drop(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
    handler = _plain(instance, definition, options, table)
    assert isinstance(definition.type, ResourceTypeRef)
    rt = instance.resource(definition.type.id)
    if rt.impl is None or rt.dtor is None or not (instance.uses_tasks or instance.store.is_async):
        return handler
    store, flags, handles = instance.store, instance.flags, instance.handles
    u32 = store.core.u32

    def drop() -> object:
        if not flags[1]:
            instance.cannot_leave()
        index = u32[0]
        handle = resource_handle(handles, index, rt)
        if not handle.own:
            return handler()
        if handle.num_lends:
            raise trap("cannot remove owned resource while borrowed")
        handles.remove(index)
        return store.scheduler.begin(run_destructor(store, rt, handle.rep, instance))

    return drop
