"""Records: what they share with attrs' classes, and that making one costs next to nothing."""

from __future__ import annotations

import weakref
from typing import ClassVar

import pytest

from core_rt.record import record


@record
class Point:
    """A point."""

    x: int
    y: int = 7
    kind: ClassVar[str] = "point"

    @property
    def sum(self) -> int:
        return self.x + self.y


@record(kw_only=True)
class Base:
    offset: int


@record(kw_only=True)
class Derived(Base):
    name: str = "none"
    slot: int

    def __str__(self) -> str:
        return f"{self.name}@{self.offset}"


@record
class Longer(Point):
    z: int = 0


def test_arguments_and_defaults():
    assert (Point(1).x, Point(1).y, Point(1, y=2).sum, Point.kind) == (1, 7, 3, "point")
    made = Derived(slot=3, offset=1)
    assert (made.offset, made.name, made.slot, str(made)) == (1, "none", 3, "none@1")
    assert (Longer(1, 2, 3).sum, Longer(1).z, Longer.__slots__) == (3, 0, ("z",))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Point(), r"Point.__init__\(\) missing 1 required positional argument: 'x'"),
        (lambda: Point(1, 2, 3), "takes from 2 to 3 positional arguments"),
        (lambda: Point(1, w=2), "unexpected keyword argument 'w'"),
        (lambda: Base(1), "takes 1 positional argument"),
        (lambda: Derived(offset=1), r"missing 1 required keyword-only argument: 'slot'"),
    ],
)
def test_wrong_arguments(wrong, message):
    with pytest.raises(TypeError, match=message):
        wrong()


def test_slots_identity_and_the_rest():
    one, other = Point(1), Point(1)
    assert one != other and one == one and len({one, other}) == 2
    assert repr(Derived(offset=1, slot=2)) == "Derived(offset=1, name='none', slot=2)"
    assert (Point.__doc__, Point.__module__, Point.__qualname__) == ("A point.", __name__, "Point")
    assert weakref.ref(one)() is one
    with pytest.raises(AttributeError):
        one.w = 1  # type: ignore[attr-defined]
    match one:
        case Point(x, y=y):
            assert (x, y) == (1, 7)
        case _:
            pytest.fail("no match")


def test_a_field_without_a_default_after_one_with():
    with pytest.raises(TypeError, match="without a default comes after"):

        @record
        class Wrong:
            a: int = 1
            b: int
