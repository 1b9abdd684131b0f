"""The public door: what `import dagstore` offers, what it costs, and what a wheel holds."""

import ast
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest

import dagstore

ROOT = Path(__file__).parent.parent
HEAVY = ("networkx", "pandas", "matplotlib", "rich", "click", "torch", "numpy", "multiprocessing", "asyncio")


def run(*arguments):
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_exported_names_are_exactly_those_listed():
    assert dagstore.__all__ == sorted(set(dagstore.__all__))
    for name in dagstore.__all__:
        assert getattr(dagstore, name) is not None
        assert name in dir(dagstore)
    ours = {name for name, value in vars(dagstore).items() if is_ours(value)}
    assert ours | {"__version__"} == set(dagstore.__all__)
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = dagstore.nothing_of_the_kind


def is_ours(value):
    """Whether a value is a class or function of this package; its own hooks for late names aside."""
    home = getattr(value, "__module__", None) or ""
    return home.startswith("dagstore.") and not isinstance(value, types.ModuleType)


def test_late_names_are_what_type_checkers_are_told():
    import dagstore.store

    assert (dagstore.open, dagstore.init) == (dagstore.store.open_store, dagstore.store.init_store)
    told = ast.parse(Path(dagstore.__file__).read_text()).body
    (block,) = (node for node in told if isinstance(node, ast.If))
    names = {alias.asname or alias.name: (line.module, alias.name) for line in block.body for alias in line.names}
    assert names == dagstore._AT_FIRST_USE


def test_what_notebooks_rely_on_is_there():
    looks = ("node", "nodes", "runs", "frontier", "why", "compatible", "lineage", "children", "diff", "blame", "graph")
    for name in (*looks, "adopt", "spawn", "seal"):
        assert callable(getattr(dagstore.Store, name))


def test_errors_have_codes_of_their_own():
    values = [getattr(dagstore, name) for name in dagstore.__all__]
    errors = [value for value in values if isinstance(value, type) and issubclass(value, Exception)]
    assert len({error.code for error in errors}) == len(errors) == 8
    assert all(issubclass(error, dagstore.DagError) for error in errors)


def test_importing_dagstore_draws_in_nothing_heavy():
    loaded = run("-c", "import sys, dagstore; dagstore.Store; print(*sys.modules)").split()
    assert "dagstore.store" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_a_wheel_holds_exactly_the_four_packages(tmp_path):
    """Auto-discovery would take tests and benchmarks along; `trainer` and `agent` are names that others use too."""
    run("-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    (wheel,) = tmp_path.iterdir()
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    (info,) = (top for top in tops if top.endswith(".dist-info"))
    assert tops - {info} == {"dagstore", "agent", "trainer", "cli"}
    for package in tops - {info}:
        assert {f"{package}/__init__.py", f"{package}/py.typed"} <= set(names)
    assert f"{info}/licenses/LICENSE" in names
    sources = {path.relative_to(ROOT).as_posix() for top in tops - {info} for path in (ROOT / top).rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == sources
    entry = zipfile.ZipFile(wheel).read(f"{info}/entry_points.txt").decode()
    assert "dag = cli.main:main" in entry


@pytest.mark.parametrize("is_on", [True, False])
def test_the_command_line_leaves_the_search_for_garbage_as_it_was(is_on):
    code = f"import gc; {'gc.enable' if is_on else 'gc.disable'}(); import cli.main; print(gc.isenabled())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{is_on}\n"
