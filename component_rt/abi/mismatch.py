"""`Mismatch`: a value from Python does not fit its WIT type."""

__all__ = ["Mismatch"]


class Mismatch(Exception):
    """Raised by generated code without saying where; `abi.errors.explain` finds out and makes the user's error."""
