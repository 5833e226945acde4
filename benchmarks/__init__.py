"""Ours against wasmtime-py, alternating in one run: `python -m benchmarks`.

Each topic is a file that adds rows to the registry of `rows`. A ratio above 1 means that ours is faster (or smaller).
"""
