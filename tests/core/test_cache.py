"""The code cache: whole files or none, never a failure."""

from __future__ import annotations

import os
import threading

import pytest

from core_rt.compile.cache import CodeCache, entry_key

KEY = entry_key(b"module", "config")


@pytest.fixture
def cache(tmp_path):
    return CodeCache(tmp_path / "cache")


def _only_file(cache):
    [file] = cache.folder.glob("??/*")
    return file


def test_what_is_put_can_be_got(cache):
    assert cache.get(KEY) is None
    assert cache.put(KEY, b"code")
    assert cache.get(KEY) == b"code"
    assert CodeCache(cache.folder).get(KEY) == b"code"
    assert cache.statistics()["hits"] == 1


def test_parts_do_not_run_together():
    assert entry_key("ab", "c") != entry_key("a", "bc")


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-1], lambda d: d[:10], lambda d: b"x" + d[1:], lambda d: d[:-1] + b"\xff", lambda d: b""]
)
def test_a_damaged_file_is_a_miss_and_goes_away(cache, damage):
    cache.put(KEY, b"code" * 10)
    file = _only_file(cache)
    file.write_bytes(damage(file.read_bytes()))
    assert cache.get(KEY) is None
    assert not file.exists()
    assert cache.statistics()["refused"] == 1
    assert cache.put(KEY, b"again")
    assert cache.get(KEY) == b"again"


def test_a_file_under_another_name_is_refused(cache):
    other = entry_key("other")
    cache.put(other, b"other code")
    name = KEY.hex()
    target = cache.folder / name[:2]
    target.mkdir(exist_ok=True)
    os.replace(_only_file(cache), target / f"{name[2:]}.code")
    assert cache.get(KEY) is None


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    cache = CodeCache(folder)
    assert not cache.put(KEY, b"code")
    assert cache.get(KEY) is None
    assert cache.statistics()["errors"] == 1


def test_a_folder_that_cannot_be_made_is_no_failure(tmp_path):
    (tmp_path / "file").write_text("")
    cache = CodeCache(tmp_path / "file" / "below")
    assert not cache.put(KEY, b"code")
    assert cache.get(KEY) is None


def test_the_least_recently_used_go_first(cache):
    cache.max_bytes = 3000
    keys = [entry_key(str(i)) for i in range(4)]
    for age, key in enumerate(keys[:3]):
        cache.put(key, bytes(800))
        path = cache._path(key)
        os.utime(path, (1000 + age, 1000 + age))
    assert cache.get(keys[0]) is not None  # used again: now the newest
    cache.put(keys[3], bytes(800))
    assert cache.get(keys[1]) is None
    assert cache.get(keys[0]) is not None
    assert cache.get(keys[3]) is not None


def test_many_writers(cache):
    contents = os.urandom(100_000)
    failures = []

    def work():
        mine = CodeCache(cache.folder)
        for _ in range(20):
            mine.put(KEY, contents)
            found = mine.get(KEY)
            if found is not None and found != contents:
                failures.append(found)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert cache.get(KEY) == contents
    assert len(list(cache.folder.glob("??/*"))) == 1
