"""Values that the host does not know yet when it gives a future to a guest."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, final

from component_rt.tasks.ends import Offered, Writer
from component_rt.tasks.thread import once

if TYPE_CHECKING:
    from component_rt.store import Store
    from component_rt.tasks.channels import GuestFuture
    from component_rt.tasks.ends import BlockingFuture
    from component_rt.tasks.streams import SharedBase

__all__ = ["Later"]


@final
class Later(Offered):
    """A value to come: what a guest gets for it is a future. Costs no task, and works in stores of both kinds.

    It may be given as often as it is needed. `set` belongs into the thread of the store.
    """

    __slots__ = ("_known", "_then")

    def __init__(self) -> None:
        self._known: list[Any] = []
        self._then: list[Callable[[Any], object]] = []

    @property
    def known(self) -> Any:
        """The value; None before it is known."""
        return self._known[0] if self._known else None

    def set(self, value: Any) -> None:
        """The value is known. A second one is ignored."""
        if not self._known:
            self._known.append(value)
            then, self._then = self._then, []
            for tell in then:
                tell(value)

    def then(self, tell: Callable[[Any], object]) -> None:
        """Call `tell(value)` when the value is known, now or later."""
        if self._known:
            tell(self._known[0])
        else:
            self._then.append(tell)

    def follow(
        self, future: GuestFuture | BlockingFuture, lost: Callable[[BaseException | None], object] | None = None
    ) -> None:
        """Take the value of a guest's future, from which nobody else may read, when it comes.

        `lost(error)` is called if it never will, with what ended the guest.
        """
        reader = future._reader

        def look() -> None:
            assert future is not None  # it closes its end when it is collected
            if reader.given:
                value = reader.given.pop(0)[0]
                reader.close()
                self.set(value)
            elif reader.at_end and not reader.closed:
                reader.close()
                if lost is not None:
                    lost(reader.shared.source_error or reader.shared.failure)

        reader.be_passive()
        reader.wake = look
        reader.start(1)

    def begin(self, store: Store, of: Any, shared: SharedBase) -> None:
        """Feed a future that a guest gets."""
        writer = Writer(store, of, shared, _nothing_yet)
        writer.be_passive()

        def tell(value: Any) -> None:
            if writer.closed or store.core.closed:
                return
            tree = writer.tree()
            if tree is None or (writer.may_copy() and not store.scheduler.busy):
                writer.offer([value])
            else:
                writer.hold([value])
                store.scheduler.post(tree, once(writer.release))

        self.then(tell)


def _nothing_yet() -> None:
    return None
