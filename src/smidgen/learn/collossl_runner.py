"""Learning across devices against its baselines: groups of users held out in turn, few to all labels, every anchor.

    OUT/points.jsonl     a line for each classifier that was scored; a comparison that was stopped goes on after these
    OUT/GROUP-ANCHOR-ARM the pretraining of an arm (checkpoint, log, devices chosen), one for all label fractions

Scales come from the users that are learned from. The labelled windows of a smaller fraction are among those of a larger
one, the same for all arms. Source: ColloSSL (arXiv 2202.00758), section on evaluation: macro F1 on the held-out group.
"""

import json
import zlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.files import digest, write_bytes
from smidgen.kit.seeds import derive_seed
from smidgen.learn._collossl_baselines import MultiTaskConfig, SimCLRConfig, pretrain_alone
from smidgen.learn._collossl_batches import new_encoder
from smidgen.learn.collossl import ColloSSLConfig, FineTuneConfig, fine_tune, pretrain
from smidgen.nets.tpn_encoder import TPNConfig, TPNEncoder
from smidgen.tasks.device_windows import DeviceScales, MultiDeviceWindows, user_groups
from smidgen.tasks.metrics import resolve

__all__ = [
    "Arm",
    "MultiTaskConfig",
    "Point",
    "RunnerConfig",
    "SimCLRConfig",
    "label_curves",
    "label_draw",
    "leave_groups_out",
    "pretrain_alone",
    "published_arms",
]

