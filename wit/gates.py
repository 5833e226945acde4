"""Feature gates: which items are in, and whether gated items keep to the rules (WIT.md, "Feature Gates").

Gates act on the source only: what is left out here is in no model and no binary. `@unstable` items are in if their
feature is enabled. `@since` items are in unless an older version of their package is targeted.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from wit import ast
from wit.errors import Span, WitError
from wit.model import UNGATED, Gate
from wit.names import parse_version

__all__ = ["Options", "PackageGates"]


@attrs.frozen
class Options:
    """What to let through when resolving.

    `features`: enabled `@unstable` features (`all_features`: every one). `targets`: for packages by `ns:pkg`, the
    older version to resolve them for; items that came after it are left out, and the package takes that version.
    `strict_gates`: hold to two rules of WIT.md that published packages (those of WASI among them) break: an item inside
    of a gated one must be gated itself (otherwise it counts as gated alike), and what is gated by a version must not
    refer to what is gated by a later one.
    """

    features: frozenset[str] = attrs.field(default=frozenset(), converter=frozenset)
    all_features: bool = False
    targets: Mapping[str, str] = attrs.Factory(dict)
    strict_gates: bool = False


class PackageGates:
    """The gates of one package under some options."""

    __slots__ = ("_declared", "_options", "_package", "_target", "version")

    def __init__(self, package: ast.PackageName, options: Options) -> None:
        self._options = options
        self._package = package
        self._declared = None if package.version is None else parse_version(package.version)
        target = options.targets.get(f"{package.namespace}:{package.name}")
        self._target = None if target is None else parse_version(target)
        if self._target is not None and (self._declared is None or self._target > self._declared):
            raise WitError(f"package `{package.id}` has no version {target} to target", package.span)
        self.version = package.version if target is None else target
        """The version that the resolved package has."""

    def excluded(self, attributes: ast.Attributes) -> str | None:
        """Why an item is left out, or None if it is in. Raises `WitError` for a gate that the package cannot have."""
        if attributes.unstable is not None:
            enabled = self._options.all_features or attributes.unstable in self._options.features
            return None if enabled else f"the feature `{attributes.unstable}` is not enabled"
        if attributes.since is None:
            return None
        if self._declared is None:
            raise WitError("a package with version gates must have a version itself", attributes.span)
        since = parse_version(attributes.since)
        if since > self._declared:
            message = f"gate refers to version {since}, which is later than that of package `{self._package.id}`"
            raise WitError(message, attributes.span)
        if self._target is not None and since > self._target:
            return f"it came with version {since}, after the targeted {self._target}"
        return None

    def gate(self, attributes: ast.Attributes) -> Gate:
        """The gate of an item that is in."""
        if attributes.since is None and attributes.unstable is None:
            return UNGATED
        return Gate(attributes.since, attributes.unstable, attributes.deprecated)

    def inside(self, outer: Gate, attributes: ast.Attributes, span: Span | None) -> Gate:
        """The gate that counts for an item inside of one with gate `outer`. Raises `WitError` if it is weaker."""
        gate = self.gate(attributes)
        if not gate and outer and not self._options.strict_gates:
            return outer
        _check_covers(outer, gate, span, "is in")
        return gate

    def refers(self, inner: Gate, outer: Gate, span: Span | None) -> None:
        """Raise `WitError` if an item that counts as gated by `inner` may not refer to one with gate `outer`."""
        if not self._options.strict_gates and inner.since is not None and outer.since is not None:
            return
        _check_covers(outer, inner, span, "refers to")


def _check_covers(outer: Gate, inner: Gate, span: Span | None, relation: str) -> None:
    """Raise `WitError` unless whoever sees an item with gate `inner` sees one with gate `outer` too.

    `relation` says how the former depends on the latter: `is in`, `refers to`.
    """
    if outer.unstable is not None:
        if inner.unstable != outer.unstable:
            raise WitError(
                f"this {relation} what is `@unstable(feature = {outer.unstable})` and must have the same gate", span
            )
    elif outer.since is not None and inner.unstable is None:
        if inner.since is None or parse_version(inner.since) < parse_version(outer.since):
            wanted = f"`@since(version = {outer.since})`"
            raise WitError(f"this {relation} what is {wanted} and must be gated so or later", span)
