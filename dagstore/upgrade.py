"""Brings a store of format 1, which was one LMDB environment, up to date: every object in its order, under its number.

A row of its table `obj` is an envelope, msgpack `[kind, codec, id, size, base, chain, depth, payload]`: `size` of the
plain bytes, `base` the number of the object that the payload is a delta against (0: none). Codecs are RAW, ZSTD, DELTA
and FILE. In `state`, the rows of workspaces held their stat caches too.

The new log is written beside the old file, in a folder of its own. Giving it its name is the one step that counts:
until then the store is of format 1, and all of this can be repeated; from then on it is of format 2.
"""

import os
import shutil
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from dagstore.base import Base
from dagstore.chains import id_of
from dagstore.codec import decode, unpack
from dagstore.deltas import decompress
from dagstore.environment import LOG
from dagstore.errors import BadInput, Damaged, NotFound, Unavailable
from dagstore.finding import enter
from dagstore.ids import BlobId, Id, NodeId
from dagstore.index import Progress, clear
from dagstore.logfile import sync_folder
from dagstore.model import Node, Tree
from dagstore.records import FILE as FILE_RECORD
from dagstore.records import KINDS, varint, write_record
from dagstore.storage import Writer
from dagstore.storage_lmdb import LmdbStorage
from dagstore.storage_lmdb_v1 import DATA, KEPT_AS, LOCK, OldTables, old_tables
from dagstore.workspaces import PREFIX as WORK
from dagstore.workspaces import Workspace, mark_sealed, save_workspace

FORMAT = b"2"
FOLDER = "upgrade"
"""In the store's folder: where the new log is written."""
LOT = 2000
"""Objects in one transaction."""
RAW, ZSTD, DELTA, FILE = range(4)


class Envelope(NamedTuple):
    kind: type[Id]
    codec: int
    id: Id
    size: int
    base: int
    payload: bytes


def upgrade(folder: Path, progress: Progress | None = None) -> None:
    """Make the store of format 1 in `folder` one of format 2; its old file stays, as `v1.mdb`.

    `progress` is told of objects done and in all. `Refused` if somebody has the store open, `Damaged` if an object
    cannot be read; the store is then as it was. One that was broken off is begun anew, or ended if it got that far.
    """
    try:
        with old_tables(folder) as old:
            if not (folder / LOG).is_file():
                _write_new(old, folder, progress)
                os.rename(folder / FOLDER / LOG, folder / LOG)
                sync_folder(folder)
            finish_upgrade(folder)
    except OSError as error:
        raise Unavailable(f"{folder}: {error.strerror}", hint="free some space or check permissions") from error


def finish_upgrade(folder: Path) -> None:
    """What is left to do when the new log has its name: put the old file aside, where nobody takes it for the store."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    (folder / LOCK).unlink(missing_ok=True)
    if not (folder / KEPT_AS).exists():
        with suppress(FileNotFoundError):
            os.rename(folder / DATA, folder / KEPT_AS)


def _write_new(old: OldTables, folder: Path, progress: Progress | None) -> None:
    if old.get("meta", b"format") != b"1":
        raise NotFound(f"{folder} was never finished", hint="run `dag init` again")
    new = folder / FOLDER
    shutil.rmtree(new, ignore_errors=True)
    storage = LmdbStorage(new, create=True)
    try:
        _Successor(folder, storage, time.time, os.urandom).take_over(old, progress)
    finally:
        storage.close()


class _Successor(Base):
    """The store of format 2 while it is written; its large blobs are those of the old one."""

    _last_tree = 0

    def take_over(self, old: OldTables, progress: Progress | None) -> None:
        """All objects, then the kept rows; durable when it returns."""
        done, total = 0, old.count("obj")
        rows = old.scan("obj")
        while lot := list(islice(rows, LOT)):
            with self._write() as txn:
                if not done:
                    clear(txn)
                for key, row in lot:
                    done += 1
                    self._take(txn, int.from_bytes(key, "big"), row)
            if progress:
                progress(done, total)
        with self._write() as txn:
            for key, value in old.scan("meta"):
                if key not in (b"format", b"index"):
                    txn.put("meta", key, value)
            for key, value in old.scan("state"):
                _take_row(txn, key, value)
            txn.put("meta", b"format", FORMAT)

    def _take(self, txn: Writer, number: int, row: bytes) -> None:
        """Add one object, which must become the record of the same number."""
        envelope = _open(row, number)
        if envelope.codec == FILE:
            txn.log(write_record(envelope.kind, FILE_RECORD, envelope.id, varint(envelope.size)))
            enter(txn, envelope.id, number)
        else:
            self._add(txn, envelope, self._plain(txn, envelope, number))
        if txn.records() != number:
            raise _damaged(number, "it is not where it should be")

    def _add(self, txn: Writer, envelope: Envelope, data: bytes) -> None:
        kind, base = envelope.kind, envelope.base
        if kind is BlobId:
            self._objects.put(txn, kind, data, base)
            return
        value = decode(kind, data)
        if isinstance(value, Tree):
            _, self._last_tree, _ = self._objects.put_tree(txn, value, base or self._last_tree)
        elif isinstance(value, Node):
            self._put_node(txn, value)
        else:
            self._put(txn, value, data, kind)

    def _plain(self, txn: Writer, envelope: Envelope, number: int) -> bytes:
        """The plain bytes of an object, which are those of its id."""
        data = envelope.payload
        if envelope.codec == ZSTD:
            data = decompress(data, envelope.size)
        elif envelope.codec == DELTA:
            if not 0 < envelope.base < number:
                raise _damaged(number, "it lies before its base")
            data = decompress(data, envelope.size, self._objects.recall(txn, id_of(txn, envelope.base)))
        if envelope.kind.of(data) != envelope.id or len(data) != envelope.size:
            raise _damaged(number, f"it holds other bytes than {envelope.id} says")
        return data


def _open(row: bytes, number: int) -> Envelope:
    try:
        kind, codec, id, size, base, _, _, payload = unpack(row)
        if codec in (RAW, ZSTD, DELTA) or (codec == FILE and KINDS[kind] is BlobId):
            return Envelope(KINDS[kind], codec, KINDS[kind](id), size, base, payload)
    except (BadInput, ValueError, TypeError, IndexError) as error:
        raise _damaged(number, str(error)) from None
    raise _damaged(number, f"it has an unknown codec {codec}")


def _damaged(number: int, why: str) -> Damaged:
    return Damaged(f"object number {number} of the store of format 1 cannot be read: {why}", hint="restore a copy")


def _take_row(txn: Writer, key: bytes, value: bytes) -> None:
    """Claims, tickets and names are what they were; stat caches of workspaces are left behind, since they may be."""
    if not key.startswith(WORK):
        txn.put("state", key, value)
        return
    path, parent, agent, why, token, created, sealed, _ = unpack(value)
    id = key[len(WORK) :].decode()
    save_workspace(txn, Workspace(id, path, NodeId(parent), agent, why, token, created))
    if sealed:
        mark_sealed(txn, id, NodeId(sealed))
