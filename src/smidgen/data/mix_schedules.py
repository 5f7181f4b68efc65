"""How often each domain of a mix is drawn, over a run: schedules of the sampling temperature, and two comparators.

A schedule is a frozen dataclass: `probabilities(sizes, step, run)` gives what is drawn at a step. `to_dict` and
`schedule_from` carry it through JSON. Source: Cooldown, arXiv 2410.04579, sections 2 and 4.
"""

import bisect
import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

from smidgen.kit.config import nearest
from smidgen.kit.errors import BadInput, bad


@dataclass(frozen=True)
class RunLength:
    """`steps` of `batch` examples; steps None: no end, so that nothing can be said in shares of the run."""

    steps: int | None
    batch: int


class Schedule(Protocol):
    """What a sampler asks."""

    def check(self, sizes: Mapping[str, int], run: RunLength) -> None:
        """Raises BadInput where the schedule does not fit the run."""
        ...

    def probabilities(self, sizes: Mapping[str, int], step: int, run: RunLength) -> dict[str, float]:
        """Of each domain, summing to 1."""
        ...


def domain_probabilities(sizes: Mapping[str, int], tau: float) -> dict[str, float]:
    """p(i; tau) = |D_i|^(1/tau) / sum_j |D_j|^(1/tau) (equation 1): 1 is proportional, infinity uniform.

    Other code writes |D|^alpha: tau = 1 / alpha. Below 1 the large domains get more than their share: a warning.

    Raises:
        BadInput: no domain, one of size 0, tau not above 0.
    """
    check_sizes(sizes)
    check_temperature(tau)
    return _shares(sizes, tau)


def _shares(sizes: Mapping[str, int], tau: float) -> dict[str, float]:
    powers = {name: math.log(size) / tau for name, size in sizes.items()}
    top = max(powers.values())
    shares = {name: math.exp(p - top) for name, p in powers.items()}
    total = math.fsum(shares.values())
    return {name: share / total for name, share in shares.items()}


@dataclass(frozen=True)
class Constant:
    """The same temperature from the first step to the last."""

    tau: float

    def __post_init__(self) -> None:
        check_temperature(self.tau)

    def check(self, sizes: Mapping[str, int], run: RunLength) -> None:
        """Fits any run."""

    def probabilities(self, sizes: Mapping[str, int], step: int, run: RunLength) -> dict[str, float]:
        """Of the temperature."""
        return _shares(sizes, self.tau)


@dataclass(frozen=True)
class Cooldown:
    """`high` until `switch`, then `low`: one abrupt change, which beat smooth and rising schedules in the paper.

    Attributes:
        switch: a step (int) or a share of the run (float in [0, 1]).
    """

    high: float = 5.0
    low: float = 1.0
    switch: int | float = 0.5

    def __post_init__(self) -> None:
        check_temperature(self.high)
        check_temperature(self.low)
        whole = isinstance(self.switch, int)
        if isinstance(self.switch, bool) or self.switch < 0 or (not whole and not self.switch <= 1):
            raise bad("switch", "a step (whole number), or a share of the run in [0, 1]", self.switch)

    def check(self, sizes: Mapping[str, int], run: RunLength) -> None:
        """Raises BadInput: the switch lies behind the end, or is a share of a run without one."""
        self.switch_step(run)

    def switch_step(self, run: RunLength) -> int:
        """The first step at `low`."""
        if isinstance(self.switch, int):
            if run.steps is not None and self.switch > run.steps:
                raise bad("switch", f"within the run of {run.steps} steps", self.switch)
            return self.switch
        if run.steps is None:
            raise bad("switch", "a step, as the run has no known length", self.switch, "Or give `steps`.")
        return round(self.switch * run.steps)

    def probabilities(self, sizes: Mapping[str, int], step: int, run: RunLength) -> dict[str, float]:
        """Of the temperature at this step."""
        return _shares(sizes, self.high if step < self.switch_step(run) else self.low)


@dataclass(frozen=True)
class PiecewiseSchedule:
    """Temperatures from steps on: `[(0, 5.0), (1000, 2.0), (2000, 1.0)]`. The first step named must be 0."""

    points: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        points = tuple((int(step), float(tau)) for step, tau in self.points)
        steps = [step for step, _ in points]
        if not points or steps[0] != 0 or any(a >= b for a, b in zip(steps, steps[1:], strict=False)):
            raise bad("points", "(step, temperature) with rising steps, the first 0", self.points)
        for _, tau in points:
            check_temperature(tau)
        object.__setattr__(self, "points", points)

    def check(self, sizes: Mapping[str, int], run: RunLength) -> None:
        """Raises BadInput: a change lies behind the end."""
        if run.steps is not None and self.points[-1][0] > run.steps:
            raise bad("points", f"within the run of {run.steps} steps", self.points[-1][0])

    def probabilities(self, sizes: Mapping[str, int], step: int, run: RunLength) -> dict[str, float]:
        """Of the temperature at this step."""
        place = bisect.bisect_right([s for s, _ in self.points], step) - 1
        return _shares(sizes, self.points[place][1])


