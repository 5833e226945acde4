"""From program counters to frames: kept raw until somebody looks, because most traps are only caught."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from core_rt import native
from core_rt.errors import Frame

if TYPE_CHECKING:
    from core_rt.store import Store

_UNKNOWN = 0xFFFF_FFFF
_NOTED = 32
"""Most frames that go into an exception's notes."""


class Backtrace:
    """Program counters of a guest's stack, innermost first. Calling it gives the frames."""

    __slots__ = ("_frames", "_modules", "_offset", "_pcs")

    def __init__(self, store: Store, pcs: Sequence[int], offset: int | None = None) -> None:
        self._pcs = pcs
        self._offset = offset
        # The dict itself, not a copy: it costs nothing, and holds the code as long as somebody may ask.
        self._modules = store.modules
        self._frames: tuple[Frame, ...] | None = None

    @classmethod
    def of_trap(cls, store: Store, fiber: Any) -> Backtrace:
        """Where a fiber trapped; the shim has collected the frames."""
        offset = fiber.trap_offset
        return cls(store, native.frames(fiber), None if offset == _UNKNOWN else offset)

    @classmethod
    def of_fiber(cls, store: Store, fiber: Any) -> Backtrace:
        """Where a suspended fiber stands."""
        return cls(store, native.backtrace(fiber))

    def __call__(self) -> tuple[Frame, ...]:
        if self._frames is None:
            found: list[Frame] = []
            for pc in self._pcs:
                # An explicit trap says where it stands.
                frame = self._frame(pc, None if found else self._offset)
                if frame is not None:
                    found.append(frame)
            self._frames = tuple(found)
        return self._frames

    def _frame(self, pc: int, at: int | None) -> Frame | None:
        """The frame of an address, which stands for byte offset `at` of the module if that is known."""
        for module in self._modules:
            found = module.compiled.lookup(pc)
            if found is not None:
                function, offset = found
                if at is not None:  # code may be that of a function that was inlined
                    function, offset = module.compiled.function_at(at), at
                return Frame(module.name, function, module.decoded.func_name(function), offset)
        return None

    def annotate(self, error: BaseException) -> None:
        """Add the frames to an exception that passes through them, unless it came from there and has them."""
        known = getattr(error, "_frames", None)
        if isinstance(known, Backtrace) and known._pcs == self._pcs:
            return
        frames = self()
        if frames:
            lines = [f"  {frame}" for frame in frames[:_NOTED]]
            if len(frames) > _NOTED:
                lines.append(f"  ... {len(frames) - _NOTED} more guest frames")
            error.add_note("guest frames, innermost first:\n" + "\n".join(lines))
