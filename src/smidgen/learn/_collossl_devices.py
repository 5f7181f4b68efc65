"""Which device is the anchor's view, and which are its contrast: distances, policies, and what was chosen how often.

A policy orders nothing and measures nothing: it is told the other devices, nearest first, and says who is positive and
who negative. Under the published one the positive device is negative too (at other times).

Dims: D devices, N windows, T samples, C channels.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Generator, Tensor

from smidgen.kit.errors import bad
from smidgen.learn.mmd import mmd_rbf_to_many

Metric = Literal["acc_norm", "per_channel"]
Chosen = tuple[list[int], list[int]]
Policy = Callable[[list[int], Generator], Chosen]


@dataclass(frozen=True)
class DeviceAssignment:
    """Numbers of the positive and the negative devices, and each other device's squared MMD to the anchor."""

    positive: list[int]
    negative: list[int]
    distance: dict[int, float]


def closest_pos_all_neg(nearest: list[int], generator: Generator) -> Chosen:
    """Published: the closest is positive; all are negative, the closest too."""
    return nearest[:1], sorted(nearest)


def hard_negative(nearest: list[int], generator: Generator) -> Chosen:
    """The closest is positive, the next two are negative."""
    return nearest[:1], sorted(nearest[1:3])


def harder_negative(nearest: list[int], generator: Generator) -> Chosen:
    """The fourth (of fewer: the farthest) is positive, the closest two are negative."""
    return nearest[3:4] or nearest[-1:], sorted(nearest[:2])


def closest_only(nearest: list[int], generator: Generator) -> Chosen:
    """The closest is both, all others are left out."""
    return nearest[:1], nearest[:1]


def closest_pos_rest_neg(nearest: list[int], generator: Generator) -> Chosen:
    """The closest is positive, all others are negative."""
    return nearest[:1], sorted(nearest[1:])


def closest_pos_random_neg(nearest: list[int], generator: Generator) -> Chosen:
    """The closest is positive, one drawn from all is negative."""
    return nearest[:1], [_one_of(nearest, generator)]


def closest_two(nearest: list[int], generator: Generator) -> Chosen:
    """The closest is positive, the second negative."""
    return nearest[:1], nearest[1:2]


def closest_two_reverse(nearest: list[int], generator: Generator) -> Chosen:
    """The second is positive, the closest negative."""
    return nearest[1:2], nearest[:1]


def mid_selection(nearest: list[int], generator: Generator) -> Chosen:
    """The second and third are positive, all farther ones negative."""
    return sorted(nearest[1:3]), sorted(nearest[3:])


def random(nearest: list[int], generator: Generator) -> Chosen:
    """One drawn from all is positive, one negative; weights are equal."""
    return [_one_of(nearest, generator)], [_one_of(nearest, generator)]


def _one_of(devices: list[int], generator: Generator) -> int:
    return devices[int(torch.randint(len(devices), (), generator=generator))]


POLICIES: dict[str, Policy] = {
    policy.__name__: policy
    for policy in (
        closest_pos_all_neg,
        hard_negative,
        harder_negative,
        closest_only,
        closest_pos_rest_neg,
        closest_pos_random_neg,
        closest_two,
        closest_two_reverse,
        mid_selection,
        random,
    )
}


def select_devices(
    windows_DNTC: Tensor,
    anchor: int,
    *,
    metric: Metric = "acc_norm",
    strategy: str = "closest_pos_all_neg",
    motion: int = 3,
    generator: Generator | None = None,
) -> DeviceAssignment:
    """Positive and negative devices of an anchor, from simultaneous raw windows.

    Args:
        metric: squared MMD of N x T matrices: of the norm over the motion channels at each sample, or of each motion
            channel, averaged (for channels that are no vector).
        strategy: one of `POLICIES`. motion: the first so many channels count, others (gyroscope) do not.
        generator: for policies that draw; None: seeded 0.
    Raises:
        BadInput: as `device_distances` and `assign`.
    """
    distance = device_distances(windows_DNTC, anchor, metric=metric, motion=motion)
    return assign(distance, strategy=strategy, generator=generator)


def device_distances(
    windows_DNTC: Tensor, anchor: int, *, metric: Metric = "acc_norm", motion: int = 3
) -> dict[int, float]:
    """Squared MMD of each other device to the anchor, over equally many windows.

    Raises:
        BadInput: fewer than 2 devices, no such anchor, or channels that are not there.
    """
    if windows_DNTC.ndim != 4 or len(windows_DNTC) < 2:
        raise bad("windows", "[D, N, T, C] with at least 2 devices", tuple(windows_DNTC.shape))
    D, C = len(windows_DNTC), windows_DNTC.shape[3]
    if not 0 <= anchor < D:
        raise bad("anchor", f"a device from 0 to {D - 1}", anchor)
    if not 1 <= motion <= C:
        raise bad("motion", f"1 to {C} channels", motion)
    moved = windows_DNTC[..., :motion]
    if metric == "acc_norm":
        parts = [moved.norm(dim=3)]
    elif metric == "per_channel":
        parts = list(moved.unbind(3))
    else:
        raise bad("metric", "acc_norm or per_channel", metric)
    others = [d for d in range(D) if d != anchor]
    found = torch.stack([mmd_rbf_to_many(p[anchor], [p[d] for d in others]) for p in parts]).mean(0)
    return dict(zip(others, found.tolist(), strict=True))


def assign(
    distance: Mapping[int, float], *, strategy: str = "closest_pos_all_neg", generator: Generator | None = None
) -> DeviceAssignment:
    """Applies a policy to distances. Raises BadInput: an unknown policy, or one that needs more devices."""
    if strategy not in POLICIES:
        raise bad("strategy", " or ".join(POLICIES), strategy)
    nearest = sorted(distance, key=lambda d: (distance[d], d))
    positive, negative = POLICIES[strategy](nearest, generator or torch.Generator().manual_seed(0))
    if not positive or not negative:
        raise bad(f"devices for {strategy}", "more, so that each side gets one", len(distance) + 1)
    return DeviceAssignment(positive, negative, dict.fromkeys(nearest, 1.0) if strategy == "random" else dict(distance))


@dataclass
class SelectionLog:
    """What was chosen: times that each device was positive, was negative, each pair of choices, and distances."""

    positive: Counter[int] = field(default_factory=Counter)
    negative: Counter[int] = field(default_factory=Counter)
    pairs: Counter[str] = field(default_factory=Counter)
    distance: dict[int, tuple[float, int]] = field(default_factory=dict)  # sum and count

    def add(self, chosen: DeviceAssignment) -> None:
        self.positive.update(chosen.positive)
        self.negative.update(chosen.negative)
        self.pairs[f"{_names(chosen.positive)} | {_names(chosen.negative)}"] += 1
        for device, value in chosen.distance.items():
            total, count = self.distance.get(device, (0.0, 0))
            self.distance[device] = total + value, count + 1

    @property
    def mean_distance(self) -> dict[int, float]:
        return {device: total / count for device, (total, count) in sorted(self.distance.items())}


def mean_distances(found: Iterable[Mapping[int, float]]) -> dict[int, float]:
    """Of several batches: each device's mean."""
    tables = list(found)
    return {device: sum(t[device] for t in tables) / len(tables) for device in tables[0]}


def _names(devices: list[int]) -> str:
    return " ".join(map(str, devices))