@dataclass(frozen=True)
class UniMaxSchedule:
    """As even as it goes without any domain being seen more than `max_epochs` times (Chung et al., 2023, 2304.09151).

    From the smallest domain to the largest, each gets an even share of what is left of the run, or `max_epochs` times
    its size if that is less. Where all are capped, the run is longer than the data allow: refused.
    """

    max_epochs: float

    def __post_init__(self) -> None:
        if not self.max_epochs > 0:
            raise bad("max_epochs", "above 0", self.max_epochs)

    def check(self, sizes: Mapping[str, int], run: RunLength) -> None:
        """Raises BadInput: a run without known length, or longer than `max_epochs` of everything."""
        check_sizes(sizes)
        if run.steps is None:
            raise bad("steps", "the run's length, from which UniMax divides", "none")
        most = self.max_epochs * sum(sizes.values())
        if run.steps * run.batch > most:
            raise bad("max_epochs", f"at least {run.steps * run.batch / sum(sizes.values()):g}", self.max_epochs)

    def probabilities(self, sizes: Mapping[str, int], step: int, run: RunLength) -> dict[str, float]:
        """The same at every step."""
        self.check(sizes, run)
        assert run.steps is not None
        left = float(run.steps * run.batch)
        total, shares = left, {}
        for place, name in enumerate(sorted(sizes, key=lambda n: (sizes[n], n))):
            shares[name] = min(left / (len(sizes) - place), self.max_epochs * sizes[name])
            left -= shares[name]
        return {name: shares[name] / total for name in sizes}


@dataclass(frozen=True)
class OrderMattersSchedule:
    """Only the large domains first, then all at `tau` (Choi et al., 2023, arXiv 2312.06134): the order turned round.

    Attributes:
        switch: as Cooldown's: where the small ones come in.
        large: a domain is large from this share of the largest one's size on.
        tau: of both phases.
    """

    switch: int | float = 0.5
    large: float = 0.5
    tau: float = 1.0

    def __post_init__(self) -> None:
        Cooldown(self.tau, self.tau, self.switch)
        if not 0 < self.large <= 1:
            raise bad("large", "a share in (0, 1]", self.large)

    def check(self, sizes: Mapping[str, int], run: RunLength) -> None:
        """As Cooldown's."""
        Cooldown(switch=self.switch).check(sizes, run)

    def probabilities(self, sizes: Mapping[str, int], step: int, run: RunLength) -> dict[str, float]:
        """Small domains have 0 in the first phase."""
        check_sizes(sizes)
        if step >= Cooldown(switch=self.switch).switch_step(run):
            return _shares(sizes, self.tau)
        least = self.large * max(sizes.values())
        first = _shares({n: s for n, s in sizes.items() if s >= least}, self.tau)
        return {name: first.get(name, 0.0) for name in sizes}


KINDS = {
    "constant": Constant,
    "cooldown": Cooldown,
    "piecewise": PiecewiseSchedule,
    "unimax": UniMaxSchedule,
    "order_matters": OrderMattersSchedule,
}


def to_dict(schedule: Any) -> dict[str, Any]:
    """`{"schedule": name, ...}`, for JSON. Raises BadInput for a schedule of another kind."""
    for name, kind in KINDS.items():
        if type(schedule) is kind:
            return {"schedule": name, **asdict(schedule)}
    raise bad("schedule", "one of " + ", ".join(k.__name__ for k in KINDS.values()), type(schedule).__name__)


def schedule_from(values: Mapping[str, Any]) -> Schedule:
    """What `to_dict` gave. Raises BadInput for an unknown name or setting."""
    name = values.get("schedule")
    if name not in KINDS:
        raise BadInput(f"There is no schedule '{name}'. {nearest(str(name), KINDS)}")
    settings = {k: v for k, v in values.items() if k != "schedule"}
    for key in settings.keys() - {f.name for f in fields(KINDS[name])}:
        raise BadInput(f"{name}: there is no setting '{key}'. {nearest(key, [f.name for f in fields(KINDS[name])])}")
    if "points" in settings:
        settings["points"] = tuple(map(tuple, settings["points"]))
    return KINDS[name](**settings)


def check_sizes(sizes: Mapping[str, int]) -> None:
    """Raises BadInput: no domain, or an empty one."""
    if not sizes:
        raise bad("sizes", "at least one domain", "none")
    for name, size in sizes.items():
        if not size >= 1:
            raise bad(f"domain '{name}'", "at least 1 example", size, "Leave an empty domain out.")


def check_temperature(tau: float) -> None:
    """Raises BadInput unless tau > 0; warns below 1."""
    if not tau > 0:
        raise bad("temperature", "above 0", tau)
    if tau < 1:
        text = f"A temperature of {tau:g} draws large domains even more often than their share."
        warnings.warn(text, UserWarning, stacklevel=3)
