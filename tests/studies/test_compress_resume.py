"""A compression that was stopped goes on where it stopped, and ends in the same bytes."""

import contextlib
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from smidgen.cli.main import main
from smidgen.compress import fitting, kept_results, options, work_folder
from smidgen.compress.work_folder import WorkFolder, beside
from smidgen.kit.errors import BadInput
from smidgen.studies import compressing
from smidgen.studies.compressing import compress

LIMIT, STEPS = 4700, 6


class Kill(BaseException):
    """Of no kind that anybody catches."""


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "WIDTHS", (3, 4, 6))
    monkeypatch.setattr(options, "GROUPS", (32,))
    monkeypatch.setattr(kept_results, "EVERY", 0.0)  # a state after each step
    monkeypatch.setattr(kept_results, "SLACK", 0.0)
    monkeypatch.setattr(work_folder, "_code", lambda: "this code")


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(24, 48), nn.ReLU(), nn.Linear(48, 48), nn.LayerNorm(48), nn.Linear(48, 8)).eval()


def run(out: Path, model: nn.Module | None = None, **changed: Any) -> dict[str, Any]:
    g = torch.Generator().manual_seed(7)
    batches = [torch.randn(16, 24, generator=g) for _ in range(9)]
    return compress(model or net(), **{"size": LIMIT, "calibration": batches, "steps": STEPS, "out": out, **changed})


def content(folder: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in folder.iterdir()}


def writes(monkeypatch: pytest.MonkeyPatch, stop: int | None = None) -> list[list[Any]]:
    """The keys that are written from now on; after so many of them the process ends."""
    seen: list[list[Any]] = []
    own = WorkFolder.__dict__["write"] if not hasattr(WorkFolder, "own") else WorkFolder.own  # type: ignore[attr-defined]

    def write(self: WorkFolder, key: list[Any], *rest: Any) -> None:
        if key == ["stopped"]:  # a kill leaves no word
            return
        own(self, key, *rest)
        seen.append(key)
        if stop is not None and len(seen) == stop:
            raise Kill

    monkeypatch.setattr(WorkFolder, "own", own, raising=False)
    monkeypatch.setattr(WorkFolder, "write", write)
    return seen


def test_a_stop_at_any_stage_changes_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = writes(monkeypatch)
    undisturbed = run(tmp_path / "whole")
    assert any(t["recovered"] for t in undisturbed["tried"])
    stages = [key[0] for key in whole]
    assert dict.fromkeys(stages).keys() == {
        "answer", "inputs", "harm", "options", "rounded", "measured", "recovery",
    }  # fmt: skip
    assert not undisturbed["notes"]  # recovery helped: its bits are in the folder
    for stop in [
        stages.index(s) + n
        for s, n in (("inputs", 2), ("options", 0), ("rounded", 1), ("recovery", 0), ("recovery", 5))
    ]:
        out = tmp_path / f"stopped{stop}"
        before = writes(monkeypatch, stop)
        with pytest.raises(Kill):
            run(out)
        assert len(before) == stop and not out.exists() and beside(out).is_dir()
        after = writes(monkeypatch)
        found = run(out)
        if stages[stop - 1] == "inputs" and stages[stop] == "inputs":  # what shares a reading is read again together
            assert set(stages[stop:]) == {k[0] for k in after}
        else:
            assert [*before, *after] == whole  # nothing twice
        assert content(out) == content(tmp_path / "whole")
        assert found["tried"] == undisturbed["tried"] and "went on" in found["notes"][-1]
        assert not beside(out).exists()


SCRIPT = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import test_compress_resume as t
from pathlib import Path
t.options.WIDTHS, t.options.GROUPS, t.kept_results.EVERY = (3, 4, 6), (32,), 1e9
t.work_folder._code = lambda: "this code"
own, count = t.WorkFolder.write, 0
def write(self, key, *rest):
    global count
    count += 1
    if count == int(sys.argv[3]):
        self._file._file.write('{"key": ["to')  # in the middle of a line
        self._file._file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    own(self, key, *rest)
