"""The tables of legal transitions, and that the documentation shows the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from component_rt.tasks.states import TABLES, TASK, TaskState, advance, diagram
from core_rt.errors import EngineBug

DOCS = Path(__file__).parents[2] / "docs" / "async.md"


@pytest.mark.parametrize("name", TABLES)
def test_every_state_can_be_reached(name):
    table, first = TABLES[name]
    reached, new = {first}, {first}
    while new:
        new = {after for (state, _), after in table.items() if state in new} - reached
        reached |= new
    assert reached == set(type(first))


def test_what_is_not_in_the_table_cannot_happen():
    assert advance(TASK, TaskState.STARTED, "return") is TaskState.RESOLVED
    with pytest.raises(EngineBug, match="`return` cannot happen in state RESOLVED"):
        advance(TASK, TaskState.RESOLVED, "return")


@pytest.mark.parametrize("name", TABLES)
def test_the_documentation_shows_the_table(name):
    assert f"```mermaid\n{diagram(name)}\n```" in DOCS.read_text(encoding="utf-8")
