"""`torchrun --nproc-per-node 4 -m smidgen.train.launch ...`: the training of `smidgen lm train`, by many processes.

Each takes its rows of every batch, so that the model is that of one process, up to rounding. Rank 0 reads the corpus,
plans, speaks, and writes the model; the folder of checkpoints must be one for all. Without torchrun it is one process.
A command: it stands above the rooms that it puts together, wherever its file lies.
"""

import contextlib
import inspect
import os
import shlex
import sys
import time as clock
import traceback
from dataclasses import replace
from typing import Annotated, Any

import typer

from smidgen.budget.memory import model_state_bytes
from smidgen.cli import lm_training as training
from smidgen.cli.lm_app import lm_train
from smidgen.cli.options import OPTIONS
from smidgen.cli.output import tell
from smidgen.kit.errors import SmidgenError, bad
from smidgen.lm import job
from smidgen.lm.forecast import memory_bytes
from smidgen.lm.prepare import Survey, prepare
from smidgen.lm.setup import Setup, write_setup
from smidgen.lm.wish import Wish
from smidgen.lm.work import WORK, working
from smidgen.train import journal
from smidgen.train.precision import Precision
from smidgen.train.sharding import Sharding, start, stop
from smidgen.train.sharding.errors import FailedElsewhere
from smidgen.web import words

STATES: dict[Precision, dict[str, int]] = {
    "fp32": {"weight_bytes": 4, "grad_bytes": 4, "optim_multiplier": 8},
    "mixed": {"weight_bytes": 4, "grad_bytes": 4, "optim_multiplier": 8},
    "bf16": {"weight_bytes": 2, "grad_bytes": 2, "optim_multiplier": 4},
}


def launch(
    stage: Annotated[int, typer.Option(min=0, max=3, help="What ranks share out: 1 states, 2 gradients, 3 weights.")],
    backend: Annotated[str, typer.Option(metavar="native", help="Of stage 3: native or fsdp.")],
    offload: Annotated[bool, typer.Option("--offload", help="Keep what is shared out on the host.")],
    corpus: list[str],
    log: list[str] | None,
    as_json: bool,
    dry_run: bool,
    **asked: Any,
) -> None:
    """Train a language model by many processes: torchrun --nproc-per-node N -m smidgen.train.launch CORPUS..."""
    if backend not in ("native", "fsdp"):
        raise bad("--backend", "native or fsdp", backend)
    if backend == "fsdp" and stage != 3:
        raise bad("--stage", "3 with --backend fsdp, which cuts all of it", stage)
    if backend == "fsdp" and offload:
        raise bad("--offload", "--backend native", "--backend fsdp")
    journal.check(log or [])
    begun, folder, corpora = clock.monotonic(), job.folder_of(corpus, asked.pop("out")), job.corpora_of(corpus)
    resume, more, keep_stable = (asked.pop(name) for name in ("resume", "more", "keep_stable"))
    corrupt = "skip" if asked.pop("skip_corrupt") else "refuse"
    wish = Wish.of(**asked)
    ranks = start()
    sharding = Sharding(stage, backend, offload, ranks=ranks)  # pyright: ignore
    with contextlib.ExitStack() as held:

        def planned() -> tuple[Setup, dict[str, Survey]]:
            work = None if dry_run else held.enter_context(working(folder, resume, begun))
            setup, surveys = job.begin(corpora, wish, work, resume, more, keep_stable, ranks.size)
            if not resume:
                setup = _suited(setup, surveys, sharding)
                if work:
                    write_setup(setup, work)
            sharding.rows(setup.plan.rows)
            for line in [*training.plan_lines(setup), _spread_line(setup, sharding)]:
                tell(line)
            return setup, surveys

        setup, surveys = ranks.on_first(planned)
        if dry_run:
            if as_json and ranks.rank == 0:
                training.say_plan(setup)
            return
        work = folder / WORK
        made = ranks.on_first(lambda: job.tokens_of(setup, corpora, surveys, work, corrupt, tell)[0])
        prepared = prepare(corpora, surveys, made.plan.words, work, corrupt)
        result = training.trained(made, prepared, folder, begun, log or [], sharding)
    if ranks.rank == 0:
        again = f"torchrun --nproc-per-node N -m smidgen.train.launch {shlex.join(corpus)}"
        training.say_result(
            result, made, folder, as_json, f"with any number of processes that divides a batch: {again}"
        )
    if not result["finished"]:
        raise typer.Exit(130)


