"""The fixed half of the question: data, evaluation and time budget. Locked: an experiment may not change it.

    python prepare.py                 prepare the data (once; later calls find it) and say what was done
    python prepare.py --fingerprint   print one line that names the data exactly

The data are the `.py` files of the running interpreter's own standard library: nothing to download, and another Python
has another text. The fingerprint tells them apart, so numbers measured on different texts are never ranked together.
torch is imported only by the functions that need it, so that `--fingerprint` stays quick.
"""

import hashlib
import math
import os
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# --- Constants --------------------------------------------------------------------------------------------------------

VOCAB_SIZE = 256  # a token is a byte
MAX_SEQ_LEN = 256  # bytes of context in the evaluation
TIME_BUDGET = float(os.environ.get("DAG_BUDGET") or 10)  # seconds of training; DAG_BUDGET is the charter's budget

EVAL_WINDOWS = 192  # windows of MAX_SEQ_LEN bytes, spread evenly over the validation text
EVAL_BATCH = 32
VAL_ONE_IN = 20  # about one file in twenty is validation text

CACHE_DIR = Path(os.environ.get("TINYGPT_CACHE") or "~/.cache/tinygpt").expanduser()

# Left out: what is not the standard library, tests, and long tables that read like no other Python.
SKIP_DIRS = {
    "__pycache__", "dist-packages", "encodings", "ensurepip", "idlelib", "lib-dynload", "lib2to3", "pydoc_data",
    "site-packages", "test", "tests", "turtledemo",
}  # fmt: skip
# Left out as well: files that each build or distribution writes for itself, so equal Pythons have equal text.
SKIP_FILES = ("_sysconfigdata", "_sysconfig_vars", "sitecustomize", "usercustomize")

# --- The text ---------------------------------------------------------------------------------------------------------


def stdlib_files(root: Path) -> list[tuple[str, Path]]:
    """(path relative to `root`, path) of every file of the text, sorted by relative path."""
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [s for s in subfolders if s not in SKIP_DIRS and not s.startswith("config-")]
        wanted = (Path(folder, n) for n in names if n.endswith(".py") and not n.startswith(SKIP_FILES))
        found += [(path.relative_to(root).as_posix(), path) for path in wanted]
    return sorted(found)


def is_validation(relative: str) -> bool:
    """Whether a file is validation text: a matter of its path alone, so the same in every Python that has it."""
    return hashlib.blake2b(relative.encode(), digest_size=1).digest()[0] % VAL_ONE_IN == 0


def read_corpus(files: list[tuple[str, Path]]) -> bytes:
    """The corpus: 8 bytes (little-endian length of the training text), training text, validation text.

    Each file follows one NUL byte, which tells a model where a file begins.
    """
    parts: dict[bool, list[bytes]] = {False: [], True: []}
    for relative, path in files:
        parts[is_validation(relative)] += [b"\0", path.read_bytes()]
    train, val = b"".join(parts[False]), b"".join(parts[True])
    if min(len(train), len(val)) <= MAX_SEQ_LEN:
        sys.exit(f"prepare.py: no source text in {sysconfig.get_path('stdlib')}; use a Python with its .py files")
    return len(train).to_bytes(8, "little") + train + val


def name_of(corpus: bytes) -> str:
    """The fingerprint: Python version and a digest of every byte of the corpus, lengths included."""
    version = ".".join(map(str, sys.version_info[:3]))
    return f"stdlib-{version}-{hashlib.blake2b(corpus, digest_size=8).hexdigest()}"


# --- The cache --------------------------------------------------------------------------------------------------------
#
# Two files: `<fingerprint>.bin`, the corpus, and `<key>.stamp`, the fingerprint that reading the standard library gave
# last time. The key covers this file, sys.version and path, size and mtime of every source file; while those stay the
# same, nothing is read again. A file changed in place with its size and mtime kept would go unnoticed, and so would a
# forged stamp: the cache saves time, it proves nothing. What every load does check is the corpus itself: its bytes must
# give the fingerprint that was printed, or it is made anew.


def stamp_key(root: Path, files: list[tuple[str, Path]]) -> str:
    """What the fingerprint depends on, as far as can be told without reading the files."""
    facts = [sys.version, str(root), Path(__file__).read_text(encoding="utf-8")]
    for relative, path in files:
        stat = path.stat()
        facts.append(f"{relative} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.blake2b("\0".join(facts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """`path` holds all of `data`, or what it held before; two writers at once leave one whole file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=path.name, suffix=".tmp", dir=path.parent)
    try:
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave the name without the bytes
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def remembered(stamp: Path) -> str | None:
    """The fingerprint in `stamp`, if its corpus is there too."""
    try:
        name = stamp.read_text(encoding="ascii")
        return name if (CACHE_DIR / f"{name}.bin").stat() else None
    except (OSError, ValueError):
        return None


