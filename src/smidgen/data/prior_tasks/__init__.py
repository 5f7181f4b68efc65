"""Synthetic tabular tasks without end: what an in-context learner is trained on.

A task is one small table: labelled context rows, query rows, one target. What ties target to columns is drawn anew for
each (structural causal models, small networks, forests, Gaussian processes, linear functions, rules, clusters), and so
is what makes real tables hard (few relevant columns, categories, skewed scales, missing cells, wrong labels, rare
classes). Nothing here is learned from data.

    tasks = PriorTasks(PriorConfig(), seed=0)
    stage = Curriculum().at(progress=0.3)
    shape = stage.shape(seed=0, step=1200)
    batch = tasks.batch(1200 * 16, 16, rows=shape.rows, features=shape.features, stage=stage, n_context=shape.n_context)

The idea of training on such draws: Müller et al. (2022), arXiv 2112.10510; causal models and networks as the prior:
Hollmann et al. (2023), arXiv 2207.01848.
"""

from smidgen.data.prior_tasks.settings import (
    FLAWS,
    MECHANISMS,
    ROLES,
    VERSION,
    Curriculum,
    PriorConfig,
    Shape,
    Stage,
    only,
)
from smidgen.data.prior_tasks.tasks import PriorTasks, TaskBatch

__all__ = [
    "FLAWS",
    "MECHANISMS",
    "ROLES",
    "VERSION",
    "Curriculum",
    "PriorConfig",
    "PriorTasks",
    "Shape",
    "Stage",
    "TaskBatch",
    "only",
]
