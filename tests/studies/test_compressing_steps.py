"""`compress` step by step on a small network: what it is given, how its time counts, what it reports and refuses."""

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from smidgen.compress import fitting, options
from smidgen.compress.allocate import Infeasible
from smidgen.compress.work_folder import WorkFolder
from smidgen.kit.errors import BadInput
from smidgen.studies import compress_fitted, compress_folder, compress_module, compress_pretrained, compressing
from smidgen.studies.compressing import compress


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "WIDTHS", (3, 4, 6))
    monkeypatch.setattr(options, "GROUPS", (32,))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 8)).eval()


NUMBERS = 32 * 48 + 48 * 8
BEFORE = 4 * (NUMBERS + 48 + 8 + 4 * 48) + 8  # of batch norm two buffers and one whole number


def batches(n: int = 6) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(7)
    return [torch.randn(16, 32, generator=g) for _ in range(n)]


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A clock that goes on by 1.016 seconds each time, an earlier sitting of 7 seconds, and what `fit` is asked."""
    ticks, asked, fit, enter = itertools.count(), [], fitting.fit, WorkFolder.__enter__
    monkeypatch.setattr(compressing, "clock", SimpleNamespace(perf_counter=lambda: 1.016 * next(ticks)))

    def asking(*given: Any, **how: Any) -> Any:
        asked.append({"limit": given[1], **how})
        return fit(*given, **{**how, "seconds": 0.0})

    def entering(self: WorkFolder) -> WorkFolder:
        made = enter(self)
        self.before, self.notes = 7.0, ["It went on."]
        return made

    monkeypatch.setattr(fitting, "fit", asking)
    monkeypatch.setattr(WorkFolder, "__enter__", entering)
    return asked


def test_a_network_without_a_folder(ticking: Any) -> None:
    told: list[tuple[str, float]] = []
    found = compress(net(), bits=4.5, calibration=batches(), steps=0, progress=lambda *at: told.append(at), seed=3)
    (asked,) = ticking
    assert asked["limit"].bits == 4.5 and asked["recovery_steps"] == 0 and asked["seed"] == 3
    assert asked["seconds"] == pytest.approx(300 - (1.016 + 7)) and found["seconds"] == 9.03  # what was spent counts
    assert found["model"] is None and found["unit"] == "relative error" and found["own_calibration"] is False
    assert found["bytes_before"] == BEFORE and found["loss_before"] == 0.0 and told
    assert isinstance(found["module"], nn.Module) and found["notes"][-1] == "It went on."
    assert [(a["name"], a["kind"], a["shared_with"]) for a in found["layers"]] == [
        ("0", "linear", []),
        ("3", "linear", []),
    ]
    bits = sum(a["bits"] * n for a, n in zip(found["layers"], (32 * 48, 48 * 8), strict=True)) / NUMBERS
    assert found["bits_per_weight"] == pytest.approx(bits, abs=1e-4) and bits <= 4.5
    assert found["kept"] == [] and found["recovery_steps"] == 0 and found["forecast"] > 0
    names = [t["name"] for t in found["tried"]]
    assert names[0] == "mixed" and all(t.keys() == {"name", "bytes", "loss", "recovered"} for t in found["tried"])
    assert all(c.keys() == {"bytes", "loss"} for c in found["curve"])
    bare = compress(net(), bits=4.5, steps=0, time="2s")
    assert ticking[-1]["seconds"] == 0.0 and ticking[-1]["seed"] == 0  # no time is left of two seconds after eight
    assert bare["notes"][0] == "No calibration data were given: weights were rounded without looking at inputs."
    assert bare["loss_before"] is None and bare["loss_after"] is None


def test_a_network_with_a_folder(ticking: Any, tmp_path: Path) -> None:
    found = compress(net(), size=5000, calibration=batches(), steps=0, out=tmp_path / "m", loss=lambda model, b: 0.5)
    assert found["model"] == str(tmp_path / "m") and found["unit"] == "the loss given"
    assert found["bytes"] == sum(f.stat().st_size for f in (tmp_path / "m").iterdir()) <= 5000
    assert found["loss_before"] == found["loss_after"] == 0.5 and ticking[0]["limit"].bytes == 5000
    with pytest.raises(BadInput, match="name a folder with --out"):
        compress(net(), bits=4, out=tmp_path / "m" / "packed.json")
    assert compress(net(), bits=4.5, steps=0, out=tmp_path / "m")["bytes"] > 0  # its own folder is replaced


@pytest.mark.parametrize("with_data", [True, False])
def test_a_dry_run_of_a_network(with_data: bool, tmp_path: Path) -> None:
    given = batches() if with_data else None
    planned = compress(net(), size=5000, calibration=given, dry_run=True, out=tmp_path / "m")
    assert planned["dry_run"] is True and planned["bytes_before"] == BEFORE and planned["numbers"] == NUMBERS
    assert planned["smallest"] <= planned["would_be"] <= 5000 and not list(tmp_path.iterdir())
    losses = [c["loss"] for c in planned["curve"]]
    assert losses == sorted(losses, reverse=True) and 2 < len(losses) <= 16
    assert planned["curve"][0]["bytes"] == planned["smallest"] == min(c["bytes"] for c in planned["curve"])
    assert [u["name"] for u in planned["uniform"]] and planned["own_calibration"] is False and planned["seconds"] >= 0
    exact = compress(net(), size=planned["smallest"], calibration=given, dry_run=True)
    assert exact["would_be"] == planned["smallest"]
    with pytest.raises(Infeasible) as refused:
        compress(net(), size=planned["smallest"] - 1, calibration=given, dry_run=True)
    assert refused.value.smallest == planned["smallest"]
    lower = compress(net(), bits=4.0, calibration=given, dry_run=True)
    assert 3 < lower["bits_per_weight"] <= 4.0
    assert "would_be" not in compress(net(), max_loss=0.1, calibration=given, dry_run=True)


def test_what_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="steps: expected 0 or more, got -1"):
        compress(net(), bits=4, steps=-1)
    with pytest.raises(BadInput, match="Give one limit: --size 12MB, --bits 3.2 or --max-loss 0.01."):
        compress(net())
    for bits in (0, -1, 16.5):
        with pytest.raises(BadInput, match="bits: expected above 0 and at most 16"):
            compress(net(), bits=bits)
    assert compressing.limit_of(None, 1e-6, None).bits == 1e-6
    with pytest.raises(BadInput, match="model: expected a model folder or a network of torch, got int"):
        compress(3, bits=4)
    with pytest.raises(BadInput) as refused:
        compress(tmp_path / "gone", bits=4)
    assert str(refused.value) == f"{tmp_path / 'gone'}: there is no such model folder. Check the path."
    (tmp_path / "m").mkdir()
    with pytest.raises(BadInput) as refused:
        compress(tmp_path / "m", bits=4)
    nothing = "is no model folder: it has neither model.json (of smidgen fit) nor config.json."
    assert str(refused.value) == f"{tmp_path / 'm'} {nothing}"
    for asked in (True, False):
        with pytest.raises(BadInput, match="--with-encoder is for models that smidgen fit made: leave it out."):
            compress(tmp_path / "m", bits=4, with_encoder=asked)
    (tmp_path / "m" / "model.json").write_text("{}")
    with pytest.raises(BadInput, match="is the model itself: name another folder"):
        compress(tmp_path / "m", bits=4, out=tmp_path / "x" / ".." / "m")


def test_a_model_of_fit_is_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def fitted(*given: Any, **how: Any) -> dict[str, Any]:
        asked.append((given, how))
        return {"bytes": 9}

    monkeypatch.setattr(compress_fitted, "compress_fitted", fitted)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.json").write_text("{}")
    out = tmp_path / "small"
    assert compress(tmp_path / "m", bits=8, out=out, dry_run=True, render=lambda r: "page") == {"bytes": 9}
    how: Any = {"time": "20s", "steps": 4, "with_encoder": False, "seed": 2, "fresh": True}
    how["render"] = lambda r: f"page of {r['bytes']} bytes"
    found = compress(str(tmp_path / "m"), size="9KB", calibration="rows.csv", out=out, **how)
    given, how = asked[1]
    assert given[:6] == (tmp_path / "m", compressing.limit_of("9KB", None, None), "rows.csv", out, 2, False)
    assert how == {"seconds": 20.0, "steps": 4, "with_encoder": False, "fresh": True}
    assert found["report"] == str(tmp_path / "small-report.html") and found["seconds"] >= 0
    assert (tmp_path / "small-report.html").read_text() == "page of 9 bytes"
    assert "report" not in compress(tmp_path / "m", bits=8, out=out)
    assert asked[2][1] == {"seconds": 300.0, "steps": None, "with_encoder": None, "fresh": False}
    assert asked[2][0][4:6] == (0, False) and asked[0][0][5] is True


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A folder that opens as the small network, its data nobody's."""
    (tmp_path / "m" / "deep").mkdir(parents=True)
    (tmp_path / "m" / "config.json").write_text("{}")
    (tmp_path / "m" / "deep" / "x").write_bytes(b"x" * 98)
    subject, asked = compress_module.subject_of(net(), batches(), None), []
    made = SimpleNamespace(model=subject.model, subject=subject, own=True)
    monkeypatch.setattr(compressing, "open_pretrained", lambda *given: asked.append(given) or made)
    monkeypatch.setattr(compress_pretrained, "carried_files", lambda folder: {"vocab.txt": b"v" * 30})
    monkeypatch.setattr(compress_folder, "config_of", lambda model: {"architectures": ["Net"]})
    return SimpleNamespace(folder=tmp_path / "m", asked=asked, made=made)