def prepare(again: bool = False) -> tuple[str, bytes | None, str]:
    """(fingerprint, the corpus if it was read now, what was done); `again` reads it even where a stamp exists."""
    root = Path(sysconfig.get_path("stdlib"))
    files = stdlib_files(root)
    stamp = CACHE_DIR / f"{stamp_key(root, files)}.stamp"
    if not again and (name := remembered(stamp)):
        return name, None, f"found in {CACHE_DIR}"
    corpus = read_corpus(files)
    name = name_of(corpus)
    try:
        write_atomically(CACHE_DIR / f"{name}.bin", corpus)
        write_atomically(stamp, name.encode("ascii"))  # last: a stamp promises that its corpus is there
    except OSError as error:  # a sandbox without a writable cache is slower, not broken
        return name, corpus, f"read {len(files)} files; not cached: {error}"
    return name, corpus, f"read {len(files)} files, cached in {CACHE_DIR}"


def load_corpus() -> bytes:
    """The corpus, whose bytes give the fingerprint that `prepare` returned."""
    name, corpus, _ = prepare()
    if corpus is None:
        corpus = (CACHE_DIR / f"{name}.bin").read_bytes()
        if name_of(corpus) != name:  # a damaged cache
            corpus = prepare(again=True)[1]
    assert corpus is not None
    return corpus


def load_data() -> "tuple[torch.Tensor, torch.Tensor]":
    """Training and validation text, each one flat uint8 tensor on the CPU."""
    import torch

    corpus = bytearray(load_corpus())  # torch wants memory that it may write to
    data = torch.frombuffer(corpus, dtype=torch.uint8)
    end = 8 + int.from_bytes(corpus[:8], "little")
    return data[8:end], data[end:]


# --- The evaluation ---------------------------------------------------------------------------------------------------


def eval_batches(device: "torch.device | str") -> "Iterator[tuple[torch.Tensor, torch.Tensor]]":
    """Inputs and targets, each [EVAL_BATCH, MAX_SEQ_LEN]: always the same windows of the validation text."""
    import torch

    _, val = load_data()
    starts = torch.linspace(0, len(val) - MAX_SEQ_LEN - 1, EVAL_WINDOWS, dtype=torch.float64).long()
    for some in starts.split(EVAL_BATCH):
        window = val[some[:, None] + torch.arange(MAX_SEQ_LEN + 1)].long().to(device)
        yield window[:, :-1], window[:, 1:]


def looks_ahead(model: "Callable[[torch.Tensor], torch.Tensor]", x: "torch.Tensor") -> bool:
    """Whether the bytes after some position change what `model` says up to it; its numbers would mean nothing."""
    half = x.shape[1] // 2
    changed = x.clone()
    changed[:, half:] = (changed[:, half:] + 101) % VOCAB_SIZE
    before, after = model(x)[:, :half].float(), model(changed)[:, :half].float()
    return bool((before - after).abs().max() > 0.01 * (1 + before.abs().max()))  # room for rounding in bfloat16


def evaluate_bpb(model: "torch.nn.Module", device: "torch.device | str") -> float:
    """Bits per byte on the validation text, lower is better; `model(x)` gives logits [B, T, 256] for x [B, T].

    8 is knowing nothing. NaN if the logits are not finite. A model that looks ahead is an error.
    """
    import torch
    import torch.nn.functional as F

    model.eval()
    nats, count = 0.0, 0
    with torch.no_grad():
        for x, y in eval_batches(device):
            if count == 0 and looks_ahead(model, x[:2]):
                raise ValueError("the model looks ahead: its output depends on bytes that it is asked to predict")
            logits = model(x).float()
            if logits.shape != (*x.shape, VOCAB_SIZE):
                raise ValueError(f"logits have shape {tuple(logits.shape)}, not {(*x.shape, VOCAB_SIZE)}")
            nats += F.cross_entropy(logits.reshape(-1, VOCAB_SIZE), y.reshape(-1), reduction="sum").item()
            count += y.numel()
    return nats / count / math.log(2)


def main() -> None:
    name, _, done = prepare()
    if "--fingerprint" in sys.argv[1:]:
        print(name)
        return
    corpus = load_corpus()
    train = int.from_bytes(corpus[:8], "little")
    print(f"{name}: {done}")
    print(f"training text {train:,} bytes, validation text {len(corpus) - 8 - train:,} bytes")


if __name__ == "__main__":
    main()
