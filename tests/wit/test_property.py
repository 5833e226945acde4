"""Any package prints to text that parses to the same, encodes to a binary that decodes to the same, and has bindings."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings

import wit
from tests.wit.strategies import documents
from wit.bindgen import generate
from wit.model import Resolve

ALL = wit.Options(all_features=True)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(documents())
def test_documents(document: Resolve) -> None:
    """One test of three properties, for most of the time goes into making the documents."""
    again = wit.parse(wit.to_text(document), options=ALL)
    assert again == document, "the text says the same"
    # Built by hand, a world may have its items in an order that text cannot express; what was parsed once stays.
    text = wit.to_text(again)
    assert wit.to_text(wit.parse(text, options=ALL)) == text

    assert wit.decode(wit.encode(document)) == document.root, "the binary says the same"

    for world in document.root.worlds.values():
        compile(generate(world), world.name, "exec")
