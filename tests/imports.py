"""Which module imports which, read from the source: nothing is imported to find out."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import attrs

__all__ = ["ROOT", "Import", "imports_of", "python_files"]

ROOT = Path(__file__).resolve().parents[1]


@attrs.frozen
class Import:
    """`module` imports `target` (absolute) at `line`."""

    path: str
    line: int
    module: str
    target: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.module} imports {self.target}"


def python_files(*packages: str) -> list[Path]:
    """Source files of top-level packages."""
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _statements(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Everything but what only a type checker sees."""
    for node in body:
        if _is_type_checking(node):
            assert isinstance(node, ast.If)
            yield from _statements(node.orelse)
        else:
            yield node
            for name in ("body", "orelse", "finalbody", "handlers"):
                inner = getattr(node, name, [])
                yield from _statements([item for item in inner if isinstance(item, (ast.stmt, ast.ExceptHandler))])


def imports_of(path: Path) -> list[Import]:
    """Absolute targets; `from package import name` counts as `package.name` when that is a module of ours."""
    module, relative = module_name(path), str(path.relative_to(ROOT))
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = []
    for node in _statements(ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(node, ast.Import):
            found += [Import(relative, node.lineno, module, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
            for alias in node.names:
                deeper = f"{base}.{alias.name}"
                as_path = ROOT.joinpath(*deeper.split("."))
                is_module = as_path.is_dir() or as_path.with_suffix(".py").is_file()
                found.append(Import(relative, node.lineno, module, deeper if is_module else base))
    return found