POINTS = "points.jsonl"
PUBLISHED_FRACTIONS = (0.1, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to a classifier.

    Attributes:
        pretraining: how the encoder learns without labels; None: it does not, and then nothing is frozen.
        labels_of: "anchor", or "all": the same moments' windows of every device are labelled.
        tuning: its own; None: that of all.
    """

    pretraining: ColloSSLConfig | SimCLRConfig | MultiTaskConfig | None = None
    labels_of: Literal["anchor", "all"] = "anchor"
    tuning: FineTuneConfig | None = None


def published_arms() -> dict[str, Arm]:
    """ColloSSL and its baselines with their defaults."""
    return {
        "supervised": Arm(),
        "supervised, all devices": Arm(labels_of="all"),
        "SimCLR": Arm(pretraining=SimCLRConfig()),
        "multi-task transforms": Arm(pretraining=MultiTaskConfig()),
        "ColloSSL": Arm(pretraining=ColloSSLConfig()),
    }


@dataclass(frozen=True, kw_only=True)
class RunnerConfig:
    """
    Attributes:
        arms: by name. fractions: of the labelled windows. net: of arms without pretraining; others have their own.
        tuning: of arms without their own; where nothing was pretrained nothing is frozen.
        divisor: of all values; None: mean and scale of each device on the users that are learned from.
        seed: of label draws, and, with the group, of weights and batches.
    """

    arms: Mapping[str, Arm] = field(default_factory=published_arms)
    fractions: tuple[float, ...] = PUBLISHED_FRACTIONS
    net: TPNConfig = field(default_factory=TPNConfig)
    tuning: FineTuneConfig = field(default_factory=FineTuneConfig)
    divisor: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.arms:
            raise bad("arms", "at least one", "none")
        if not self.fractions or not all(0 < f <= 1 for f in self.fractions):
            raise bad("fractions", "shares above 0, at most 1", self.fractions)


@dataclass(frozen=True)
class Point:
    """One classifier: held-out group, anchor, arm, fraction and number of labelled moments, macro F1 on the group."""

    group: int
    anchor: str
    arm: str
    fraction: float
    labels: int
    macro_f1: float


def leave_groups_out(
    windows: MultiDeviceWindows,
    groups: int | Sequence[Sequence[Hashable]] = 5,
    config: RunnerConfig | None = None,
    *,
    anchors: Sequence[str] | None = None,
    folder: Path | str | None = None,
    resume: bool = False,
    go_on: Callable[[], bool] = lambda: True,
    say: Callable[[str], None] = lambda text: None,
) -> list[Point]:
    """A point for each group, anchor, arm and fraction; as far as it came where `go_on` stopped it.

    Args:
        windows: not scaled. groups: how many of about equal size, or the users of each.
        anchors: None: each device in turn. folder: keeps what is done; resume: goes on with it.
    Raises:
        BadInput: no labels, unknown users or anchors, a group that is everybody; the folder holds a comparison and
            `resume` is not set, or another comparison.
    """
    config = config or RunnerConfig()
    parts = user_groups(windows.users, groups) if isinstance(groups, int) else [list(g) for g in groups]
    for anchor in anchors if anchors is not None else ():
        windows.place(anchor)
    if windows.y is None:
        raise BadInput("These windows have no labels to score by: give y.")
    K = max(int(y.max()) for y in windows.y.values()) + 1
    place = Path(folder) if folder is not None else None
    whose = _identity(windows, parts, config)
    done = _read(place, whose, resume)
    for g, held in enumerate(parts):
        learned = [u for u in windows.users if u not in held]
        windows.only(users=held)  # says which user is not there
        if not learned or not held:
            raise BadInput(f"group {g}: some users are held out and some learned from; this one has all or none.")
        scales = (
            DeviceScales.learn(windows, learned)
            if config.divisor is None
            else DeviceScales.constant(windows, config.divisor)
        )
        scaled = windows.scaled(scales)
        for anchor in windows.devices if anchors is None else anchors:
            for name, arm in config.arms.items():
                asked = [f for f in config.fractions if (g, anchor, name, f) not in done]
                if not asked:
                    continue
                own = f"{g}-{zlib.crc32(anchor.encode()):08x}-{zlib.crc32(name.encode()):08x}"
                at = place / own if place else None
                train = scaled.only(users=learned)
                encoder = _encoder(train, anchor, arm, config, derive_seed(config.seed, "arm", g), at, go_on)
                for fraction in asked:
                    if encoder is None or not go_on():
                        return list(done.values())
                    point = _point(scaled, learned, held, g, anchor, name, encoder, fraction, config, K)
                    done[g, anchor, name, fraction] = point
                    if place:
                        _write(place, {"whose": whose, **asdict(point)})
                    say(f"group {g}, {anchor}, {name}, {fraction:.0%} labels: macro F1 {point.macro_f1:.3f}")
    return list(done.values())


def label_curves(points: Sequence[Point]) -> dict[tuple[str, str], dict[float, float]]:
    """By arm and anchor: mean macro F1 over held-out groups, by fraction of labels."""
    found: dict[tuple[str, str], dict[float, list[float]]] = {}
    for p in points:
        found.setdefault((p.arm, p.anchor), {}).setdefault(p.fraction, []).append(p.macro_f1)
    return {key: {f: float(np.mean(v)) for f, v in sorted(curve.items())} for key, curve in found.items()}


def label_draw(count: int, fraction: float, seed: int) -> np.ndarray:
    """Places of the labelled windows, at least 2: the first so many of one order, so that draws are nested."""
    order = np.random.default_rng(derive_seed(seed, "labels")).permutation(count)
    return order[: max(int(round(count * fraction)), min(2, count))]


def _encoder(
    train: MultiDeviceWindows,
    anchor: str,
    arm: Arm,
    config: RunnerConfig,
    seed: int,
    at: Path | None,
    go_on: Callable[[], bool],
) -> TPNEncoder | None:
    if arm.pretraining is None:
        return new_encoder(train, config.net, seed)
    how = replace(arm.pretraining, training=replace(arm.pretraining.training, seed=seed))
    if isinstance(how, ColloSSLConfig):
        found = pretrain(train, anchor, how, folder=at, resume=True, go_on=go_on)
        return None if found is None else found.encoder
    return pretrain_alone(train, anchor, how, folder=at, resume=True, go_on=go_on)


def _point(
    scaled: MultiDeviceWindows,
    learned: Sequence[Hashable],
    held: Sequence[Hashable],
    group: int,
    anchor: str,
    name: str,
    encoder: TPNEncoder,
    fraction: float,
    config: RunnerConfig,
    classes: int,
) -> Point:
    arm = config.arms[name]
    x_NTC, y_N = scaled.labelled(anchor, learned)
    rows = label_draw(len(y_N), fraction, derive_seed(config.seed, group))
    x, y = x_NTC[rows], y_N[rows]
    if arm.labels_of == "all":
        x = np.concatenate([scaled.labelled(device, learned)[0][rows] for device in scaled.devices])
        y = np.tile(y, len(scaled.devices))
    tuning = arm.tuning or config.tuning
    training = replace(tuning.training, seed=derive_seed(config.seed, "tuning", group))
    frozen = tuning.frozen if arm.pretraining is not None else 0
    net = fine_tune(encoder, x, y, replace(tuning, frozen=frozen, training=training), classes=classes)
    new_x, new_y = scaled.labelled(anchor, held)
    score = resolve("macro_f1", "classification").score(new_y, net.predict_proba(new_x))
    return Point(group, anchor, name, fraction, len(rows), score)


def _identity(windows: MultiDeviceWindows, parts: list[list[Hashable]], config: RunnerConfig) -> str:
    data = [windows.X[d][u].tobytes() for d in windows.devices for u in windows.users]
    labels = [np.asarray(windows.y[u]).tobytes() for u in windows.users] if windows.y is not None else []
    return digest(repr((parts, windows.devices, windows.motion, config)), *data, *labels)


def _read(place: Path | None, whose: str, resume: bool) -> dict[tuple[int, str, str, float], Point]:
    """What was scored before; a last line that was cut off by a kill is left out."""
    if place is None or not (place / POINTS).is_file():
        return {}
    if not resume:
        raise BadInput(f"{place} holds a comparison: set resume to go on with it, or take another folder.")
    done = {}
    lines = (place / POINTS).read_text(encoding="utf-8").split("\n")
    for line in lines[:-1]:
        values = json.loads(line)
        if values.pop("whose") != whose:
            raise BadInput(f"{place} holds a comparison of other windows or settings: take another folder.")
        point = Point(**values)
        done[point.group, point.anchor, point.arm, point.fraction] = point
    if lines[-1]:
        write_bytes(place / POINTS, "".join(f"{line}\n" for line in lines[:-1]).encode())
    return done


def _write(place: Path, values: dict[str, object]) -> None:
    place.mkdir(parents=True, exist_ok=True)
    with (place / POINTS).open("a", encoding="utf-8") as out:
        out.write(json.dumps(values) + "\n")