def test_a_folder_of_transformers(opened: Any, ticking: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, float]] = []
    out = tmp_path / "small"
    found = compress(opened.folder, size=5000, calibration="t.txt", column="c", steps=0, out=out, seed=4,
                     progress=lambda *at: told.append(at))  # fmt: skip
    assert opened.asked == [(opened.folder, "t.txt", "c", 4)] and ticking[0]["seconds"] == pytest.approx(291.984)
    assert found["bytes"] == sum(f.stat().st_size for f in out.rglob("*") if f.is_file()) <= 5000
    assert found["bytes_before"] == 100 and found["own_calibration"] is True and found["model"] == str(out)
    assert told[0] == ("opening the model", 0.0) and ("writing", 0.0) in told
    assert found["notes"][0].startswith("No calibration data were given: random words stood in for texts")
    assert found["notes"][-1] == "It went on." and found["seconds"] == 9.03
    assert (out / "vocab.txt").read_bytes() == b"v" * 30
    assert json.loads((out / "config.json").read_text())["architectures"] == ["Net"]
    opened.made.own = False
    planned = compress(opened.folder, size=5000, dry_run=True)
    assert planned["dry_run"] is True and planned["bytes_before"] == 100 and planned["would_be"] <= 5000
    assert planned["own_calibration"] is False and len(ticking) == 1 and planned["seconds"] == 1.02
    monkeypatch.chdir(tmp_path)
    given = compress(opened.folder, size=5000, steps=0)
    assert not any("calibration" in note for note in given["notes"])
    assert given["model"] == "m-small" and given["notes"][-1] == "It went on." and (tmp_path / "m-small").is_dir()


def test_notes_of_data_that_nobody_gave() -> None:
    assert compressing._without_data("nats a token") == (
        "No calibration data were given: the model wrote its own text to be calibrated and judged by. Its loss on "
        "yours can be higher: give --calibration."
    )
    others = {compressing._without_data(unit) for unit in ("nats", "1 - cosine")}
    assert others == {
        "No calibration data were given: random words stood in for texts, for calibration and for the loss shown. "
        "The loss on your texts can be higher: give --calibration with a hundred texts or more."
    }
