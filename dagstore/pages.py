"""Looks at the pages of an LMDB file (data format 0.9, 64 bits, little-endian) as bytes.

LMDB trusts what it reads: a page that is not what it should be may end the process that meets it. This module says so
before. It knows how pages hang together and that nothing leads out of them, not what is in their rows.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dagstore.environment import DATA, INDEX
from dagstore.storage_lmdb import LmdbStorage
from dagstore.transactions import View

_HEADER = struct.Struct("<QHHHH")
"""The page's number, the size of its keys if it is packed, what it is, where its free room begins and ends."""
_NODE = struct.Struct("<HHHH")
"""Size of the data in two halves, what it is, size of the key. In a branch the first three are a page's number."""
_TREE = struct.Struct("<IHHQQQQQ")
"""Padding (in the first tree of all: the size of a page), flags, depth, counts of pages and entries, root."""
_META = struct.Struct("<IIQQ")
"""Magic, version, address, size of the map; two trees follow, the last page and the number of the commit."""
_END = struct.Struct("<QQ")
_BRANCH, _LEAF, _OVERFLOW, _META_PAGE, _PACKED, _SUBPAGE = 0x01, 0x02, 0x04, 0x08, 0x20, 0x40
_KINDS = _BRANCH | _LEAF | _OVERFLOW | _META_PAGE | _PACKED | _SUBPAGE
_BIG, _SUBTREE, _DUPLICATES = 0x01, 0x02, 0x04
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_NOWHERE = (1 << 64) - 1
_SIZES = tuple(1 << bits for bits in range(9, 17))
_DEEPEST = 32
_PASSED = "neither of its first pages leads to the last commit"
"""So it is also if two others follow before the first pages are read."""
_ROUNDS = 5


class _Tree(NamedTuple):
    pad: int
    flags: int
    depth: int
    branches: int
    leaves: int
    overflows: int
    entries: int
    root: int


class _Wrong(Exception):
    """Says what is wrong."""


def index_damage(storage: LmdbStorage, folder: Path) -> str:
    """What is wrong with some page of a store's index; empty if nothing is found."""
    damage = ""
    for _ in range(_ROUNDS):
        with storage.read() as txn:
            assert isinstance(txn, View)
            damage = page_damage(folder / INDEX / DATA, txn.commit())
        if not damage.endswith(_PASSED):
            break
    return damage


def page_damage(file: Path, commit: int) -> str:
    """What is wrong with some page of that commit, empty if nothing is found.

    Whoever asks has a read transaction open that sees the commit, so that its pages are not used again.
    """
    handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pages = _Pages(handle, commit)
        for tree in pages.trees:
            pages.walk(tree)
    except (_Wrong, struct.error, IndexError) as error:
        return f"{file}: {error}"
    finally:
        os.close(handle)
    return ""


