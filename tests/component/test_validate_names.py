"""Names of imports and exports: grammar, annotations, attributes."""

from __future__ import annotations

import attrs
import pytest

from component_rt.features import Features
from component_rt.names import (
    ExternLabel,
    InvalidName,
    check_implements,
    check_label,
    check_version_suffix,
    parse_extern_name,
)

ALL = Features.all()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a", ExternLabel("label")),
        ("get-JSON-2", ExternLabel("label")),
        ("[constructor]blob", ExternLabel("constructor", "blob")),
        ("[method]blob.read-all", ExternLabel("method", "blob")),
        ("[static]blob.new", ExternLabel("static", "blob")),
        ("wasi:http/types", ExternLabel("interface")),
        ("wasi:http/types@0.2.3-rc.1+b", ExternLabel("interface", None, "0.2.3-rc.1+b")),
    ],
)
def test_forms(name, expected):
    assert parse_extern_name(name, Features.shipped()) == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "not in kebab case"),
        ("aB", "not in kebab case"),
        ("a--b", "not in kebab case"),
        ("[method]a", "failed to find `.` character"),
        ("[method]a.b.c", "`b.c` is not in kebab case"),
        ("[constructor]a.b", "`a.b` is not in kebab case"),
        ("[what]a", "not in kebab case"),
        ("[method", "not in kebab case"),
        ("a:b", "expected `/` after package name"),
        ("a:b/c/d", "trailing characters found: `/d`"),
        ("a:b:c/d", "expected `/` after package name"),
        ("A:b/c", "character `A` is not lowercase"),
        ("a:b-C/d", "character `C` is not lowercase"),
        ("a:b/c@", "empty string"),
        ("a:b/c@1.2", "unexpected end of input while parsing minor"),
        ("a:b/c@1.2.x", "unexpected character 'x' while parsing patch"),
        ("a:b/c@1.2.3-", "empty identifier segment"),
        ("a:b/c@1.2.3-01", "invalid identifier"),
        ("a:b/c@1.2.3-ü", "not a valid semver"),
        ("a:b/c@1.2.3\n", "not a valid semver"),
        ("a:b/c@" + "9" * 5000 + ".0.0", "not a valid semver"),
        ("a\n", "not in kebab case"),
    ],
)
def test_what_is_no_name(name, message):
    with pytest.raises(InvalidName) as caught:
        parse_extern_name(name, Features.shipped())
    assert message in str(caught.value)


def test_nested_names():
    assert parse_extern_name("a:b:c/d/e@1.0.0", ALL) == ExternLabel("interface", None, "1.0.0")


@pytest.mark.parametrize(("version", "ok"), [("1", True), ("0.2", True), ("0.0.0", True), ("0", False), ("01", False)])
def test_canonical_versions(version, ok):
    features = attrs.evolve(Features.shipped(), canonical_names=True)
    if ok:
        assert parse_extern_name(f"a:b/c@{version}", features).version == version
    else:
        with pytest.raises(InvalidName):
            parse_extern_name(f"a:b/c@{version}", features)


def test_labels():
    check_label("fine", "record field")
    with pytest.raises(InvalidName, match="record field name cannot be empty"):
        check_label("", "record field")
    with pytest.raises(InvalidName, match="enum tag name `NoT` is not in kebab case"):
        check_label("NoT", "enum tag")


@pytest.mark.parametrize(
    ("name", "implements", "sort", "message"),
    [
        ("a", "x:y/z", "instance", None),
        ("a", "x:y/z@1.0.0", "instance", None),
        ("a", "plain", "instance", "must be an interface"),
        ("a", "", "instance", "not a valid name"),
        ("a", "x:y/z", "func", "only instances"),
        ("a:b/c", "x:y/z", "instance", "not valid with `implements`"),
    ],
)
def test_implements(name, implements, sort, message):
    label = parse_extern_name(name, Features.shipped())
    if message is None:
        check_implements(name, label, implements, sort, Features.shipped())
    else:
        with pytest.raises(InvalidName, match=message):
            check_implements(name, label, implements, sort, Features.shipped())


def test_version_suffix_needs_a_canonical_version():
    with pytest.raises(InvalidName, match="no canonical version"):
        check_version_suffix("a:b/c", ExternLabel("interface"), ".1")
