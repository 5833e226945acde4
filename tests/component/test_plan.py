"""Plans: steps without names, nested components inlined, the context's regions filled once."""

from __future__ import annotations

import pytest

import component_rt as rt
from component_rt import plan as p
from component_rt.vmcontext import ComponentContext, ComponentLayout, VMComponentHeader
from core_rt import native
from core_rt.errors import EngineBug
from core_rt.vm.structs import COMPONENT_MAGIC

from .guests import engine, instantiate, load
from .test_calls import ECHO, NESTED
from .test_resources import COUNTER


def kinds(text: str) -> list[str]:
    return [type(step).__name__ for step in load(text).plan.steps]


def test_nested_components_become_steps() -> None:
    plan = load(NESTED).plan
    assert [static.parent for static in plan.instances] == [None, 0, 0, 0]
    assert (
        kinds(NESTED) == ["ImportItem", "Lower", "LoadModule", "InstantiateModule"] + ["Lower", "InstantiateModule"] * 2
    )
    assert [lift.instance for lift in plan.lifts.values()] == [1, 2, 3]


def test_a_module_is_loaded_once_however_often_it_is_instantiated() -> None:
    steps = load(NESTED).plan.steps
    assert sum(isinstance(step, p.LoadModule) for step in steps) == 1
    assert sum(isinstance(step, p.InstantiateModule) for step in steps) == 3


def test_no_step_names_what_it_refers_to() -> None:
    plan = load(ECHO).plan
    for step in (*plan.steps, *plan.lifts.values()):
        if isinstance(step, p.InstantiateModule):
            assert all(isinstance(slot, int) and slot < plan.slots for slot in step.imports.values())
        if isinstance(step, p.Lift | p.Lower):
            assert isinstance(step.func, int | p.LateExport)


def test_regions_of_the_context_are_counted_and_filled() -> None:
    plan = load(ECHO).plan
    assert plan.regions == {"memories": 1, "reallocs": 1, "lowerings": 2, "post_returns": 1}
    assert load(COUNTER).plan.regions == {"destructors": 1, "trampolines": 3}
    with rt.Store(engine()) as store:
        instance = instantiate(store, ECHO, **{"host-echo": str, "step": int})
        context = instance.root.context
        instance.exports["through"]("x")  # post-return functions are looked up when they are first called
        for region, count in plan.regions.items():
            for index in range(count):
                assert context.get(region, index, width=2 if region == "lowerings" else 1)


def test_entries_are_set_once_and_read_after_that() -> None:
    with rt.Store(engine()) as store:
        context = ComponentContext(ComponentLayout(2, {"memories": 1, "lowerings": 1}), store.core, 0)
        with pytest.raises(EngineBug, match="before it was set"):
            context.get("memories", 0)
        context.set("memories", 0, 0x1000)
        assert context.get("memories", 0) == 0x1000
        with pytest.raises(EngineBug, match="set twice"):
            context.set("memories", 0, 0x2000)
        context.set("lowerings", 0, 1, 2)
        assert [context.get("lowerings", 0, word, 2) for word in (0, 1)] == [1, 2]


def test_the_context_begins_with_its_magic_and_holds_the_flags() -> None:
    with rt.Store(engine()) as store:
        root = instantiate(store, NESTED, f=lambda n: n).root
        words = native.ffi.cast("uint32_t *", root.context.address)
        assert words[0] == COMPONENT_MAGIC
        assert words[1] == len(root.members) == 4
        flags = words + VMComponentHeader.size // 4
        assert [flags[i] for i in range(8)] == [1] * 8
        root.members[2].may_leave = False
        assert [flags[i] for i in range(8)] == [1, 1, 1, 1, 1, 0, 1, 1]


GOLDEN = """\
header 32
flags 32
lowerings 48
trampolines 80
memories 88
tables 96
reallocs 96
callbacks 104
post_returns 104
destructors 104
size 112
"""


def test_layout() -> None:
    layout = ComponentLayout(2, {"lowerings": 2, "trampolines": 1, "memories": 1, "reallocs": 1})
    lines = [f"header {VMComponentHeader.size}", *[f"{name} {at}" for name, at in layout.offsets.items()]]
    assert "\n".join([*lines, f"size {layout.size}", ""]) == GOLDEN
