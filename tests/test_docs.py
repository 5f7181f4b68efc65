"""Every `python` and `console` block of the README and the docs runs, page by page, in the order in which it is read.

A page's blocks share one folder and one Python namespace. In a `console` block the lines that start with `$ ` run; what
a command prints is not compared. Blocks in `sh` (installing, make) are not run.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from sklearn.datasets import load_iris

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = [p for p in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if BLOCK.search(p.read_text("utf-8"))]


def script(page: Path) -> str:
    """The page as one Python program; commands run through the shell, and the first failure ends it."""
    lines = ["import subprocess"]
    for language, body in BLOCK.findall(page.read_text("utf-8")):
        if language == "python":
            lines.append(body)
        else:
            commands = [line[2:] for line in body.splitlines() if line.startswith("$ ")]
            lines += [f"subprocess.run({c!r}, shell=True, check=True)" for c in commands]
    indented = "\n".join(lines).replace("\n", "\n    ")
    return f"if __name__ == '__main__':\n    {indented}\n"


@pytest.fixture
def folder(tmp_path, request) -> Path:
    """What the pages take for granted: `train.csv` and `new.csv`, and `reviews.csv`."""
    iris = load_iris(as_frame=True)
    frame = iris.data.assign(species=iris.target_names[iris.target]).sample(frac=1, random_state=0)
    frame[:40].to_csv(tmp_path / "train.csv", index=False)
    frame[40:].drop(columns="species").to_csv(tmp_path / "new.csv", index=False)
    if "reviews.csv" in request.node.callspec.params["page"].read_text("utf-8"):
        texts = pd.read_json(request.getfixturevalue("data_folder") / "sst2" / "train.jsonl.gz", lines=True)
        texts[:40][["text", "label"]].to_csv(tmp_path / "reviews.csv", index=False)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_page_runs(page, folder):
    (folder / "page.py").write_text(script(page))
    (folder / "bin").mkdir()
    command = folder / "bin" / "smidgen"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m smidgen "$@"\n')
    command.chmod(0o755)
    env = {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}"}
    done = subprocess.run([sys.executable, "page.py"], cwd=folder, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]


def test_pages_are_seen():
    assert len(PAGES) >= 5


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: no {link}"
