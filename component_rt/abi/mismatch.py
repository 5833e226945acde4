"""`Mismatch`: a value from Python does not fit its WIT type."""

from __future__ import annotations

__all__ = ["HandleMismatch", "Mismatch"]


class Mismatch(Exception):
    """Raised by generated code without saying where; `abi.errors.explain` finds out and makes the user's error."""


class HandleMismatch(Mismatch):
    """`value` cannot be passed as a handle, for the reason `what`; the user's error is of class `kind`.

    What makes a handle fit may have changed when the error is explained, so this says it at once.
    """

    def __init__(self, kind: type[Exception], value: object, what: str) -> None:
        super().__init__(what)
        self.kind = kind
        self.value = value
        self.what = what
