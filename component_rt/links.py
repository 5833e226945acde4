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
from component_rt.canon.lift import LiftCode
from component_rt.canon.lower import LowerCode
from component_rt.plan import Builtin, Extract, InstantiateModule, Lift, LoadModule, Lower, Plan, Remember
from core_rt.native import ffi
from core_rt.types import DefType
from core_rt.vm import structs

if TYPE_CHECKING:
    from component_rt.component import Component
    from core_rt.module import Module

__all__ = ["STRIDE", "HostTable", "Linked", "Links"]

STRIDE: Final = structs.VMHostFuncContext.size


class Linked(NamedTuple):
    """A module, and how its imports are linked: `links` is a `VMLink[]` (None: it has none), its bases those of the run-time's list.

    `base` is the number there of the instance that is made (0: nobody asks for it); `items` are numbers and the slots whose items'
    addresses go there.
    """

    module: Module
    links: Any
    base: int
    items: Sequence[tuple[int, int]]


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
    """Host functions, generated code, and for each step that instantiates a module of the component where its imports are.

    An address is an offset from one of `bases` addresses: the first host function, instances' contexts, items.
    """

    __slots__ = ("_component", "_lifts", "_lowers", "_numbers", "_places", "_steps", "bases", "hosts", "steps")

    def __init__(self, component: Component) -> None:
        self._component = component
        self._lifts: dict[int, LiftCode] = {}
        self._lowers: dict[int, LowerCode] = {}
        self.hosts = HostTable(component)
        self.bases = 1
        self.steps: dict[int, Linked] = {}
        """By the slot of the instance; none where modules are imported."""
        steps = component.plan.steps
        self._steps: Mapping[int, Any] = {step.slot: step for step in steps if not isinstance(step, Remember)}
        self._places: dict[int, list[tuple[int, int]]] = {}
        """Base and offset of each import, by the slot of the instance."""
        self._numbers: dict[int, int] = {}
        """Of the bases that are instances' contexts, by slot."""
        items: dict[int, list[tuple[int, int]]] = {}
        for step in steps:
            if isinstance(step, InstantiateModule) and step.order is not None:
                mine = items[step.slot] = []
                self._places[step.slot] = [self._place(slot, mine) for slot in step.order]
        if not component.plan.self_contained:
            return
        for slot, places in self._places.items():
            links = ffi.new("VMLink[]", places) if places else None
            module = component.module(self._steps[self._steps[slot].module].definition)
            self.steps[slot] = Linked(module, links, self._numbers.get(slot, 0), tuple(items[slot]))

    def lift_code(self, step: Lift) -> LiftCode:
        """The code for a `canon lift`."""
        found = self._lifts.get(step.slot)
        if found is None:
            found = self._lifts[step.slot] = LiftCode(step.options, self._component.code)
        return found

    def lower_code(self, step: Lower) -> LowerCode:
        """The code for a `canon lower`."""
        found = self._lowers.get(step.slot)
        if found is None:
            found = self._lowers[step.slot] = LowerCode(step.options, self._component.code)
        return found

    def _base(self) -> int:
        self.bases += 1
        return self.bases - 1

    def _place(self, slot: int, items: list[tuple[int, int]]) -> tuple[int, int]:
        number = self.hosts.numbers.get(slot)
        if number is not None:
            return 0, STRIDE * number
        step = self._steps.get(slot)
        if isinstance(step, Extract) and step.instance in self._places:
            module = self._steps[self._steps[step.instance].module]
            assert isinstance(module, LoadModule)
            template = self._component.module(module.definition).template
            offset = template.places.get(step.name)
            if offset is not None:
                if step.instance not in self._numbers:
                    self._numbers[step.instance] = self._base()
                return self._numbers[step.instance], offset
            kind, index = template.exports[step.name]
            imported = template.imports[kind]
            if index < len(imported):
                return self._places[step.instance][imported[index]]
        base = self._base()
        items.append((base, slot))
        return base, 0
