"""Packing of byte strings: zstd, with an earlier version as prefix where there is one, and splices.

A frame always carries zstd's checksum: without it a wrong prefix decodes to garbage silently. A splice is what most
edits by agents are, one changed place; it takes a tenth of the time, and whoever reads it checks the hash.
"""

import sys
from typing import Any

from dagstore.errors import Damaged
from dagstore.lines import common_affixes

LEVEL = 3  # level 19 saves 2 % of a typical delta and costs 15 times as much
LONG_BYTES = 1 << 20  # from here on matches may lie further apart than the default window

zstd: Any = None


def compress(data: bytes, prefix: bytes = b"") -> bytes:
    """A zstd frame of `data`; `decompress` needs the same prefix."""
    module = _zstd()
    parameter = module.CompressionParameter
    options = {parameter.compression_level: LEVEL, parameter.checksum_flag: 1}
    if len(data) + len(prefix) > LONG_BYTES:
        options[parameter.enable_long_distance_matching] = 1
        options[parameter.window_log] = min(27, (len(data) + len(prefix)).bit_length())
    return module.compress(data, options=options, zstd_dict=_prefix(prefix))  # type: ignore[no-any-return]


def decompress(frame: bytes, size: int, prefix: bytes = b"") -> bytes:
    """The data in `frame`; `Damaged` unless it has `size` bytes and a right checksum."""
    module = _zstd()
    decoder = module.ZstdDecompressor(zstd_dict=_prefix(prefix))
    try:
        data = decoder.decompress(frame, max_length=size + 1)
    except module.ZstdError as error:
        raise Damaged(f"a stored frame cannot be decoded: {error}", hint="run `dag fsck --full`") from None
    if len(data) != size or not decoder.eof or decoder.unused_data:
        raise Damaged(f"a stored frame should hold {size} bytes", hint="run `dag fsck --full`")
    return data  # type: ignore[no-any-return]


def splice(data: bytes, base: bytes) -> tuple[int, int, bytes]:
    """How many bytes `data` begins and ends with as `base` does, and what lies between."""
    head, tail = common_affixes(base, data)
    return head, tail, data[head : len(data) - tail]


def unsplice(head: int, tail: int, middle: bytes, size: int, base: bytes) -> bytes:
    """The data; `Damaged` unless it has `size` bytes."""
    if head + tail > len(base) or head + len(middle) + tail != size:
        raise Damaged(f"a stored splice should give {size} bytes", hint="run `dag fsck --full`")
    old = memoryview(base)
    return b"".join((old[:head], middle, old[len(base) - tail :]))


def _prefix(prefix: bytes) -> Any:
    # zstd refuses raw dictionaries shorter than 8 bytes; both directions then go without.
    return _zstd().ZstdDict(prefix, is_raw=True).as_prefix if len(prefix) >= 8 else None


def _zstd() -> Any:
    """The module, imported at first need: most questions to a store never unpack anything."""
    global zstd  # noqa: PLW0603
    if zstd is None:
        if sys.version_info >= (3, 14):
            from compression import zstd as module
        else:
            from backports import zstd as module
        zstd = module
    return zstd