def _suited(setup: Setup, surveys: dict[str, Survey], sharding: Sharding) -> Setup:
    """A new plan for these processes: as many rows as divide, nearest to what one would take; no Muon where FSDP cuts
    every matrix. Its memory is that of rank 0."""
    plan, size = setup.plan, sharding.ranks.size
    rows = max(1, round(plan.rows / size)) * size
    if rows != plan.rows:
        many = words.plural(size, "process", "processes")
        plan = replace(plan, rows=rows, batch_from=f"{plan.batch_from}, and {plan.rows} rows made {rows} for {many}")
    if sharding.backend == "fsdp":
        plan = replace(plan, optimizer="adamw")
    told, every = setup.forecast, list(surveys.values())
    held = told.memory_bytes - memory_bytes(setup.plan, setup.precision, 0, every)  # before anything began
    if plan.lr is None:  # rank 0 searches for the rate, with the whole model
        memory = memory_bytes(plan, setup.precision, held, every)
    else:
        each, alone = _states(plan.parameters, setup.precision, sharding)
        memory = memory_bytes(replace(plan, rows=rows // size), setup.precision, held, every, elsewhere=alone - each)
    return replace(setup, plan=plan, forecast=replace(told, memory_bytes=memory))


def _states(parameters: int, precision: Precision, sharding: Sharding) -> tuple[float, float]:
    """Bytes of weights, gradients and optimizer states in each process, and in one alone."""
    shapes = ((sharding.stage, sharding.ranks.size), (0, 1))
    each, alone = (model_state_bytes(parameters, s, n, **STATES[precision])["total"] for s, n in shapes)
    return each, alone


def _spread_line(setup: Setup, sharding: Sharding) -> str:
    size, (each, alone) = sharding.ranks.size, _states(setup.plan.parameters, setup.precision, sharding)
    return (
        f"spread    over {words.plural(size, 'process', 'processes')}, stage {sharding.stage}: {words.size(each)} of "
        f"weights, gradients and optimizer states in each, of {words.size(alone)}"
    )


def _command() -> typer.Typer:
    """Takes the options of `smidgen lm train`, with those of sharding: two commands for one training stay alike."""
    app = typer.Typer(**OPTIONS)
    ours, theirs = inspect.signature(launch).parameters, inspect.signature(lm_train).parameters
    defaults = {"stage": 2, "backend": "native", "offload": False}
    added = [ours[name].replace(default=value) for name, value in defaults.items()]
    first = [p for p in theirs.values() if p.default is p.empty]
    options = [*first, *(p for p in theirs.values() if p not in first), *added]

    def command(**asked: Any) -> None:
        launch(**asked)

    command.__doc__ = launch.__doc__
    command.__signature__ = inspect.Signature(options)  # pyright: ignore
    command.__annotations__ = {p.name: p.annotation for p in options}
    app.command()(command)
    return app


def main(args: list[str] | None = None) -> int:
    """Runs the command line and gives its exit status. What all ranks find wrong, rank 0 says."""
    leads = os.environ.get("RANK", "0") == "0"
    try:
        code = _command()(args, prog_name="smidgen.train.launch", standalone_mode=False)
        stop()
        return code if isinstance(code, int) else 0
    except KeyboardInterrupt:
        return _failed("Stopped. The same command with --resume goes on with what was begun.", 130, leads)
    except FailedElsewhere as error:
        return error.exit_code
    except SmidgenError as error:
        return _failed(str(error), error.exit_code, leads)
    except OSError as error:
        return _failed(f"{error.filename or 'system'}: {error.strerror or error}.", 2, True)
    except Exception as error:
        flags = getattr(error, "format_message", None)  # an error in the flags
        if flags is not None:
            return _failed(flags(), 2, leads)
        if "gloo" in str(error) or "NCCL" in str(error):
            return _failed("Another process ended, and this one with it; the newest checkpoint stays.", 1, True)
        traceback.print_exc()
        return 1


def _failed(text: str, code: int, speaks: bool) -> int:
    if speaks:
        rank = os.environ.get("RANK")
        tell(f"smidgen.train.launch{f' (rank {rank})' if rank else ''}: {text}")
    return code


def run() -> None:
    """The process's end. One that failed does not wait for others, which may wait for it; none takes the interpreter
    down, since a thread of torch or gloo that asks for it just then ends the process by an abort."""
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