t.WorkFolder.write = write
t.run(Path(sys.argv[2]))
"""


def test_a_killed_process_leaves_what_another_goes_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, out = str(Path(__file__).parent), tmp_path / "out"
    run(tmp_path / "whole")
    ended = subprocess.run([sys.executable, "-c", SCRIPT, here, str(out), "12"], env=os.environ, check=False)
    assert ended.returncode == -signal.SIGKILL and not out.exists()
    again = writes(monkeypatch)
    run(out)
    assert {key[0] for key in again} == {"rounded", "measured", "recovery"}
    assert content(out) == content(tmp_path / "whole") and not beside(out).exists()


def stopped(out: Path, monkeypatch: pytest.MonkeyPatch, stop: int) -> None:
    with monkeypatch.context() as patch:
        writes(patch, stop)
        with pytest.raises(Kill):
            run(out)


def test_what_does_not_fit_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "whole")
    out, work = tmp_path / "out", beside(tmp_path / "out")
    stopped(out, monkeypatch, 14)
    (work / "letter.txt").write_text("mine")
    other = net()
    with torch.no_grad():
        other[0].weight.mul_(1.5)  # type: ignore[operator]
    run(tmp_path / "other", other)
    found = run(out, other)
    assert "was not used" in found["notes"][-1] and content(out) == content(tmp_path / "other")
    assert [f.name for f in work.iterdir()] == ["letter.txt"]  # what is not ours stays

    stopped(out, monkeypatch, 14)
    for file in work.glob("*.safetensors"):
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    found = run(out)
    assert "A part of what" in found["notes"][-1] and content(out) == content(tmp_path / "whole")

    stopped(out, monkeypatch, 14)
    lines = (work / "results.jsonl").read_text().splitlines(keepends=True)
    (work / "results.jsonl").write_text("".join([*lines[:3], "}\n", *lines[3:]]))
    found = run(out)
    assert "was not used" in found["notes"][0] and content(out) == content(tmp_path / "whole")

    stopped(out, monkeypatch, 14)
    assert run(out, fresh=True)["notes"] == [] and content(out) == content(tmp_path / "whole")


def test_the_same_weights_in_other_code_are_another_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(nn.Module):
        power = 1.0

        def __init__(self) -> None:
            super().__init__()
            self.body = net()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x) ** self.power

    with monkeypatch.context() as patch:
        writes(patch, 14)
        with pytest.raises(Kill):
            run(tmp_path / "out", Mine())
    monkeypatch.setattr(Mine, "power", 3.0)
    assert "was not used" in run(tmp_path / "out", Mine())["notes"][-1]


def test_one_at_a_time_and_nothing_stays_after_an_error(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with WorkFolder(beside(out), "x"), pytest.raises(BadInput, match="another compression works there"):
        run(out)
    with pytest.raises(BadInput, match="smallest reachable"):
        run(out, size=100)
    assert not beside(out).exists()


def test_time_spent_counts(tmp_path: Path) -> None:
    now = [100.0]
    folder = WorkFolder(tmp_path / "w", "x", clock=lambda: now[0])
    with contextlib.suppress(Kill), folder:
        now[0] += 5
        folder.write(["a"], 1)
        now[0] += 2
        raise Kill
    with WorkFolder(tmp_path / "w", "x", clock=lambda: now[0]) as again:
        assert again.before == 7 and again.read(["a"]) == (1, {}) and ["b"] not in again


def test_a_recovery_that_was_begun_is_ended_whatever_time_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "LEAST_RECOVERY", -math.inf)
        own = WorkFolder.write

        def write(self: WorkFolder, key: list[Any], *rest: Any) -> None:
            own(self, key, *rest)
            if key[0] == "recovery":
                raise Kill

        patch.setattr(WorkFolder, "write", write)
        with pytest.raises(Kill):
            run(out, steps=None, time="1s")
    monkeypatch.setattr(fitting, "LEAST_RECOVERY", math.inf)
    assert run(out, steps=None, time="1s")["recovery_steps"] > 0
    assert run(out, steps=None, time="1s")["recovery_steps"] == 0


def test_ctrl_c_says_where_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(model: str, *, out: str, **_: Any) -> None:
        beside(Path(out)).mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(compressing, "compress", interrupted)
    assert main(["compress", "model", "--bits", "4", "--out", str(tmp_path / "out")]) == 130
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert str(beside(tmp_path / "out")) in last and "the same command goes on" in last
