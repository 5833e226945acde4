"""Fixtures of the tests of the shim."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.core.native_guest import Guest


@pytest.fixture
def guest() -> Iterator[Guest]:
    """Four stacks; nothing may be running or parked on them in the end."""
    guest = Guest(stacks=4)
    yield guest
    assert guest.at_rest()
    guest.close()
