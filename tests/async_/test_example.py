"""The example does what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_jobs():
    script = ROOT / "examples" / "async_jobs.py"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, script]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[2:] == ["stream: STREAMS GO IN AND OUT", "left behind: 0 handles, 0 tasks"]
    assert lines[0].startswith("results: (5, 25)") and "100 200" in lines[1]
