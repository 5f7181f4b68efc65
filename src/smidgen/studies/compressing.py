"""`compress`: a model and a limit in, a model within the limit out, with what that cost."""

import math
import time as clock
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from smidgen.budget.budget import parse_bytes, parse_duration
from smidgen.compress import fitting
from smidgen.compress.allocate import Infeasible, frontier
from smidgen.compress.fitting import Limit, Outlook
from smidgen.compress.options import KEPT
from smidgen.compress.work_folder import WorkFolder, beside, identity
from smidgen.formats.format import Format
from smidgen.kit.errors import BadInput, bad
from smidgen.kit.files import read_json, write_bytes
from smidgen.nets.packed_pretrained import METHOD
from smidgen.studies import compress_folder, compress_module, compress_pretrained
from smidgen.studies.compress_pretrained import is_pretrained, open_pretrained

TIME = "5m"
Render = Callable[[dict[str, Any]], str]
Progress = Callable[[str, float], None]


def compress(
    model: Any,
    *,
    size: str | int | None = None,
    bits: float | None = None,
    max_loss: float | None = None,
    calibration: Any = None,
    column: str | None = None,
    loss: Callable[..., float] | None = None,
    time: str | float = TIME,
    steps: int | None = None,
    out: str | Path | None = None,
    with_encoder: bool | None = None,
    seed: int = 0,
    dry_run: bool = False,
    fresh: bool = False,
    progress: Progress | None = None,
    render: Render | None = None,
) -> dict[str, Any]:
    """A model within a limit, with as little lost as the time allows.

    Args:
        model: a model folder of transformers (an encoder, a causal model, or one with another head); a model that
            `fit` made (see `compress_fitted`); or a network of torch (then `module` of the result is the packed one;
            see `compress_module`).
        size: the most that the whole folder may take ("12MB"). bits: a number of the quantized layers, scales
            included, on the mean. max_loss: what may be lost at most, in the unit of the loss. One of the three.
        calibration: texts without labels: a file (plain text, CSV, JSON lines, Parquet), or a sequence of strings.
            Of a model that `fit` made: rows as it takes them. Of a network: batches, at least 3. None: a causal model
            writes its own text, an encoder reads random words, all else is rounded without looking at data.
        column: of the file, where the texts are; default: the one that looks like it.
        loss: of a network on batches, where it is a network that is compressed: what is reported.
        time: wall time. Rounding is always finished; recovery takes what is left of it. Of a model of `fit`: what can
            be measured in it is, the rest is forecast. steps: of recovery, in place of the time that is left (of a
            model of `fit` all is measured then): exactly repeatable.
        out: folder; default: the model's name with "-small" here. The report lies beside it.
        with_encoder: of a model of `fit` that reads texts: a compressed sentence encoder goes into its folder, counts
            into its size, and reads its texts from then on; so the folder needs the encoder's package no more. None:
            where `size` has room for the rest of the model as it is, so that only the encoder can be meant.
        dry_run: what would be tried and what sizes can be reached; writes nothing.
        fresh: begins anew. Else what an earlier run that was stopped had worked out for the same model and calibration
            data (it lies beside `out`, until the work has ended well) is not worked out again; the time that it took
            counts into `time`.
        progress: called with what is done and its share.

    Returns:
        Plain data: `model` (the folder), `bytes`, `bits_per_weight`, `loss_before`, `loss_after`, `unit`, `layers`
        (name, format, bits, bytes), `kept`, `tried`, `curve`, `notes`, `seconds`, `report`.

    Raises:
        BadInput: no model there, or a damaged one; not one limit; calibration data that are none; NaN in a weight.
        Infeasible: the limit is below what any mix reaches; the sentence says what can be reached.
    """
    began = clock.perf_counter()
    limit = limit_of(size, bits, max_loss)
    seconds = parse_duration(time, "time")
    if steps is not None and steps < 0:
        raise bad("steps", "0 or more", steps)
    tell = progress or (lambda *_: None)
    if not isinstance(model, str | Path):
        return _of_module(model, limit, calibration, loss, seconds, steps, out, seed, dry_run, fresh, tell, began)
    folder = Path(model)
    if not folder.is_dir():
        raise BadInput(f"{folder}: there is no such model folder. Check the path.")
    place = place_of(model, out)
    if (folder / "model.json").is_file():
        from smidgen.studies.compress_fitted import compress_fitted

        if place.resolve() == folder.resolve():
            raise BadInput(f"--out {place} is the model itself: name another folder.")
        result = compress_fitted(
            folder, limit, calibration, place, seed, dry_run, tell, seconds=seconds, steps=steps,
            with_encoder=with_encoder, fresh=fresh,
        )  # fmt: skip
        return result if dry_run else _reported(result, place, render, began)
    if with_encoder is not None:
        raise BadInput("--with-encoder is for models that smidgen fit made: leave it out.")
    if not is_pretrained(folder):
        raise BadInput(f"{folder} is no model folder: it has neither model.json (of smidgen fit) nor config.json.")
    check_place(place, folder)
    tell("opening the model", 0.0)
    opened = open_pretrained(folder, calibration, column, seed)
    carried, config = compress_pretrained.carried_files(folder), compress_folder.config_of(opened.model)
    count = compress_folder.Size(opened.model, config, carried)
    whole = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    told = {"unit": opened.subject.unit, "bytes_before": whole, "own_calibration": opened.own}
    if dry_run:
        seen = fitting.outlook(opened.subject, count, tell)
        return {**_planned(seen, limit), **told, "dry_run": True, "seconds": round(clock.perf_counter() - began, 2)}
    with WorkFolder(beside(place), identity(opened.subject, seed), fresh=fresh) as work:
        began -= work.before
        seen = fitting.outlook(opened.subject, count, tell, folder=work)
        left = max(seconds - (clock.perf_counter() - began), 0.0)
        made = fitting.fit(
            opened.subject, limit, count, seconds=left, recovery_steps=steps, seed=seed, tell=tell, seen=seen,
            folder=work,
        )  # fmt: skip
        tell("writing", 0.0)
        written = compress_folder.write(place, made.model, config, made.mixture, made.layers, carried)
    result = {"model": str(place), "bytes": written, **_said(made), **told}
    result["notes"] += work.notes
    if opened.own:
        result["notes"].insert(0, _without_data(opened.subject.unit))
    return _reported(result, place, render, began)


