"""Whether the four packages that Python would import are those that were installed.

`agent`, `trainer` and `cli` are common names: another distribution may overwrite them, after which the path still
looks right, so contents are compared with the hashes in RECORD. Nothing is imported for that.
"""

import hashlib
import json
from base64 import urlsafe_b64encode
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("dagstore", "agent", "trainer", "cli")
REMEDY = "install dagstore in an environment of its own (uv tool install, pipx), and start it as `dag`"


def find() -> metadata.Distribution | None:
    """The installed distribution; None when dagstore only lies on the path."""
    try:
        return metadata.distribution("dagstore")
    except metadata.PackageNotFoundError:
        return None


def version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def is_editable(installed: metadata.Distribution) -> bool:
    """Whether it was installed with `pip install -e`."""
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    return bool(origin.get("dir_info", {}).get("editable"))


def problem(installed: metadata.Distribution | None, name: str) -> str:
    """What is wrong with one of the packages; empty if nothing is."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        return f"there is no package {name!r}"
    found = Path(spec.origin).resolve()
    if installed is None or is_editable(installed):
        return _beside(found)
    expected = Path(str(installed.locate_file(f"{name}/__init__.py"))).resolve()
    if found != expected:
        return f"{found} hides {expected}"
    return _changed(installed, name)


def _beside(found: Path) -> str:
    ours = Path(__file__).resolve().parent.parent
    return "" if found.parent.parent == ours else f"{found} is not beside the others in {ours}"


def _changed(installed: metadata.Distribution, name: str) -> str:
    """The first files of a package that differ from what was installed."""
    wrong = []
    for file in installed.files or ():
        if file.parts[0] == name and file.hash is not None and file.hash.mode == "sha256":
            at = Path(str(file.locate()))
            if not at.is_file():
                wrong.append(f"{file} is gone")
            elif _digest(at) != file.hash.value:
                wrong.append(f"{file} is not what was installed")
    return "; ".join(wrong[:3]) + ("; …" if len(wrong) > 3 else "")


def _digest(file: Path) -> str:
    return urlsafe_b64encode(hashlib.sha256(file.read_bytes()).digest()).rstrip(b"=").decode()