class _Pages:
    def __init__(self, handle: int, commit: int) -> None:
        self._handle = handle
        self._size = _tree(os.pread(handle, 4096, 0), _HEADER.size + _META.size).pad
        if self._size not in _SIZES:
            raise _Wrong("it does not begin as an index does")
        self.trees: list[_Tree] = []
        for number in (0, 1):
            self._read_meta(os.pread(handle, self._size, number * self._size), commit)
        if not self.trees:
            raise _Wrong(_PASSED)

    def _read_meta(self, page: bytes, commit: int) -> None:
        magic, version, *_ = _META.unpack_from(page, _HEADER.size)
        at = _HEADER.size + _META.size
        last, number = _END.unpack_from(page, at + 2 * _TREE.size)
        if (magic, version & 0xFFFF, number) == (_MAGIC, _VERSION, commit):
            self.trees = [_tree(page, at), _tree(page, at + _TREE.size)]
            self._seen = bytearray(last + 1)
            self._seen[:2] = b"\1\1"

    def walk(self, tree: _Tree) -> None:
        """Look at every page that a tree leads to."""
        todo = [(tree.root, 1, tree.depth)] if tree.root != _NOWHERE else []
        while todo:
            number, level, depth = todo.pop()
            if depth > _DEEPEST:
                raise _Wrong(f"page {number} is the root of a tree {depth} deep")
            page = self._page(number)
            _, _, flags, lower, upper = _HEADER.unpack_from(page)
            if not _HEADER.size < lower <= upper <= self._size or lower % 2:
                raise _Wrong(f"page {number} has no room where it should")
            if level < depth:
                self._expect(number, flags, _BRANCH)
                todo += ((child, level + 1, depth) for child in self._children(page, number, lower))
            elif not flags & _PACKED:
                self._expect(number, flags, _LEAF)
                todo += ((below.root, 1, below.depth) for below in self._leaf(page, number, lower))
            else:
                self._expect(number, flags, _LEAF | _PACKED)
                _check_packed(page, number)

    def _page(self, number: int) -> bytes:
        self._take(number, 1)
        page = os.pread(self._handle, self._size, number * self._size)
        if len(page) < self._size or _HEADER.unpack_from(page)[0] != number:
            raise _Wrong(f"page {number} is another one")
        return page

    def _take(self, number: int, count: int) -> None:
        """Every page belongs to one place."""
        if number + count > len(self._seen) or any(self._seen[number : number + count]):
            raise _Wrong(f"page {number} is used twice, or there is none")
        self._seen[number : number + count] = b"\1" * count

    def _expect(self, number: int, flags: int, wanted: int) -> None:
        if flags & _KINDS != wanted:
            raise _Wrong(f"page {number} is of kind {flags:#x}, where {wanted:#x} is expected")

    def _children(self, page: bytes, number: int, lower: int) -> Iterator[int]:
        for low, high, more, _ in _nodes(page, number, lower):
            yield low | high << 16 | more << 32

    def _leaf(self, page: bytes, number: int, lower: int) -> Iterator[_Tree]:
        """The trees below a leaf; what is too big for it is looked at."""
        for at in _offsets(page, lower):
            low, high, flags, key = _NODE.unpack_from(page, at)
            begin, size = at + _NODE.size + key, low | high << 16
            if begin + (8 if flags & _BIG else size) > self._size:
                raise _Wrong(f"a row of page {number} ends outside of it")
            if flags & _BIG:
                self._look_at_overflow(int.from_bytes(page[begin : begin + 8], "little"), size)
            elif flags & _SUBTREE:
                below = _tree(page[: begin + size], begin)
                if below.root != _NOWHERE:
                    yield below
            elif flags & _DUPLICATES:
                _check_subpage(page[begin : begin + size], number)

    def _look_at_overflow(self, number: int, size: int) -> None:
        count = -(-(_HEADER.size + size) // self._size)
        self._take(number, count)
        found, _, flags, low, high = _HEADER.unpack(os.pread(self._handle, _HEADER.size, number * self._size))
        self._expect(number, flags, _OVERFLOW)
        if found != number or low | high << 16 < count:
            raise _Wrong(f"page {number} does not begin {count} pages")


def _tree(page: bytes, at: int) -> _Tree:
    return _Tree(*_TREE.unpack_from(page, at))


def _offsets(page: bytes, lower: int) -> tuple[int, ...]:
    return struct.unpack_from(f"<{(lower - _HEADER.size) // 2}H", page, _HEADER.size)


def _nodes(page: bytes, number: int, lower: int) -> Iterator[tuple[int, int, int, int]]:
    for at in _offsets(page, lower):
        node = _NODE.unpack_from(page, at)
        if at < lower or at + _NODE.size + node[3] > len(page):
            raise _Wrong(f"a row of page {number} ends outside of it")
        yield node


def _check_packed(page: bytes, number: int) -> None:
    """Keys of one size, without headers."""
    _, key, _, lower, _ = _HEADER.unpack_from(page)
    if not key or _HEADER.size + (lower - _HEADER.size) // 2 * key > len(page):
        raise _Wrong(f"the keys of page {number} end outside of it")


def _check_subpage(page: bytes, number: int) -> None:
    """A page in a row: the few values of one key."""
    _, _, flags, lower, upper = _HEADER.unpack_from(page)
    if not flags & _SUBPAGE or not flags & _LEAF or not _HEADER.size <= lower <= upper <= len(page):
        raise _Wrong(f"the values of a row of page {number} are none")
    if flags & _PACKED:
        _check_packed(page, number)
    else:
        for low, high, _, key in _nodes(page, number, lower):
            if low | high << 16 > len(page) or key > len(page):
                raise _Wrong(f"a value in page {number} ends outside of it")
