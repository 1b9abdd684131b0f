"""The worked notebook runs from top to bottom, and shows what its text says."""

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

NOTEBOOK = Path(__file__).parent.parent / "docs" / "notebook.ipynb"
EXECUTE = """
import sys
from random import Random
import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
kernel = AsyncKernelManager(kernel_name="python3", transport="ipc", connection_file="kernel.json")
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, km=kernel, timeout=100).execute()
nbformat.write(notebook, "executed.ipynb")
"""
"""The kernel is spoken to over sockets in the folder, not over the network."""


def cells(file):
    return [cell for cell in json.loads(file.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def test_it_is_kept_without_what_it_showed_once():
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells(NOTEBOOK))


def hub():
    """A small dump of a hub: a line of ideas, and re-runs of the last of them."""
    random = Random(0)
    ideas = [(f"{at:040x}", f"{at - 1:040x}" if at else "", f"idea {at}", 1 - at / 100) for at in range(8)]
    again = [(f"{at:040x}", ideas[-1][0], f"best64_rep{at}", 0.93 + random.gauss(0, 0.001)) for at in range(100, 120)]
    common = {"contributor_id": "agent", "platform": "H100", "is_master": False}
    return [
        {"hash": name, "parent_hash": parent, "message": message, "val_bpb": value, **common}
        | {"created_at": f"2026-03-14T00:{at:02}:00Z"}
        for at, (name, parent, message, value) in enumerate([*ideas, *again])
    ]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """What each cell of code showed, by its last line."""
    folder = tmp_path_factory.mktemp("notebook")
    here = {name: str(folder) for name in ("TMPDIR", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR")}
    (folder / "hub.json").write_text(json.dumps(hub()))
    environment = {**os.environ, **here, "DAG_HUB_DUMP": str(folder / "hub.json")}
    subprocess.run([sys.executable, "-c", EXECUTE, NOTEBOOK], cwd=folder, env=environment, check=True)
    return {"".join(cell["source"]).splitlines()[-1]: cell["outputs"] for cell in cells(folder / "executed.ipynb")}


def kinds(outputs):
    return {kind for output in outputs for kind in output.get("data", {})}


def test_every_picture_is_drawn(shown):
    pictures = [line for line in shown if line.startswith("store.plot.")]
    assert len(pictures) == 6
    assert all("image/png" in kinds(shown[line]) for line in pictures)


def test_a_hub_is_shown_in_a_protocol_of_its_own(shown):
    ranking, records, *pictures = shown["    hub.close()"]
    assert "idea 7" in "".join(ranking["data"]["text/html"])
    assert "within the noise" in "".join(records["data"]["text/html"])
    assert kinds(pictures) == {"image/png", "text/plain"}


def test_answers_show_themselves_as_tables(shown):
    assert "text/html" in kinds(shown["store.why(together.node)"])
    assert "text/html" in kinds(shown["store.node(together.node)"])


def test_a_wrong_name_is_answered_with_what_is_near(shown):
    (said,) = shown["said"]
    assert "is it val_loss" in "".join(said["data"]["text/plain"])
