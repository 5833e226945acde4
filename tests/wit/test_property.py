"""Any package prints to text that parses to the same, and encodes to a binary that decodes to the same."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings

import wit
from tests.wit.strategies import documents
from wit.bindgen import generate
from wit.model import Resolve

ALL = wit.Options(all_features=True)
EFFORT = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@EFFORT
@given(documents())
def test_text_round_trip(document: Resolve) -> None:
    again = wit.parse(wit.to_text(document), options=ALL)
    assert again == document
    # Built by hand, a world may have its items in an order that text cannot express; what was parsed once stays.
    text = wit.to_text(again)
    assert wit.to_text(wit.parse(text, options=ALL)) == text


@EFFORT
@given(documents())
def test_binary_round_trip(document: Resolve) -> None:
    data = wit.encode(document)
    assert wit.decode(data) == document.root


@EFFORT
@given(documents())
def test_bindings_are_python(document: Resolve) -> None:
    for world in document.root.worlds.values():
        compile(generate(world), world.name, "exec")
