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


def compress(model: Any, **options: Any) -> dict[str, Any]:
    """A model within a limit of bytes, bits or loss; see `smidgen.studies.compressing.compress`."""
    from smidgen.studies import compressing
    from smidgen.web.compressed import report

    return compressing.compress(model, **{"render": report, **options})


def from_pretrained(folder: Any) -> Any:
    """A model of transformers, as `compress` wrote it or not; see `smidgen.nets.packed_pretrained`."""
    from smidgen.nets import packed_pretrained

    return packed_pretrained.from_pretrained(folder)


def load_packed(model: Any, folder: Any) -> Any:
    """A network of torch with the weights that `compress` packed; see `smidgen.studies.compress_module`."""
    from smidgen.studies import compress_module

    return compress_module.load_packed(model, folder)


def train_lm(*sources: Any, **options: Any) -> dict[str, Any]:
    """A language model of your own text; see `smidgen.lm.job.train`."""
    from smidgen.lm import job

    return job.train(sources, **options)
