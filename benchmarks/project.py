"""A generated project like those that research agents work on: nine files, one of them a long `train.py`."""

from pathlib import Path
from random import Random

CONSTANTS = (
    ("DEPTH", "8"),
    ("ASPECT_RATIO", "64"),
    ("HEAD_DIM", "128"),
    ("WINDOW_PATTERN", '"SSSL"'),
    ("TOTAL_BATCH_SIZE", "2**19"),
    ("EMBEDDING_LR", "0.6"),
    ("UNEMBEDDING_LR", "0.004"),
    ("MATRIX_LR", "0.04"),
    ("SCALAR_LR", "0.5"),
    ("WEIGHT_DECAY", "0.2"),
    ("ADAM_BETAS", "(0.8, 0.95)"),
    ("WARMUP_RATIO", "0.0"),
    ("WARMDOWN_RATIO", "0.5"),
    ("FINAL_LR_FRAC", "0.0"),
    ("DEVICE_BATCH_SIZE", "128"),
    ("GRAD_CLIP", "1.0"),
)
"""Adjacent assignments, as such scripts keep their hyper-parameters."""

TRAIN_BYTES = 26_000
CHARTER = """command = "python train.py"
metric = "val_bpb"
direction = "minimize"
budget = "5m"
editable = ["train.py"]
locked = ["prepare.py"]
"""


def train_text(constants: dict[str, str] | None = None) -> str:
    """A valid script of about 26 KB; `constants` replaces the values of those names."""
    values = dict(CONSTANTS) | (constants or {})
    groups = [list(values.items())[start : start + 5] for start in range(0, len(values), 5)]
    block = "\n\n".join("\n".join(f"{name} = {value}" for name, value in group) for group in groups)
    return f'"""Trains a small model."""\n\nimport math\n\n{_body()}\n# Hyper-parameters\n\n{block}\n\n\n{_tail()}'


def _body() -> str:
    random = Random(26)
    parts: list[str] = []
    while sum(map(len, parts)) < TRAIN_BYTES - 1200:
        name, scale = f"layer_{len(parts)}", random.randrange(1, 1000)
        parts.append(
            f"def {name}(inputs, width={random.randrange(8, 4096)}):\n"
            f'    """Scale by {scale} and fold into the width."""\n'
            f"    total = sum(value * {scale / 997:.6f} for value in inputs)\n"
            f"    shifted = math.tanh(total / (width + {random.randrange(1, 99)}))\n"
            f"    return [shifted * index % {random.randrange(3, 400)} for index in range(len(inputs))]\n\n\n"
        )
    return "".join(parts)


def _tail() -> str:
    return 'if __name__ == "__main__":\n    print(f"val_bpb: {1 / (DEPTH + MATRIX_LR):.6f}")\n'


def make_project(folder: Path) -> Path:
    """Writes the project into a new folder and returns it."""
    folder.mkdir(parents=True)
    files = {
        "train.py": train_text(),
        "prepare.py": "VOCABULARY = 8192\n" + "# data and evaluation stay as they are\n" * 60,
        "dag.toml": CHARTER,
        "program.md": "# Make val_bpb small\n\nEdit train.py, measure, keep what helps.\n" * 8,
        "README.md": "A model that trains in five minutes.\n" * 12,
        "pyproject.toml": '[project]\nname = "tiny"\nversion = "0"\n',
        "analysis.py": "import json\n\n\ndef read(path):\n    return json.load(open(path))\n" * 10,
        ".python-version": "3.11\n",
        "LICENSE": "Permission is granted to use this for anything.\n" * 10,
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def edited(number: int) -> str:
    """`train.py` with one number of it changed; each `number` gives another text."""
    return train_text({"MATRIX_LR": f"{0.04 + number * 1e-6:.6f}"})
