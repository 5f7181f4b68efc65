"""What a claim is: a statement of a paper, as an experiment that can fail, with its pass rule fixed before it runs.

A claim file (`pNNN_<slug>.py`) holds `CLAIM` and `run(scale, seed)`, one paired measurement. It imports nothing heavy
at its top: the whole catalogue is read by listing, searching and the page.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Scale(StrEnum):
    """How large an experiment is run: `SMOKE` shows within 2 seconds that it runs, only `FULL` is judged."""

    SMOKE = "smoke"
    FULL = "full"


@dataclass(frozen=True, kw_only=True)
class Published:
    """A figure that the paper states: a quotation, never a measurement of ours.

    Attributes:
        value: the figure; text where the paper only shows or describes it.
        metric, data: what was measured, on what (model, data set).
        where: paper and place: "arXiv 2302.02334, figure 2".
    """

    value: float | str
    metric: str
    data: str
    where: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """One statement of a claim, judged by itself over the seeds.

    Attributes:
        name: short, for tables. says: the statement in a sentence.
        gain: (a, b), names of measured numbers or constants; each seed gives the paired difference a - b. Write it so
            that more is better for the claim.
        margin: the mean gain must reach it ...
        null: ... and the lower bound of its interval must lie above this. A mean above `null` alone is a direction.
        unit: of the gain.
        group: parts of one group may share a number of how many must hold (`Claim.needs`).
    """

    name: str
    says: str
    gain: tuple[str | float, str | float]
    margin: float = 0.0
    null: float = 0.0
    unit: str = ""
    group: str = ""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A published system and what is re-tested of it.

    Attributes:
        title, year: of the paper. gives: what a person gets from the system. room: where it lives here.
        implements: dotted names, without `smidgen.`, of what implements it.
        keywords: what people would look for.
        says: what the paper claims. experiment: how it is re-tested here, and where and why this differs.
        published: figures of the paper.
        parts: what is judged. needs: by group, how many parts must hold; all where it is not named.
        seeds: how many are judged (0, 1, ...). minutes: about how long they take on 2 cores, <= 10.
        resampled: where seeds draw anew from one finite data set, its test size over its training size: such draws
            overlap, and the interval is widened for it (Nadeau and Bengio, 2003). 0 where seeds are independent.
        data: names of the data sets that it reads. added: the day it came here, "2026-11-24".
    """

    title: str
    year: int
    gives: str
    room: str
    implements: tuple[str, ...]
    says: str
    experiment: str
    published: tuple[Published, ...]
    parts: tuple[Part, ...]
    keywords: str = ""
    needs: Mapping[str, int] = field(default_factory=dict)
    seeds: int = 5
    minutes: float = 10
    resampled: float = 0.0
    data: tuple[str, ...] = ()
    added: str = ""

    def __post_init__(self) -> None:
        names = [part.name for part in self.parts]
        if not names or len(set(names)) < len(names):
            raise ValueError("a claim has at least one part, and each its own name")
        groups = [part.group for part in self.parts]
        for group, count in self.needs.items():
            if not 1 <= count <= groups.count(group):
                raise ValueError(f"group '{group}' has {groups.count(group)} parts; {count} cannot be asked of it")
        if self.seeds < 3:
            raise ValueError("an interval over seeds needs at least 3 of them")