def place_of(model: str | Path, out: str | Path | None) -> Path:
    """The folder that a model folder is compressed into."""
    return Path(out) if out is not None else Path(f"{Path(model).resolve().name}-small")


def _reported(result: dict[str, Any], place: Path, render: Render | None, began: float) -> dict[str, Any]:
    """With the time and, beside the folder so that it does not count into it, the report."""
    result["seconds"] = round(clock.perf_counter() - began, 2)
    if render is not None:
        report = place.with_name(f"{place.name}-report.html")
        write_bytes(report, render(result).encode())
        result["report"] = str(report)
    return result


def _of_module(
    model: Any, limit: Limit, calibration: Any, loss: Any, seconds: float, steps: int | None, out: Any, seed: int,
    dry_run: bool, fresh: bool, tell: Progress, began: float,
) -> dict[str, Any]:  # fmt: skip
    """`compress` of a network of torch; without `out` nothing is written."""
    if not isinstance(model, nn.Module):
        raise bad("model", "a model folder or a network of torch", type(model).__name__)
    if out is not None:
        check_place(Path(out))
    subject = compress_module.subject_of(model, calibration, loss, seed)
    count = compress_folder.Size(subject.model, None, {})
    held = {id(t): t for t in (*subject.model.parameters(), *subject.model.buffers())}.values()
    before = sum(t.numel() * t.element_size() for t in held)
    told = {"unit": subject.unit, "bytes_before": before, "own_calibration": False}
    if dry_run:
        seen = fitting.outlook(subject, count, tell)
        return {**_planned(seen, limit), **told, "dry_run": True, "seconds": round(clock.perf_counter() - began, 2)}
    with WorkFolder(None if out is None else beside(Path(out)), identity(subject, seed), fresh=fresh) as work:
        began -= work.before
        seen = fitting.outlook(subject, count, tell, folder=work)
        left = max(seconds - (clock.perf_counter() - began), 0.0)
        made = fitting.fit(
            subject, limit, count, seconds=left, recovery_steps=steps, seed=seed, tell=tell, seen=seen, folder=work
        )
        written = made.bytes
        if out is not None:
            config = compress_folder.packed_config({layer.name: layer for layer in made.layers}, made.mixture)
            written = compress_module.write_module(Path(out), made.model, config)
    result = {"model": None if out is None else str(out), "bytes": written, **_said(made), **told}
    if calibration is None:
        result["notes"].insert(0, "No calibration data were given: weights were rounded without looking at inputs.")
    result["notes"] += work.notes
    return {**result, "module": made.model, "seconds": round(clock.perf_counter() - began, 2)}


