"""The verbs as Python has them: the studies' functions, with the report that people look at."""

import functools
from typing import Any

from smidgen.studies import buying
from smidgen.studies import fit as studies
from smidgen.studies.fitted import Fitted
from smidgen.web.report import report


@functools.wraps(studies.fit)
def fit(*args: Any, **options: Any) -> Fitted:
    return studies.fit(*args, **{"render": report, **options})


@functools.wraps(studies.resume)
def resume(*args: Any, **options: Any) -> Fitted:
    return studies.resume(*args, **{"render": report, **options})


@functools.wraps(buying.plan)
def plan(*args: Any, **options: Any) -> dict[str, Any]:
    return buying.plan(*args, **{"render": report, **options})


def train_lm(*sources: Any, **options: Any) -> dict[str, Any]:
    """A language model of your own text; see `smidgen.lm.job.train`."""
    from smidgen.lm import job

    return job.train(sources, **options)
