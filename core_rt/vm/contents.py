"""What a memory begins with, where that is known without an instance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core_rt.binary.segments import PlainSegments
from core_rt.vm.constexpr import constant_offset

if TYPE_CHECKING:
    from core_rt.binary.model import DecodedModule

__all__ = ["initial_contents"]


def initial_contents(module: DecodedModule, least: int, most: int) -> tuple[int, bytearray] | None:
    """The index of a defined memory and what it begins with, when every active segment goes to it at a constant place within its size.

    None for less than `least` bytes of data, or when they reach beyond `most`.
    """
    segments = module.data_segments
    if isinstance(segments, PlainSegments):
        end, total = segments.extent
        if module.num_imported_memories or not _fits(module, 0, end, total, least, most):
            return None
        contents = bytearray(end)
        segments.copy(contents, module.data)
        return 0, contents
    active = [segment for segment in segments if segment.mode == "active"]
    if len({segment.memory for segment in active}) != 1:
        return None
    memory = active[0].memory
    places = [constant_offset(segment.offset) for segment in active]
    lengths = [segment.end - segment.start for segment in active]
    known = [place for place in places if place is not None]
    if memory < module.num_imported_memories or len(known) != len(places):
        return None
    end = max(map(int.__add__, known, lengths))
    if not _fits(module, memory, end, sum(lengths), least, most):
        return None
    contents = bytearray(end)
    data = memoryview(module.data)
    for place, length, segment in zip(known, lengths, active, strict=True):
        contents[place : place + length] = data[segment.start : segment.end]
    return memory, contents


def _fits(module: DecodedModule, memory: int, end: int, total: int, least: int, most: int) -> bool:
    type_ = module.memories[memory]
    return total >= least and end <= min(most, type_.min * type_.page_size)
