"""Who is called what: packages, the scopes of their files, and the interfaces and worlds that paths lead to.

A name alone is looked up in its file first (what the file defines or brings in by `use`), then in the package. A
path with a package is looked up in that package, whose version must be written as it is declared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from wit import ast
from wit.errors import Span, WitError, near_name
from wit.gates import Options, PackageGates
from wit.graph import Cycle, toposort
from wit.model import Interface, World
from wit.names import strong_key

__all__ = ["Member", "Scope", "SourcePackage", "Universe", "unique"]


@attrs.define(eq=False)
class Member:
    """An interface or world of a package: its syntax, and once resolved its model."""

    node: ast.Interface | ast.World
    scope: Scope
    excluded: str | None
    model: Interface | World | None = None

    @property
    def what(self) -> str:
        return "interface" if isinstance(self.node, ast.Interface) else "world"

    @property
    def name(self) -> ast.Ident:
        assert self.node.name is not None
        return self.node.name


@attrs.define(eq=False)
class Scope:
    """The top level of one file, or of one `package { }` block."""

    package: SourcePackage
    uses: dict[str, ast.TopUse] = attrs.Factory(dict)
    members: dict[str, Member] = attrs.Factory(dict)


@attrs.define(eq=False)
class SourcePackage:
    """A package as written, in any number of scopes."""

    name: ast.PackageName
    blocks: list[ast.PackageBlock]
    gates: PackageGates
    members: dict[str, Member] = attrs.Factory(dict)
    scopes: list[Scope] = attrs.Factory(list)

    @property
    def id(self) -> str:
        return self.name.id

    @property
    def docs(self) -> str | None:
        return "\n".join(block.docs for block in self.blocks if block.docs is not None) or None


def unique(names: Iterable[ast.Ident], what: str) -> None:
    """Raise `WitError` at the first of `names` that conflicts with an earlier one (names differing in case do)."""
    seen: dict[str, ast.Ident] = {}
    for ident in names:
        first = seen.setdefault(strong_key(ident.name), ident)
        if first is not ident:
            raise WitError(
                f"{what} `{ident.name}` is defined twice"
                if ident.name == first.name
                else f"{what} `{ident.name}` conflicts with `{first.name}`: names must differ in more than case",
                ident.span,
                related=[("first defined here", first.span)],
            )


class Universe:
    """All packages that one resolution knows."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.packages: dict[str, SourcePackage] = {}

    # ---- building ----

    def add(self, files: list[ast.File], where: str) -> SourcePackage | None:
        """Add the package that `files` make up, and those nested in them; return the former.

        Files without a declaration may hold nested packages only; a sole one is returned, of several none. `where`
        says in an error where the package declaration is missing.
        """
        names = [file.block.package for file in files if file.block.package is not None]
        for name in names[1:]:
            if name != names[0]:
                raise WitError(
                    f"package `{name.id}` is declared in the same folder as `{names[0].id}`",
                    name.span,
                    related=[("declared here", names[0].span)],
                )
        nested = [block for file in files for block in file.nested]
        own = [file.block for file in files if file.block.package is not None or file.block.items]
        if not names:
            if own or not nested:
                raise WitError(f"no `package` declaration in {where}", help="begin with `package my:name;`")
            packages = [self._add_package(block.package, [block]) for block in nested]
            return packages[0] if len(packages) == 1 else None
        for block in nested:
            self._add_package(block.package, [block])
        return self._add_package(names[0], own)

    def _add_package(self, name: ast.PackageName | None, blocks: list[ast.PackageBlock]) -> SourcePackage:
        assert name is not None
        known = self.packages.get(name.id)
        if known is not None:
            if not _same_contents(known.blocks, blocks):
                raise WitError(
                    f"package `{name.id}` is defined twice, with different contents",
                    name.span,
                    related=[("first defined here", known.name.span)],
                )
            return known
        package = SourcePackage(name, blocks, PackageGates(name, self.options))
        self.packages[name.id] = package
        for block in blocks:
            self._add_scope(package, block)
        unique((member.name for member in package.members.values()), "name")
        return package

    def _add_scope(self, package: SourcePackage, block: ast.PackageBlock) -> None:
        scope = Scope(package)
        package.scopes.append(scope)
        unique((item.name for item in block.items if item.name is not None), "name")
        for item in block.items:
            if isinstance(item, ast.TopUse):
                scope.uses[item.name.name] = item
                continue
            assert item.name is not None
            member = Member(item, scope, package.gates.excluded(item.attributes))
            other = package.members.get(item.name.name)
            if other is not None:
                raise WitError(
                    f"name `{item.name.name}` is defined twice in package `{package.id}`",
                    item.name.span,
                    related=[("first defined here", other.name.span)],
                )
            scope.members[item.name.name] = package.members[item.name.name] = member

    # ---- looking up ----

    def find(self, path: ast.UsePath, scope: Scope, what: str | None = None) -> Member:
        """The member that a path leads to; `what` (`interface`, `world`) says which kind it must be of."""
        member = self._find(path, scope)
        if what is not None and member.what != what:
            raise WitError(
                f"`{path}` is not an {what}" if what == "interface" else f"`{path}` is not a world", path.span
            )
        if member.excluded is not None:
            raise WitError(f"{member.what} `{path}` is left out: {member.excluded}", path.span)
        return member

    def _find(self, path: ast.UsePath, scope: Scope) -> Member:
        seen: list[ast.TopUse] = []
        while path.package is None:
            name = path.name.name
            if name in scope.members:
                return scope.members[name]
            use = scope.uses.get(name)
            # `use a;` brings `a` of another file of the package into this one: it names itself
            if use is None or (use.path.package is None and use.path.name.name == name):
                break
            if use in seen:
                raise WitError("`use` statements refer to each other", use.path.span)
            seen.append(use)
            path = use.path
        if path.package is None:
            package = scope.package
            if path.name.name not in package.members:
                raise WitError(
                    f"`{path.name.name}` is not defined in package `{package.id}`",
                    path.name.span,
                    near_name(path.name.name, [*package.members, *scope.uses]),
                )
        else:
            package = self._find_package(path.package)
            if path.name.name not in package.members:
                raise WitError(
                    f"package `{package.id}` has no interface or world `{path.name.name}`",
                    path.name.span,
                    near_name(path.name.name, package.members),
                )
        return package.members[path.name.name]

    def _find_package(self, name: ast.PackageName) -> SourcePackage:
        found = self.packages.get(name.id)
        if found is None:
            others = [
                p.id for p in self.packages.values() if (p.name.namespace, p.name.name) == (name.namespace, name.name)
            ]
            help = (
                f"there is {' and '.join(f'`{id}`' for id in others)}" if others else near_name(name.id, self.packages)
            )
            raise WitError(f"package `{name.id}` is not found", name.span, help)
        return found

    # ---- order ----

    def ordered_packages(self) -> list[SourcePackage]:
        """All packages, dependencies first. Raises `WitError` on a cycle or a package that is not there."""
        places: dict[tuple[str, str], Span] = {}

        def dependencies(id: str) -> Iterator[str]:
            for path in _foreign_paths(self.packages[id]):
                assert path.package is not None
                target = self._find_package(path.package).id
                if target != id:
                    places.setdefault((id, target), path.span)
                    yield target

        try:
            return [self.packages[id] for id in toposort(self.packages, dependencies)]
        except Cycle as cycle:
            raise _cycle_error("package", [str(id) for id in cycle.path], places) from None

    def ordered_members(self, package: SourcePackage) -> list[Member]:
        """The members of a package that are in, each after those of the same package that it needs."""
        places: dict[tuple[str, str], Span] = {}

        def dependencies(member: Member) -> Iterator[Member]:
            for path, what in _member_paths(member):
                target = self.find(path, member.scope, what)
                if target.scope.package is package:
                    places.setdefault((member.name.name, target.name.name), path.span)
                    yield target

        for scope in package.scopes:
            for use in scope.uses.values():
                self._find(use.path, scope)  # also where nothing needs it
        members = [member for member in package.members.values() if member.excluded is None]
        try:
            return toposort(members, dependencies)
        except Cycle as cycle:
            path = [member for member in cycle.path if isinstance(member, Member)]
            raise _cycle_error(path[0].what, [member.name.name for member in path], places) from None


