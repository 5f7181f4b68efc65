"""The training of an in-context encoder on the recordings of several subjects.

    OUT/training.ckpt        the newest state; a training that is stopped anywhere goes on to the same bits
    OUT/log.jsonl            each update's loss; every `look_every` updates, scores on validation episodes
    OUT/encoder.safetensors  the weights of the look with the best explained variance

Each update: one batch of episodes, the squared error of the predicted responses of their queries. On request weights
are drawn to those of a ridge regression on all rows too, as in the first stage of the published training.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.files import digest, write_bytes
from smidgen.learn._encoder_episodes import Episodes, EpisodeSampler, Subject
from smidgen.learn._encoder_settings import EncoderTrainingConfig, Plateau, optimizer_of, schedule_of
from smidgen.learn._encoder_weights import encoder_bytes, read_encoder
from smidgen.learn._many_ridge import ridge_cv
from smidgen.nets.hypernetwork import HypernetworkConfig, InContextLinearHypernet
from smidgen.train.checkpoint import load_file, save_file
from smidgen.train.journal import Journal
from smidgen.train.loop import LoopConfig, Run, Update, train
from smidgen.train.precision import context

WEIGHTS, CHECKPOINT = "encoder.safetensors", "training.ckpt"
VALIDATION_SHARE = 10  # without subjects for validation, each so-many-th unit is kept for it


@dataclass
class _Best:
    """What is kept of a training beside its run."""

    score: float = -math.inf
    step: int = -1
    weights: dict[str, Tensor] = field(default_factory=dict)


def train_encoder(
    subjects: Sequence[Subject],
    out: Path | str,
    config: EncoderTrainingConfig | None = None,
    *,
    valid: Sequence[Subject] | None = None,
    start: Path | str | None = None,
    resume: bool = False,
    go_on: Callable[[], bool] = lambda: True,
    say: Callable[[str], None] = lambda text: None,
) -> Path | None:
    """Trains an encoder, or goes on; the file of its weights for `InContextEncoder`, or None where it was stopped.

    Args:
        subjects: what to learn from. valid: what to choose the best weights by; None: each tenth unit of `subjects`,
            which then is not learned from.
        start: weights to begin with (synthetic units first, then real ones). resume: go on with what is in the folder.
        go_on: asked before each update. say: told of each validation.
    Raises:
        BadInput: recordings that cannot be learned from (`EpisodeSampler`); the folder holds a training and `resume` is
            not set, or another one. NonFinite: the loss is not a number.
    """
    config, out = config or EncoderTrainingConfig(), Path(out)
    if valid is None:
        subjects, valid = _held_back(subjects)
    learned, checked = config.sampler(subjects, "training"), config.sampler(valid, "validation")
    net = _network(config, learned.embed, start)
    whose = _identity(config, learned, net)
    run = Run(net.to(config.device), optimizer_of(net, config))
    plateau, best = Plateau(least=min(1e-5 / config.lr, 1.0)), _Best()
    kept = out / CHECKPOINT
    if kept.is_file():
        if not resume:
            raise BadInput(f"{out} holds a training: set resume to go on with it, or take another folder.")
        state = load_file(kept)
        if not isinstance(state, dict) or state.get("training") != whose:
            raise BadInput(f"{out} holds a training with other recordings or settings: take another folder.")
        run.load_state_dict(state["run"])
        plateau, best = Plateau(**run.extra["plateau"]), _Best(**run.extra["best"])
        say(f"going on from update {run.step}")
    out.mkdir(parents=True, exist_ok=True)
    targets = _ridge_weights(learned) if config.weights_loss else None
    wsd = schedule_of(config)
    journal = Journal(out / "log.jsonl", after=run.step + 1)

    def keep() -> None:
        run.extra = {"plateau": asdict(plateau), "best": vars(best)}
        save_file({"training": whose, "run": run.state_dict()}, kept, run.step)

    def after(update: Update) -> None:
        values = {k: v for k, v in asdict(update).items() if k not in ("step", "action")}
        if update.step % config.look_every == 0 or update.step == config.updates:
            scores = validate(net, checked, config)
            plateau.look(scores["validation loss"])
            if not best.weights or scores["explained variance"] > best.score:
                best.score, best.step = scores["explained variance"], update.step
                best.weights = {k: v.detach().cpu().clone() for k, v in net.state_dict().items()}
            say(f"update {update.step}: " + ", ".join(f"{k} {v:.4f}" for k, v in scores.items()))
            journal.write(update.step, **values, **scores)
            keep()
        else:
            journal.write(update.step, **values)

    def loss_of(model: nn.Module, episodes: Episodes) -> tuple[Tensor, int]:
        return _loss(model, episodes.to(config.device), config, targets)

    try:
        train(
            run,
            lambda number: (learned.at(number),),
            loss_of,
            lambda step: wsd(step) * (plateau.scale if config.schedule == "plateau" else 1.0),
            LoopConfig(clip=config.clip, precision=config.precision),
            steps=config.updates,
            on_update=after,
            go_on=lambda: not (config.schedule == "plateau" and plateau.over) and go_on(),
        )
    finally:
        journal.close()
    keep()
    if run.step < config.updates and not (config.schedule == "plateau" and plateau.over):
        return None
    net.load_state_dict(best.weights)
    write_bytes(out / WEIGHTS, encoder_bytes(net))
    return out / WEIGHTS


@torch.no_grad()
def validate(net: InContextLinearHypernet, sampler: EpisodeSampler, config: EncoderTrainingConfig) -> dict[str, float]:
    """Loss and mean explained variance on the same episodes each time: of the least, a middle and the most context."""
    low, high = config.context
    sizes = sorted({low, round((low * high) ** 0.5), high})
    net.eval()
    losses, scores = [], {}
    for place, size in enumerate(sizes):
        found = []
        for k in range(config.looks):
            e = sampler.at(place * config.looks + k, context=size).to(config.device)
            with context(config.precision, config.device):
                predicted_BQ = net(e.x_BSE, e.y_BS, e.query_BQE, e.mask_BS)[0].float()
            off_BQ = torch.where(e.asked_BQ, e.target_BQ - predicted_BQ, 0.0)
            losses.append(float(off_BQ.square().sum() / e.asked_BQ.sum().clamp_min(1)))
            left_B, all_B = (_variance(t, e.asked_BQ) for t in (off_BQ, e.target_BQ))
            found.append((1 - left_B / all_B)[all_B > 0])
        scores[f"explained variance {size}"] = float(torch.cat(found).mean())
    net.train()
    return {
        "validation loss": float(np.mean(losses)),
        "explained variance": float(np.mean(list(scores.values()))),
        **scores,
    }


def _loss(model: nn.Module, e: Episodes, config: EncoderTrainingConfig, targets: Tensor | None) -> tuple[Tensor, int]:
    with context(config.precision, config.device):
        predicted_BQ, w_BW = model(e.x_BSE, e.y_BS, e.query_BQE, e.mask_BS)
    off_BQ = torch.where(e.asked_BQ, e.target_BQ - predicted_BQ.float(), 0.0)
    count, total = int(e.asked_BQ.sum()), off_BQ.square().sum()
    if targets is not None:
        aim_BW = targets[e.units_B.cpu()].to(w_BW)
        apart_B = 1 - F.cosine_similarity(w_BW, aim_BW) + (w_BW - aim_BW).square().mean(1)
        total = total + config.weights_loss * count * apart_B.mean()
    return total, count


def _variance(y_BQ: Tensor, known_BQ: Tensor) -> Tensor:
    count_B1 = known_BQ.sum(1, keepdim=True).clamp_min(1)
    mean_B1 = torch.where(known_BQ, y_BQ, 0.0).sum(1, keepdim=True) / count_B1
    return torch.where(known_BQ, y_BQ - mean_B1, 0.0).square().sum(1) / count_B1[:, 0]


def _held_back(subjects: Sequence[Subject]) -> tuple[list[Subject], list[Subject]]:
    for subject in subjects:
        if len(subject.usable_units) < 2:
            raise BadInput(f"{subject.name}: of one unit none can be kept for validation: give valid.")
    units = [s.usable_units for s in subjects]
    held = [np.arange(len(u)) % VALIDATION_SHARE == min(VALIDATION_SHARE, len(u)) - 1 for u in units]
    parts = list(zip(subjects, units, held, strict=True))
    return [s.only(units=u[~h]) for s, u, h in parts], [s.only(units=u[h]) for s, u, h in parts]


def _network(config: EncoderTrainingConfig, embed: int, start: Path | str | None) -> InContextLinearHypernet:
    shape = config.net or HypernetworkConfig(embed=embed)
    if shape.embed != embed:
        raise bad("embeddings", f"{shape.embed} numbers each, as the network has", embed)
    net = InContextLinearHypernet(shape, config.seed)
    if start is not None:
        try:
            net.load_state_dict(read_encoder(start)[0].state_dict())
        except RuntimeError:
            raise BadInput(f"{start}: these weights are of a network of other sizes than {shape}.") from None
    return net


def _identity(config: EncoderTrainingConfig, sampler: EpisodeSampler, net: nn.Module) -> str:
    """Which training this is: settings, recordings (by the scales of their units) and first weights."""
    scales = np.concatenate([sampler.means, sampler.spreads]).tobytes()
    first = [p.detach().float().numpy().tobytes() for p in net.parameters()]
    return digest(repr(config), scales, *first)


def _ridge_weights(sampler: EpisodeSampler) -> Tensor:
    """Read-outs `[units, E + 1]` of ridge regressions on all usable rows, for responses of mean 0 and deviation 1."""
    out = np.zeros((sampler.count, sampler.embed + 1), np.float32)
    for i, (subject, rows) in enumerate(zip(sampler.subjects, sampler.rows, strict=True)):
        x = np.asarray(subject.features[rows], np.float64)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        at = slice(sampler.starts[i], sampler.starts[i + 1])
        y = (subject.responses[np.ix_(rows, sampler.units[i])] - sampler.means[at]) / sampler.spreads[at]
        fitted = ridge_cv(x, y)
        out[at] = np.column_stack([fitted.coef_VE, fitted.intercept_V])
    return torch.from_numpy(out)
