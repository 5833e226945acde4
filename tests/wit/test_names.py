"""Labels, names of imports and exports, Python names, versions."""

from __future__ import annotations

import keyword

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wit import WitError
from wit.names import (
    InterfaceId,
    PlainName,
    canonical_version_key,
    is_kebab,
    is_package_label,
    is_semver,
    kebab_to_camel,
    kebab_to_shouty,
    kebab_to_snake,
    parse_interface_id,
    parse_plain_name,
    parse_version,
    split_version,
    strong_key,
    version_sort_key,
)

LABELS = st.from_regex(r"([a-z][0-9a-z]{0,3}|[A-Z][0-9A-Z]{0,3})(-([0-9a-z]{1,3}|[0-9A-Z]{1,3})){0,3}", fullmatch=True)


@pytest.mark.parametrize(
    "label", ["a", "a-b-c", "a1-2-3", "A", "A-B-C", "A1-2-3", "a11-w0rds", "A11-4CR0NYMS", "m1x3d-4CR0NYMS"]
)
def test_labels(label: str) -> None:
    assert is_kebab(label)


@pytest.mark.parametrize(
    "label", ["", "1-2-3", "-", "a-", "-a", "a--b", "aB", "Ab", "a-Bc", "a_b", "a.b", "é", "a\n", "٣", "a-٣"]
)
def test_no_labels(label: str) -> None:
    assert not is_kebab(label)
    assert not is_package_label(label)


def test_packages_have_no_capitals() -> None:
    assert is_package_label("my-pkg-2")
    assert not is_package_label("my-PKG")


@pytest.mark.parametrize(
    ("label", "snake", "camel", "shouty"),
    [
        ("get-JSON-2", "get_json_2", "GetJson2", "GET_JSON_2"),
        ("from", "from_", "From", "FROM"),
        ("none", "none", "None_", "NONE"),
        ("match", "match", "Match", "MATCH"),
        ("is-XML", "is_xml", "IsXml", "IS_XML"),
    ],
)
def test_python_names(label: str, snake: str, camel: str, shouty: str) -> None:
    assert (kebab_to_snake(label), kebab_to_camel(label), kebab_to_shouty(label)) == (snake, camel, shouty)


@given(LABELS)
def test_python_names_are_identifiers(label: str) -> None:
    assert is_kebab(label)
    for name in (kebab_to_snake(label), kebab_to_camel(label), kebab_to_shouty(label)):
        assert name.isidentifier() and not keyword.iskeyword(name)


def test_plain_names() -> None:
    assert parse_plain_name("a-b") == PlainName("", None, "a-b")
    assert parse_plain_name("[constructor]a") == PlainName("constructor", "a", "a")
    assert parse_plain_name("[method]a.b") == PlainName("method", "a", "b")
    assert parse_plain_name("[static]A.b-C") == PlainName("static", "A", "b-C")


@pytest.mark.parametrize(
    "name", ["", "a.b", "[method]a", "[constructor]a.b", "[other]a", "[method]a.b.c", "[method] a.b"]
)
def test_no_plain_names(name: str) -> None:
    with pytest.raises(WitError):
        parse_plain_name(name)


def test_interface_names() -> None:
    assert parse_interface_id("wasi:io/streams@0.2.3") == ("wasi", "io", "streams", "0.2.3")
    assert parse_interface_id("a:b/C-d") == InterfaceId("a", "b", "C-d", None)
    assert parse_interface_id("a:b:c/d/e@1").package_id == "a:b:c/d@1"
    assert str(parse_interface_id("a:b/c@0.0.0-abcd.1.2+efg.4.ee.5")) == "a:b/c@0.0.0-abcd.1.2+efg.4.ee.5"


@pytest.mark.parametrize(
    "name", ["a", "a:b", "a/b", "A:b/c", "a:B/c", "a:b/c@", "a:b/c@1.", "a:b/c@2.0.0+", "a:b/c@1.0.0\n"]
)
def test_no_interface_names(name: str) -> None:
    with pytest.raises(WitError):
        parse_interface_id(name)


def test_strong_uniqueness() -> None:
    distinct = ["foo", "foo-bar", "[constructor]foo", "[method]foo.bar", "[static]foo.baz", "foo:bar/baz"]
    keys = {strong_key(name) for name in distinct}
    assert len(keys) == len(distinct)
    conflicting = """foo FOO foo-BAR [constructor]FOO [method]foo.BAR [static]foo.bar [method]foo.baz [method]foo.foo
        [static]foo-BAR.FOO-bar foo:bar/BAZ"""
    for name in conflicting.split():
        assert strong_key(name) in keys, name


@pytest.mark.parametrize(
    ("version", "canonical", "suffix"),
    [
        ("1.2.3", "1", ".2.3"),
        ("0.2.6-rc.1", "0.2", ".6-rc.1"),
        ("0.0.1-alpha", "0.0.1", "-alpha"),
        ("0.0.0", "0.0.0", ""),
        ("12.0.0+b", "12", ".0.0+b"),
        ("0.2", "0.2", ""),
        ("3", "3", ""),
    ],
)
def test_canonical_versions(version: str, canonical: str, suffix: str) -> None:
    assert split_version(version) == (canonical, suffix)
    assert canonical_version_key(version) == canonical


def test_versions_sort_by_precedence() -> None:
    versions = ["1.0.0", None, "0.2", "0.2.1", "0.2.1-rc.1", "0.10.0", "0.2.0"]
    assert sorted(versions, key=version_sort_key) == [None, "0.2", "0.2.0", "0.2.1-rc.1", "0.2.1", "0.10.0", "1.0.0"]


@pytest.mark.parametrize(
    "text", ["", "1", "1.0", "01.0.0", "1.0.0\n", "١.0.0", "1.0.0-", "1.0.0-01", "9" * 5000 + ".0.0"]
)
def test_no_versions(text: str) -> None:
    assert not is_semver(text)
    with pytest.raises(WitError):
        parse_version(text)
