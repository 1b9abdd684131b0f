"""Which paths can live side by side: a path that collides with an earlier one gives way to it."""

from collections.abc import Iterable

from dagstore.paths import fold


def collisions(paths: Iterable[str]) -> dict[int, int]:
    """The position of each path that must go, with that of the earlier path that it collides with.

    Two paths collide when they are the same without regard to case and Unicode form, when one is the other's
    folder, or when their folders are spelled differently.
    """
    files: dict[str, int] = {}
    folders: dict[str, tuple[str, int]] = {}
    losers: dict[int, int] = {}
    for at, path in enumerate(paths):
        rival = _rival(path, files, folders)
        if rival is not None:
            losers[at] = rival
            continue
        files[fold(path)] = at
        for folder in _folders(path):
            folders.setdefault(fold(folder), (folder, at))
    return losers


def _folders(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def _rival(path: str, files: dict[str, int], folders: dict[str, tuple[str, int]]) -> int | None:
    key = fold(path)
    if key in files:
        return files[key]
    if key in folders:
        return folders[key][1]
    for folder in _folders(path):
        key = fold(folder)
        if key in files:
            return files[key]
        spelling, owner = folders.get(key, (folder, None))
        if spelling != folder:
            return owner
    return None
