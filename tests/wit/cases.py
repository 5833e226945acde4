"""The WIT documents of the golden tests, and the options in their first lines."""

from __future__ import annotations

import re
from pathlib import Path

from wit import Options

HERE = Path(__file__).parent


def inputs(folder: str) -> list[Path]:
    """The `.wit` files and the folders of them in a folder beside this file."""
    return sorted(p for p in (HERE / folder).iterdir() if p.is_dir() or p.suffix == ".wit")


def options(path: Path) -> Options:
    """What `// features: a, b`, `// all-features`, `// target: ns:p=1.0.0` or `// strict-gates` ask for."""
    if path.is_dir():
        return Options()
    first = path.read_text(encoding="utf-8").split("\n", 1)[0]
    features = re.fullmatch(r"// features: (.*)", first)
    target = re.fullmatch(r"// target: (.*)=(.*)", first)
    return Options(
        features=features[1].split(", ") if features else (),
        all_features=first == "// all-features",
        targets={target[1]: target[2]} if target else {},
        strict_gates=first == "// strict-gates",
    )