def _cycle_error(what: str, names: list[str], places: dict[tuple[str, str], Span]) -> WitError:
    chain = " → ".join(f"`{name}`" for name in [*names, names[0]])
    steps = list(zip(names, [*names[1:], names[0]], strict=True))
    related = [(f"`{a}` needs `{b}` here", places[a, b]) for a, b in steps[1:]]
    if len(names) == 1:
        return WitError(f"{what} `{names[0]}` depends on itself", places[steps[0]])
    return WitError(f"{what}s depend on each other: {chain}", places[steps[0]], related=related)


def _same_contents(a: list[ast.PackageBlock], b: list[ast.PackageBlock]) -> bool:
    """Whether two definitions of a package hold equal items, whatever their order and files."""
    left, right = ([item for block in blocks for item in block.items] for blocks in (a, b))
    if len(left) != len(right):
        return False

    def key(item: ast.TopUse | ast.Interface | ast.World) -> tuple[str, str]:
        return item.__class__.__name__, item.name.name if item.name is not None else ""

    return sorted(left, key=key) == sorted(right, key=key)


def _member_paths(member: Member) -> Iterator[tuple[ast.UsePath, str]]:
    """The paths that must be resolved before a member can be, with what each must lead to.

    Items that are left out do not count.
    """
    excluded = member.scope.package.gates.excluded
    for item in member.node.items:
        if excluded(item.attributes) is not None:
            continue
        match item:
            case ast.Use(path=path) | ast.Extern(what=ast.UsePath() as path):
                yield path, "interface"
            case ast.Include(path=path):
                yield path, "world"
            case ast.Extern(what=ast.Interface(items=inner)):
                for use in inner:
                    if isinstance(use, ast.Use) and excluded(use.attributes) is None:
                        yield use.path, "interface"
            case _:
                pass


def _foreign_paths(package: SourcePackage) -> Iterator[ast.UsePath]:
    """Every path of a package that names a package."""
    for block in package.blocks:
        for item in block.items:
            if isinstance(item, ast.TopUse) and item.path.package is not None:
                yield item.path
    for member in package.members.values():
        if member.excluded is None:
            for path, _ in _member_paths(member):
                if path.package is not None:
                    yield path
