"""Syntax trees → model: the order in which packages, interfaces and worlds are resolved.

Packages are put in order, within each its interfaces and worlds, within each of those its types; every ordering finds
cycles and reports them with the places that make them up. What is left out by gates is skipped from the beginning.
"""

from __future__ import annotations

from collections.abc import Sequence

from wit import ast
from wit.errors import Span, WitError
from wit.gates import Options
from wit.interface import Borrows, ItemBuilder
from wit.model import Interface, Package, Resolve, World
from wit.scope import Member, SourcePackage, Universe
from wit.world import WorldBuilder

__all__ = ["Options", "resolve"]


def resolve(
    root: list[ast.File], dependencies: Sequence[list[ast.File]] = (), options: Options | None = None
) -> Resolve:
    """Resolve the files of the root package together with those of other packages, one list of files for each.

    Raises `WitError` for everything that WIT.md's rules forbid.
    """
    options = options or Options()
    universe = Universe(options)
    main = universe.add(root, f"`{root[0].source.name}`" if len(root) == 1 else "any file of the package")
    if main is None:
        last = root[0].nested[-1].package
        raise WitError(
            "several packages, and none of them is the file's own",
            None if last is None else last.span,
            "begin the file with `package my:name;`",
        )
    for files in dependencies:
        universe.add(files, f"`{files[0].source.name}`")
    borrows = Borrows()
    packages: dict[str, Package] = {}
    models: dict[str, Package] = {}
    for source in universe.ordered_packages():
        package = Package(source.name.namespace, source.name.name, source.gates.version, docs=source.docs)
        if package.id in packages:
            raise WitError(f"two packages become `{package.id}` for the targeted version", source.name.span)
        packages[package.id] = models[source.id] = package
        for member in universe.ordered_members(source):
            if member.model is None:
                _build(universe, source, member, package, borrows)
        _restore_order(source, package)
    return Resolve(models[main.id], packages)


def _build(universe: Universe, source: SourcePackage, member: Member, package: Package, borrows: Borrows) -> None:
    node = member.node
    gate = source.gates.gate(node.attributes)
    span: Span = member.name.span
    if isinstance(node, ast.World):
        world = World(member.name.name, docs=node.docs, gate=gate, span=span)
        package.add(world)
        WorldBuilder(universe, member, world, borrows).build()
        member.model = world
        return
    interface = Interface(member.name.name, docs=node.docs, gate=gate, span=span)
    package.add(interface)
    builder = ItemBuilder(universe, member, interface, borrows, gate)
    for typedef in builder.build_types(node.items):
        interface.add_type(typedef)
    for function in builder.build_functions(node.items):
        interface.add_function(function)
    member.model = interface


def _restore_order(source: SourcePackage, package: Package) -> None:
    """Let the members stand in the order of the files again, not in that of their dependencies."""
    package.interfaces = {name: package.interfaces[name] for name in source.members if name in package.interfaces}
    package.worlds = {name: package.worlds[name] for name in source.members if name in package.worlds}
