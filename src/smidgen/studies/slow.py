"""Which candidates are left out before anything is fitted, since the budget does not allow for them, and why."""

from smidgen.budget.budget import Budget
from smidgen.studies.candidates import BASELINE, Candidate
from smidgen.studies.curve import curve_draws
from smidgen.studies.race import Race
from smidgen.tasks.task import Task

CURVE_SHARE = 0.12  # of the time, for the learning curve, when the race leaves it
SLOW_SHARE = 0.7  # a candidate of which one repeat takes more of the race's time is not tried
LONGEST_SHARE = 0.4  # ... and a trial that takes more of all the time is ended
FEWEST = 3  # folds that a candidate has at least where time is short
FEW_SHARE = 0.5  # of all the time that one repeat on so few may take
UNASKED = 30.0  # seconds of one repeat of a method that a budget by count tries without being told its name
SAFETY = 1.3  # forecasts of seconds are multiplied by this


def repeat_seconds(race: Race, candidate: Candidate, folds: int | None = None) -> float:
    """Forecast of one repeat of cross-validation, one core. folds: other than the race's."""
    folds = folds or race.folds_of(candidate)
    lacking = min(3 / folds, 1.0)  # rows of a fit, from all to two thirds of them
    saved = candidate.seconds - (candidate.least or candidate.seconds)
    return folds * (candidate.seconds - lacking * saved)


def fewer_folds(race: Race, budget: Budget, named: bool) -> dict[tuple[str, str], int]:
    """Folds of the candidates that would be left out, or ended, with the usual ones and not with so few: judged on
    fits with a few rows less is better than not tried. From the budget and forecasts alone, so that a study that goes
    on has the same."""
    if budget.seconds is None:
        return {}
    shares = (SLOW_SHARE, SLOW_SHARE) if named else (LONGEST_SHARE, FEW_SHARE)
    most, most_on_few = (max(2.0, share * budget.seconds) for share in shares)
    out = {}
    for c in race.found:
        usual = race.folds_of(c)
        fits = [k for k in range(usual, FEWEST - 1, -1) if repeat_seconds(race, c, k) <= most_on_few]
        if fits and repeat_seconds(race, c, usual) > most:
            out[c.key] = fits[0]
    return out


def race_trials(task: Task, budget: Budget) -> int | None:
    """The count for the race: a few trials are kept back for the learning curve when there are many. None: no bound."""
    if budget.trials is None:
        return None
    curve = len(curve_draws(task))
    return budget.trials - curve if budget.trials >= 5 * curve else budget.trials


def after_race(race: Race, whole: float, refit: float | None = None) -> float:
    """Seconds of the whole time that what follows the race needs: estimate, curve, fitting, report. refit: forecast of
    fitting the chosen; None: nothing was measured yet."""
    cells = len(race.task) * max(len(race.task.classes), 1) * len(race.found)
    judging = 1.0 + min(cells / 1e6, 3.0)
    looking = 0.03 * whole if race.task.unlabelled is not None else 0.0
    return min(0.6 * whole, judging + (0.05 * whole if refit is None else refit) + looking + CURVE_SHARE * whole)


def longest_trial(race: Race, whole: float, named: bool) -> float:
    """Seconds that one trial may take. named: whether the methods were named."""
    usual = max(2.0, LONGEST_SHARE * whole)
    # What was asked for by its name has the time that it is known to need, and so has what just fits on fewer folds.
    need = max((repeat_seconds(race, c) for c in race.alive if named or c.key in race.set_folds), default=0.0)
    return max(usual, SAFETY * need)


def too_slow(race: Race, budget: Budget, named: bool, left: float | None) -> list[tuple[Candidate, str]]:
    """Candidates of which one repeat alone would take too much of the time, with the reason; the quickest one always
    stays. Where a count is the budget, and so no time, those that nobody would wait for unasked.

    Args:
        left: seconds that the race has now; None: a count is the budget.
    """
    need = {c.key: c.once + repeat_seconds(race, c) for c in race.found}
    said = {c.key: f"{need[c.key]:.0f} s{' with its pretraining' if c.once else ''}" for c in race.found}
    if budget.seconds is None or left is None:
        if budget.trials is None:  # a replay: what was tried then is tried again
            return []
        return [
            (c, f"not tried: one repeat takes about {said[c.key]}; name it (--methods) or give --time")
            for c in race.found
            if need[c.key] > UNASKED and not named
        ]
    # What was asked for: only what cannot end at all is left out.
    most = left if named else SLOW_SHARE * left
    longest = left if named else longest_trial(race, budget.seconds, named)
    quickest = min(v for k, v in need.items() if k[0] != BASELINE or len(need) == 1)
    return [
        (c, f"not tried: one repeat takes about {said[c.key]}, of the {left:.0f} s that there are")
        for c in race.found
        if (need[c.key] > most or repeat_seconds(race, c) > longest) and need[c.key] > quickest
    ]
