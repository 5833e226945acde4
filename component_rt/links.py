"""Where the imports of a component's core modules come from, worked out once per component.

Most of what modules import are functions that the host answers: canonical built-ins, and functions that are lowered for another
component or for Python. A program imports hundreds and calls a dozen. So an instance makes all of them in one go (`HostTable`), as
references without Python objects; handlers are made on the first call. What modules export to each other is known by its offset
from the exporting instance's context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from component_rt.abi.adaptable import is_adaptable
from component_rt.plan import Builtin, Extract, InstantiateModule, LoadModule, Lower, Plan
from core_rt.native import ffi
from core_rt.types import DefType
from core_rt.vm import structs

if TYPE_CHECKING:
    from component_rt.component import Component

__all__ = ["HOST", "ITEM", "PLACE", "HostTable", "Links", "Source"]

ITEM: Final = 0
"""Whatever is in slot `where`."""
PLACE: Final = 1
"""At an offset from the context of the core instance in slot `where`."""
HOST: Final = 2
"""At an offset from the first of the component's host functions."""
STRIDE: Final = structs.VMHostFuncContext.size


class Source(NamedTuple):
    """Where one import comes from."""

    kind: int
    where: int
    offset: int


class HostTable:
    """The functions of a component's plan that the host answers: `steps` in order, `numbers` by slot, `types` of each.

    `plans` is the `VMHostPlan[]` to make them from.
    """

    __slots__ = ("numbers", "plans", "steps", "types")

    def __init__(self, component: Component) -> None:
        plan, engine = component.plan, component.engine
        self.steps: list[Lower | Builtin] = [
            step
            for step in plan.steps
            if isinstance(step, Builtin) or (isinstance(step, Lower) and not _adapts(plan, step))
        ]
        self.numbers = {step.slot: number for number, step in enumerate(self.steps)}
        self.types = [DefType.of(s.core_type if isinstance(s, Lower) else s.definition.core_type) for s in self.steps]
        offsets = plan.layout.offsets
        rows = []
        for step, type_ in zip(self.steps, self.types):
            lowered = isinstance(step, Lower)
            place = offsets["lowerings"] + 16 * step.index if lowered else offsets["trampolines"] + 8 * step.index
            rows.append((engine.trampoline("host", type_), engine.signature(type_), type_.id, lowered, place))
        self.plans: Any = ffi.new("VMHostPlan[]", rows)


def _adapts(plan: Plan, step: Lower) -> bool:
    """Whether machine code may come to serve the function (`canon.adapt.can_adapt`): then it is no function of the host only."""
    callee = plan.lifts.get(step.func)
    return (
        callee is not None
        and not plan.uses_tasks
        and step.options.pointer == callee.options.pointer == 4
        and is_adaptable(callee.type, (step.options.encoding, callee.options.encoding))
    )


class Links:
    """Host functions, and for each step that instantiates a module of the component the sources of its imports."""

    __slots__ = ("_modules", "_steps", "component", "hosts", "sources")

    def __init__(self, component: Component) -> None:
        self.component = component
        self.hosts = HostTable(component)
        self.sources: dict[int, Sequence[Source]] = {}
        """By the slot of the instance."""
        steps = component.plan.steps
        self._steps: Mapping[int, Any] = {
            step.slot: step for step in steps if isinstance(step, Extract | InstantiateModule)
        }
        self._modules = {step.slot: step.definition for step in steps if isinstance(step, LoadModule)}
        for step in steps:
            if isinstance(step, InstantiateModule) and step.order is not None:
                self.sources[step.slot] = tuple([self._source(slot) for slot in step.order])

    def _source(self, slot: int) -> Source:
        number = self.hosts.numbers.get(slot)
        if number is not None:
            return Source(HOST, 0, STRIDE * number)
        step = self._steps.get(slot)
        if isinstance(step, Extract):
            sources = self.sources.get(step.instance)
            if sources is not None:
                template = self.component.module(self._modules[self._steps[step.instance].module]).template
                offset = template.places.get(step.name)
                if offset is not None:
                    return Source(PLACE, step.instance, offset)
                kind, index = template.exports[step.name]
                imported = template.imports[kind]
                if index < len(imported):
                    return sources[imported[index]]
        return Source(ITEM, slot, 0)
