"""Each example runs as a user would run it, and prints what it should."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.imports import ROOT

EXPECTED = {
    "primes.py": """\
        15 primes below 50: 2 3 5 7 11 13 17 19 23 29 31 37 41 43 47
        more than the guest has room for: UNREACHABLE
        with little fuel: all fuel consumed
        """,
    "greeter.py": """\
        Hello, Ada!
        [INFO] Hi, Zoë!
        Hi, Zoë!
        ['Good day, Bob!', 'Hi, Eve!']
        [WARNING] nobody is here
        refused: nobody is here
        7 10
        """,
    "async_jobs.py": """\
        results: (5, 25) (10, 100) (15, 225) (20, 400) (25, 625)
        too late: 100 200 (all of it took less than a second: True)
        stream: STREAMS GO IN AND OUT
        left behind: 0 handles, 0 tasks
        """,
}


def test_every_example_is_here():
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_example(name):
    # as `python examples/name.py` does once the project is installed
    path = str(ROOT / "examples" / name)
    code = f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); runpy.run_path({path!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [line.strip() for line in EXPECTED[name].strip().splitlines()]
    assert not done.stderr
