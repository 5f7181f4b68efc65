"""Trains tiny stages in processes of their own, kills some of them, and keeps what became of it: FOLDER/CASE.pt.

pipeline_run.py FOLDER
"""

import functools
import os
import signal
import sys
from pathlib import Path

import torch

from smidgen.kit.errors import SmidgenError
from smidgen.nets.decoder import DecoderConfig, loss
from smidgen.train.recovery import Job, Pipeline, Rule, Updating, newest_common, staged_decoder

CONFIG = DecoderConfig(vocab=13, hidden=8, layers=4, heads=2, kv_heads=1, ffn=12, max_len=6, tie_embeddings=False)
UPDATING = Updating(make_optimizer=functools.partial(torch.optim.Adam, lr=1e-2), clip=0.5)
STAGES, MICRO, ITERATIONS, EVERY = 4, 4, 7, 3
# By iteration, the parts whose processes are killed while it is computed (7: after the last); -1: embedding and head.
KILLS = {
    "plus": {1: [2], 3: [-1, 2], 4: [0, 3], 5: [-1], 7: [1]},
    "redundant": {2: [1], 3: [-1]},
    "checkpoint": {2: [2], 4: [1], 5: [1, 2], 6: [1]},  # side by side: only a checkpoint helps
    "late": {1: [1]},  # by itself, when those after it have done their part of the iteration
    "refused": {1: [1, 2]},
    "bad data": {},
}


def make(swap_ends: bool):
    return staged_decoder(CONFIG, STAGES, seed=3, swap_ends=swap_ends)


def make_late(flag: Path):
    """Stage 1 ends its process in the last backward pass of iteration 1, once."""
    model, calls = make(False), []

    def end(_):
        calls.append(1)
        if len(calls) == 2 * MICRO and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    next(model.stages[1].parameters()).register_hook(end)
    return model


def batches(number: int, vocab: int = 13):
    ids_MBT = torch.randint(vocab, (MICRO, 2, 7), generator=torch.Generator().manual_seed(number))
    return [(ids_BT[:, :-1], ids_BT[:, 1:]) for ids_BT in ids_MBT]


def job(case: str, folder: Path) -> Job:
    return Job(
        make=functools.partial(make_late, folder / "flag")
        if case == "late"
        else functools.partial(make, case == "plus"),
        batches=functools.partial(batches, vocab=99) if case == "bad data" else batches,
        criterion=loss,
        micro_batches=MICRO,
        activation=(2, 6, 8),
        updating=UPDATING,
        rule=None if case == "redundant" else Rule(plus=case == "plus"),
        redundant=case == "redundant",
        folder=folder / "saved" if case == "checkpoint" else None,
        every=EVERY,
        patience=60,
    )


def run(case: str, folder: Path) -> dict:
    made = job(case, folder)
    killed = set()

    def kill(number, pids):
        kills = KILLS[case].get(number, [])
        if number in killed or not kills or case == "late":
            return
        while case == "checkpoint" and number > EVERY and newest_common(map(made.place, pids)) != EVERY:
            pass  # until the checkpoint that it shall go back to is on the disk
        for part in kills:
            os.kill(pids[part], signal.SIGKILL)
        killed.add(number)

    with Pipeline(made) as pipeline:
        pipeline.train(ITERATIONS, on_iteration=kill)
        kill(ITERATIONS, pipeline.pids)
        return {"states": pipeline.states(), "history": pipeline.history}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for case in KILLS:
        try:
            found = run(case, folder)
        except SmidgenError as error:
            found = {"error": f"{type(error).__name__}: {error}"}
        torch.save(found, folder / f"{case}.pt")
