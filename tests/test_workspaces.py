"""Workspace pointers: what a directory says of the store it belongs to, whatever lies there."""

import os
from pathlib import Path

import pytest

from dagstore.workspaces import pointers, read_pointer, write_pointer


def point(directory, workspace):
    directory.mkdir(exist_ok=True)
    write_pointer(directory, Path("/stores/é\udcff") / workspace, workspace)


def test_a_pointer_says_what_was_written(tmp_path):
    point(tmp_path, "w1")
    assert read_pointer(tmp_path) == (Path("/stores/é\udcff/w1"), "w1")


def test_the_longest_path_is_read_whole(tmp_path):
    store = Path("/" + "\x01" * 4094)
    write_pointer(tmp_path, store, "w")
    assert read_pointer(tmp_path) == (store, "w")


def test_pointers_are_found_upwards_nearest_first(tmp_path):
    outer, inner = tmp_path / "outer", tmp_path / "outer" / "inner"
    point(outer, "w1")
    point(inner, "w2")
    assert [found[::2] for found in pointers(inner / "no" / "folder")][:2] == [(str(inner), "w2"), (str(outer), "w1")]


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"\xff", b"[]", b"1", b"{}", b'{"store": 1, "workspace": "w"}', b'{"store": "/s"}', b"[" * 30_000],
)
def test_what_says_nothing_is_no_pointer(tmp_path, text):
    (tmp_path / ".dag").write_bytes(text)
    assert read_pointer(tmp_path) is None


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink(path, path)])
def test_what_is_no_file_is_no_pointer(tmp_path, make):
    make(tmp_path / ".dag")
    assert read_pointer(tmp_path) is None


@pytest.mark.parametrize("directory", ["/nowhere/at/all", "/\0", "/\ud800"])
def test_a_directory_that_cannot_be_has_no_pointer(directory):
    assert read_pointer(Path(directory)) is None
    assert list(pointers(Path(directory))) == []