def limit_of(size: str | int | None, bits: float | None, max_loss: float | None) -> Limit:
    """The limit that was given. Raises BadInput unless it is one."""
    if sum(x is not None for x in (size, bits, max_loss)) != 1:
        raise BadInput("Give one limit: --size 12MB, --bits 3.2 or --max-loss 0.01.")
    if bits is not None and not 0 < bits <= 16:
        raise bad("bits", "above 0 and at most 16", bits)
    return Limit(bytes=None if size is None else parse_bytes(size), bits=bits, loss=max_loss)


def check_place(place: Path, source: Path | None = None) -> None:
    """Raises BadInput where something lies that no compression wrote."""
    if source is not None and place.resolve() == source.resolve():
        raise BadInput(f"--out {place} is the model itself: name another folder.")
    if place.exists() and not place.is_dir():
        raise BadInput(f"{place} is a file: name a folder with --out.")
    if place.is_dir() and any(place.iterdir()) and not _ours(place):
        raise BadInput(f"{place} holds what no compression wrote, and would be replaced: name another one with --out.")


def _ours(place: Path) -> bool:
    """Whether a folder is a compressed model, which a new one may replace."""
    for name in ("config.json", compress_module.FILE):
        if (place / name).is_file():
            said = read_json(place / name)
            told = said.get("quantization_config", said) if isinstance(said, dict) else None
            return isinstance(told, dict) and told.get("quant_method") == METHOD
    return False


def bits_of(option: str, shape: tuple[int, ...]) -> float:
    """Bits a number of an option, scales included."""
    return 16.0 if option == KEPT else round(Format.parse(option).bits_per_weight(shape), 3)


def bits_per_weight(layers: list, mixture: dict[str, str]) -> float:
    """Of all quantizable layers together."""
    total = sum(bits_of(mixture[layer.name], layer.shape) * layer.numbers for layer in layers)
    return round(total / max(sum(layer.numbers for layer in layers), 1), 4)


def _said(made: fitting.Fitted) -> dict[str, Any]:
    from smidgen.compress.options import bytes_of

    return {
        "bits_per_weight": bits_per_weight(made.layers, made.mixture),
        "loss_before": _known(made.before),
        "loss_after": _known(made.after),
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "format": made.mixture[layer.name],
                "bits": bits_of(made.mixture[layer.name], layer.shape),
                "bytes": bytes_of(layer, made.mixture[layer.name]),
                "shared_with": list(layer.others),
            }
            for layer in made.layers
        ],
        "kept": made.kept,
        "tried": [
            {"name": t.name, "bytes": t.bytes, "loss": _known(t.loss), "recovered": t.recovered} for t in made.tried
        ],
        "curve": [{"bytes": b, "loss": loss} for b, loss in made.curve],
        "forecast": made.forecast,
        "recovery_steps": made.recovery_steps,
        "notes": made.notes,
    }  # fmt: skip


def _known(loss: float) -> float | None:
    return loss if math.isfinite(loss) else None


def _planned(seen: Outlook, limit: Limit) -> dict[str, Any]:
    """What is known without rounding anything."""
    most = limit.bytes
    if limit.bits is not None:
        most = fitting.bytes_of_bits(seen, limit.bits)
    if most is not None and seen.smallest > most:
        raise Infeasible(fitting.too_small(seen, most), seen.smallest)
    mixes = [{"bytes": seen.size(m.options), "loss": m.loss} for m in frontier(seen.choices, 16)]
    found: dict[str, Any] = {
        "smallest": seen.smallest,
        "uniform": [{"name": name, "bytes": size} for name, _, size in seen.uniforms],
        "curve": mixes,
        "numbers": sum(layer.numbers for layer in seen.layers),
    }
    if most is not None:
        mix = fitting.mix_within(seen, most)
        found |= {"would_be": seen.size(mix), "bits_per_weight": bits_per_weight(seen.layers, mix)}
    return found


def _without_data(unit: str) -> str:
    if unit == "nats a token":
        return (
            "No calibration data were given: the model wrote its own text to be calibrated and judged by. Its loss on "
            "yours can be higher: give --calibration."
        )
    return (
        "No calibration data were given: random words stood in for texts, for calibration and for the loss shown. The "
        "loss on your texts can be higher: give --calibration with a hundred texts or more."
    )
