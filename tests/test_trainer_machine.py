"""What a machine calls itself, and which interpreter a command means."""

import os
import re
import sys
import types
from pathlib import Path

import pytest

from dagstore.errors import BadInput
from trainer.devices import driver_in
from trainer.machine import environment, find_python, platform_name, resolve


def fake_nvml(names: list[str | bytes], *, driver: bool = True) -> types.ModuleType:
    """The binding of nvidia-ml-py as far as it is used, on a machine with these devices."""

    class NVMLError(Exception):
        pass

    def start() -> None:
        if not driver:
            raise NVMLError

    module = types.ModuleType("pynvml")
    vars(module).update(
        NVMLError=NVMLError,
        nvmlInit=start,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: len(names),
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUUID=lambda index: f"GPU-{index}aaa",
        nvmlDeviceGetName=lambda index: names[index],
        nvmlDeviceGetMemoryInfo=lambda _index: types.SimpleNamespace(total=80 << 30),
        nvmlDeviceGetPciInfo=lambda index: types.SimpleNamespace(busId=f"00000000:{index}B:00.0"),
        nvmlSystemGetDriverVersion=lambda: "570.86.10",
    )
    return module


@pytest.mark.parametrize(
    ("names", "visible", "expected"),
    [
        (["H100"], None, "H100"),
        ([b"H100", b"H100"], None, "2x H100"),
        (["B", "A", "B"], None, "A, 2x B"),
        (["A", "B"], "1", "B"),
        (["A", "B"], "1, 0", "A, B"),
        (["A", "B"], "GPU-1", "B"),
        (["A", "B"], "0,7,1", "A"),
    ],
)
def test_a_platform_is_the_devices_an_experiment_sees(
    monkeypatch: pytest.MonkeyPatch, names: list[str | bytes], visible: str | None, expected: str
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(names))
    assert platform_name(visible) == expected


@pytest.mark.parametrize("visible", ["", " ", "-1", "9", "GPU-none"])
def test_hidden_devices_leave_the_processor(monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(["A"]))
    assert re.fullmatch(r"cpu: \S.*, [1-9]\d* cores", platform_name(visible))


def test_a_binding_without_a_driver_is_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(["A"], driver=False))
    if not Path("/proc/driver/nvidia/gpus").exists():
        assert platform_name().startswith("cpu: ")


def interpreter(folder: Path, version: str) -> Path:
    """A stand-in that answers like a Python whose packages are in `folder`, and counts how often it was asked."""
    folder.mkdir(exist_ok=True)
    path = folder.parent / "python"
    path.write_text(f"""#!/bin/sh\necho >> {folder}.asked\necho '[{{"python": "{version}"}}, ["{folder}"]]'\n""")
    path.chmod(0o755)
    return path


def test_an_environment_is_asked_of_the_experiments_interpreter() -> None:
    facts = environment(sys.executable)
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["os"] == os.uname().sysname
    assert all(isinstance(fact, str) for fact in facts.values())


def test_an_environment_has_the_driver_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(["A"]))
    assert re.fullmatch(r"\d+(\.\d+)+", environment(sys.executable)["driver"])
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml([], driver=False))
    if not Path("/proc/driver/nvidia/version").exists():
        assert "driver" not in environment(sys.executable)


@pytest.mark.parametrize(
    "text",
    [
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.10  Tue Mar  5 22:23:56\nGCC version:  gcc 12.2",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release Build  (builder@host)\n",
    ],
)
def test_the_driver_s_own_file_is_understood(text: str) -> None:
    assert driver_in(text) == "570.86.10"
    assert driver_in("GCC version:  gcc 12.2.0") == ""


def test_it_is_asked_again_only_after_a_change(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    python = interpreter(packages, "9.9")
    for _ in range(3):
        assert environment(str(python))["python"] == "9.9"
    os.utime(packages, ns=(1, 1))
    environment(str(python))
    assert len((tmp_path / "packages.asked").read_text()) == 2


def test_an_interpreter_that_does_not_answer_is_unknown(tmp_path: Path) -> None:
    assert environment(str(tmp_path / "no"))["python"] == "unknown"
    assert environment("/bin/true")["python"] == "unknown"


def program(folder: Path, name: str) -> str:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_programs_are_looked_up(tmp_path: Path) -> None:
    tool = program(tmp_path / "bin", "tool")
    path = f"/nonexistent:{tmp_path / 'bin'}"
    assert resolve("tool 'a b' c", path) == (tool, "a b", "c")
    assert resolve("./tool x", path) == ("./tool", "x")
    assert resolve("other x", path) == ("other", "x")


def test_relative_folders_are_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin", "tool")
    monkeypatch.chdir(tmp_path)
    assert resolve("tool", "bin:") == ("tool",)


def test_python_is_python3_or_ours_where_there_is_none(tmp_path: Path) -> None:
    path = str(tmp_path / "bin")
    assert resolve("python a.py", path) == (sys.executable, "a.py")
    python3 = program(tmp_path / "bin", "python3")
    assert resolve("python a.py", path) == (python3, "a.py")
    assert find_python((), path) == python3
    python = program(tmp_path / "bin", "python")
    assert resolve("python a.py", path) == (python, "a.py")
    assert find_python(("bash",), path) == python
    assert find_python(("/venv/bin/python3.12", "a.py"), path) == "/venv/bin/python3.12"


@pytest.mark.parametrize(
    "command", ["", "  ", "''", "a 'b", "a && b", "a; b", "a | tee log", "a > log", "SEED=1 python a.py", "a\0b"]
)
def test_what_no_program_is_refused(command: str) -> None:
    with pytest.raises(BadInput) as error:
        resolve(command, "/bin")
    assert error.value.hint


@pytest.mark.parametrize(
    ("command", "argument"), [("a '|'", "|"), ("a --sep=';x'", "--sep=;x"), ('a "&&"', "&&"), (r"a it\'s", "it's")]
)
def test_a_quoted_operator_is_an_argument(command: str, argument: str) -> None:
    assert resolve(command, "/nonexistent") == ("a", argument)
