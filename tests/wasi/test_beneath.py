"""The two ways of resolving paths agree with each other, and neither leaves the directory."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest

from component_rt.wasi import beneath

NAMES = ["a", "b", "c", "d", "l", "m", "..", ".", ""]


def make_tree(root: Path, rng: random.Random) -> None:
    """Directories, files and links of every kind, some of which lead out."""
    targets = [
        "a",
        "b/c",
        "../a",
        "..",
        ".",
        "../../secret",
        "/etc/passwd",
        "l",
        "m",
        "a/",
        "b/../a",
        "../x/../a",
        "../..",
    ]
    folders = [root]
    for _ in range(6):
        folder = rng.choice(folders) / rng.choice("abcd")
        if not os.path.lexists(folder):
            folder.mkdir()
            folders.append(folder)
    for _ in range(10):
        place = rng.choice(folders) / rng.choice("abcdlm")
        if not os.path.lexists(place):
            if rng.random() < 0.7:
                place.symlink_to(rng.choice(targets))
            else:
                place.write_text("file")


def outcome(resolve: object, directory: int, path: bytes, flags: int) -> object:
    try:
        fd = resolve(directory, path, flags | os.O_CLOEXEC, 0o600)  # type: ignore[operator]
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    try:
        status = os.fstat(fd)
        return status.st_dev, status.st_ino
    finally:
        os.close(fd)


@pytest.mark.skipif(not beneath._kernel_resolves(), reason="no openat2 here")
@pytest.mark.parametrize("seed", range(12))
def test_the_kernel_and_the_walk_agree(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    (tmp_path / "secret").write_text("secret")
    box = tmp_path / "box"
    box.mkdir()
    make_tree(box, rng)
    inside = {(s.st_dev, s.st_ino) for folder, names, files in os.walk(box) for s in [os.stat(folder)]}
    inside |= {
        (s.st_dev, s.st_ino)
        for folder, names, files in os.walk(box)
        for name in (*names, *files)
        for s in [os.lstat(os.path.join(folder, name))]
    }
    directory = os.open(box, os.O_RDONLY | os.O_DIRECTORY)
    kernel = beneath._openat2
    try:
        for _ in range(250):
            parts = [rng.choice(NAMES) for _ in range(rng.randrange(1, 6))]
            path = "/".join(parts).encode()
            if not path or path.startswith(b"/"):
                continue
            flags = (
                rng.choice([os.O_PATH, os.O_RDONLY]) | rng.choice([0, os.O_NOFOLLOW]) | rng.choice([0, os.O_DIRECTORY])
            )
            one = outcome(lambda d, p, f, m: kernel(d, p, f, 0), directory, path, flags)
            two = outcome(beneath._walk, directory, path, flags)
            assert one == two, (path, flags)
            assert isinstance(one, str) or one in inside, path
    finally:
        os.close(directory)


@pytest.mark.parametrize("seed", range(4))
def test_creating_agrees_too(tmp_path: Path, seed: int) -> None:
    """What one way creates, the other would have created: the same names appear, and none outside."""
    if not beneath._kernel_resolves():
        pytest.skip("no openat2 here")
    rng = random.Random(seed)
    boxes = []
    for name in ("one", "two"):
        parent = tmp_path / name
        parent.mkdir()
        (parent / "secret").write_text("secret")
        (parent / "box").mkdir()
        make_tree(parent / "box", random.Random(seed))
        boxes.append((parent, os.open(parent / "box", os.O_RDONLY | os.O_DIRECTORY)))
    try:
        for _ in range(60):
            path = "/".join(rng.choice([*NAMES, "new"]) for _ in range(rng.randrange(1, 5))).encode()
            if not path or path.startswith(b"/"):
                continue
            flags = os.O_RDWR | os.O_CREAT | rng.choice([0, os.O_EXCL, os.O_NOFOLLOW])
            results = [
                outcome(resolve, directory, path, flags)
                for resolve, (_, directory) in zip((beneath._openat2, beneath._walk), boxes)
            ]
            kinds = [result if isinstance(result, str) else "opened" for result in results]
            assert kinds[0] == kinds[1], (path, flags, kinds)
        trees = [sorted(str(found.relative_to(parent)) for found in parent.rglob("*")) for parent, _ in boxes]
        assert trees[0] == trees[1]
        assert all(sorted(os.listdir(parent)) == ["box", "secret"] for parent, _ in boxes)
    finally:
        for _, directory in boxes:
            os.close(directory)
