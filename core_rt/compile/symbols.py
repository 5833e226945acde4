"""Names of functions in objects."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["SYMBOL"]

SYMBOL: Final = re.compile(r"([ft])(\d+)")
"""`f<i>` is defined function i in the C convention, `t<i>` its `tailcc` entry (see unit.py); what LLVM derives from one keeps
it as a prefix (`f12.cold`)."""
