"""What all errors of the packages have in common."""

from __future__ import annotations

import copy
import pickle

import attrs
import pytest

import component_rt as rt
import core_rt
from component_rt.canon.error_context import ErrorContextError
from core_rt.errors import TrapCode
from wit.errors import WitError

ERRORS = [
    core_rt.DecodeError("unexpected end", 7),
    core_rt.ValidationError("type mismatch", None),
    core_rt.GuestExit(3),
    core_rt.Trap(TrapCode.UNREACHABLE),
    core_rt.InstancePoisoned(core_rt.Trap(TrapCode.HOST, "the host says no")),
    core_rt.GuestException("tag", (1, 2)),
    ErrorContextError("why"),
    WitError("unexpected token"),
    rt.Err(4),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_fields_are_attrs_and_survive_copies(error: Exception) -> None:
    fields = {field.name: getattr(error, field.name) for field in attrs.fields(type(error))}
    assert fields
    for other in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(other) is type(error)
        assert str(other) == str(error)
        assert repr({name: getattr(other, name) for name in fields}) == repr(fields)


@pytest.mark.parametrize("error", ERRORS[:-1], ids=lambda error: type(error).__name__)
def test_one_root(error: Exception) -> None:
    assert isinstance(error, core_rt.WasmError)


def test_notes_and_causes_can_be_added() -> None:
    error = core_rt.Trap(TrapCode.HOST)
    error.add_note("a note")
    with pytest.raises(core_rt.Trap, match="host trap") as caught:
        raise error from ValueError("cause")
    assert caught.value.__notes__ == ["a note"]
    assert isinstance(caught.value.__cause__, ValueError)
