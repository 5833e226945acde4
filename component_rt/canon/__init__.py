"""Canonical definitions at run time: lifted functions, lowered functions, built-ins."""
