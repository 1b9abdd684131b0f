"""Objects by id. The set `id` holds, for each, its kind, four bytes of its id, and its number.

The number is that of its record; for a node it is the node's own. Ids that agree in 32 bits lie side by side, and
whoever asks for one is given it only if all 256 agree.
"""

from collections.abc import Iterator

from dagstore.chains import id_of
from dagstore.errors import Damaged
from dagstore.ids import Id, NodeId
from dagstore.records import KINDS, NUMBER, read_record
from dagstore.rows import id_of_node
from dagstore.storage import Reader, Writer, after

BEGIN = 4
DIGITS = 2 * BEGIN
_HEAD = {kind: bytes([number]) for kind, number in NUMBER.items()}


def find(txn: Reader, id: Id) -> int:
    """The number of an object, or 0: of a node its own, of anything else that of its record."""
    memo = txn.memo
    known = memo.numbers.get(id) or memo.older.numbers.get(id)
    if known:
        return known
    begin = _HEAD[type(id)] + id[:BEGIN]
    key = txn.seek("id", begin)
    while key is not None and key.startswith(begin):
        if _id_behind(txn, type(id), key, str(id)) == id:
            number = memo.numbers[id] = int.from_bytes(key[1 + BEGIN :], "big")
            return number
        key = txn.seek("id", _next(key))
    return 0


def enter(txn: Writer, id: Id, number: int) -> None:
    """Let an id be found."""
    txn.memo.numbers[id] = number
    txn.put("id", _HEAD[type(id)] + id[:BEGIN] + number.to_bytes(4, "big"), b"")


def name_of(txn: Reader, kind: type[Id], number: int) -> Id:
    """The id of the object of a kind that `find` gives this number for."""
    return id_of_node(txn, number) if kind is NodeId else id_of(txn, number)


def kind_of(txn: Reader, record: int) -> type[Id]:
    return read_record(txn.record(record), record).kind


def newest(txn: Reader, kind: type[Id]) -> Iterator[int]:
    """Numbers of the objects of a kind, newest first; of nodes their own, of all others those of their records."""
    low = bytes([NUMBER[kind]])
    numbers = (int.from_bytes(key[1 + BEGIN :], "big") for key, _ in txn.scan("id", low, after(low)))
    yield from sorted(numbers, reverse=True)


def with_prefix(txn: Reader, kind: type[Id], digits: str, limit: int) -> list[Id]:
    """At most `limit` ids of a kind that start with these hex digits, in order."""
    low = bytes([NUMBER[kind]]) + bytes.fromhex(digits[: min(len(digits) // 2 * 2, DIGITS)])
    found: list[Id] = []
    for key, _ in txn.scan("id", low, after(low)):
        if key[1 : 1 + BEGIN].hex().startswith(digits[:DIGITS]):
            id = _id_behind(txn, kind, key, key[1 : 1 + BEGIN].hex())
            if str(id).startswith(digits):
                found.append(id)
        if len(found) == limit:
            break
    return sorted(found)


def short(txn: Reader, id: Id, least: int = DIGITS) -> str:
    """The shortest prefix of at least `least` digits that names only this object of its kind, and is no alias's."""
    own = _HEAD[type(id)] + id[:BEGIN] + find(txn, id).to_bytes(4, "big")
    low, text = own[: 1 + min(least, DIGITS) // 2], str(id)
    shared = [_shared_with(txn, text, key) for key, _ in txn.scan("id", low, after(low)) if key != own]
    size = max(least, 1 + max(shared, default=0))
    while type(id) is NodeId and size < len(text) and _begins_alias(txn, text[:size]):
        size += 1
    return text[:size]


def _begins_alias(txn: Reader, text: str) -> bool:
    begin = text.encode()
    key = txn.seek("alias", begin)
    return key is not None and key.startswith(begin)


def _id_behind(txn: Reader, kind: type[Id], key: bytes, name: str) -> Id:
    """The id that an entry of the set begins; `Damaged`, with what is known as its name, if its record is lost."""
    try:
        return name_of(txn, kind, int.from_bytes(key[1 + BEGIN :], "big"))
    except Damaged as error:
        raise Damaged(f"{kind.kind} {name} cannot be read: {error.message}", hint=error.hint) from error


def _shared_with(txn: Reader, text: str, key: bytes) -> int:
    """How many digits an id shares with the one of another entry of the set."""
    digits = key[1 : 1 + BEGIN].hex()
    if text.startswith(digits):
        digits = str(name_of(txn, KINDS[key[0]], int.from_bytes(key[1 + BEGIN :], "big")))
    return next((at for at, (a, b) in enumerate(zip(text, digits, strict=False)) if a != b), len(digits))


def _next(key: bytes) -> bytes:
    """The key after that one, of the same length."""
    return (int.from_bytes(key, "big") + 1).to_bytes(len(key), "big")
