"""Where a symbolic link of a tree may point: to what lies inside the tree, whatever else is there."""

import os

from dagstore.paths import RESERVED

LINK_LIMIT = 4095


def link_problem(path: str, target: bytes) -> str:
    """Why the link `path` may not point to `target`; empty if it may.

    `..` may only lead: a link's own folder is real, so climbing from it is exact, while climbing back out of a
    name that is itself a link could end anywhere.
    """
    shown = repr(os.fsdecode(target))
    if not target or b"\0" in target or len(target) > LINK_LIMIT:
        return "is a link to nowhere (its target is empty, holds a NUL or is longer than 4,095 bytes)"
    if target.startswith(b"/"):
        return f"is a link to the absolute path {shown}"
    parts = [part for part in target.split(b"/") if part not in (b"", b".")]
    climbs = 0
    while parts[climbs : climbs + 1] == [b".."]:
        climbs += 1
    if climbs > path.count("/"):
        return f"is a link that leaves the tree: {shown}"
    if b".." in parts[climbs:]:
        return f"is a link that climbs after it descends: {shown}"
    if any(os.fsdecode(part).lower() in RESERVED for part in parts):
        return f"is a link into what is no part of the tree: {shown}"
    return ""
