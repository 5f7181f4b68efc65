"""A process for every stage, a supervisor that watches them, and training that goes on when one is killed.

    job = Job(make=functools.partial(staged_decoder, config, 4, swap_ends=True), rule=Rule(plus=True), ...)
    with Pipeline(job) as pipeline:
        history = pipeline.train(1000)
        model = pipeline.model()

Embedding and head have a process as well. When a process dies, the others notice it by their broken connections and
drop what they have of the iteration. The supervisor starts a new process, has all form a new group, and has the lost
part sent from its neighbours (or from a shadow, or read from a checkpoint). Then the same iteration begins again.

Processes are started by `multiprocessing`, so a script that does this needs `if __name__ == "__main__":`.
"""

import contextlib
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from smidgen.kit.errors import SmidgenError
from smidgen.train.recovery.checkpoints import newest_common
from smidgen.train.recovery.errors import UnrecoverableFailure, named
from smidgen.train.recovery.history import Failure, History, Step
from smidgen.train.recovery.job import Job
from smidgen.train.recovery.link import host_store
from smidgen.train.recovery.plan import Rebuild, Restore, plan
from smidgen.train.recovery.stages import ENDS, StagedModel
from smidgen.train.recovery.worker import DONE, FAILED, serve

PRELOADED = [serve.__module__, "torch._dynamo"]  # once for all processes; the second comes with the first optimizer


@dataclass
class _Process:
    process: Any
    pipe: Connection


class Pipeline:
    """A run over processes, from the start of the job.

    Attributes:
        history: what happened so far. updates: that the weights carry. iterations: carried through.

    Raises:
        BadInput: too few stages for the job's rule.
    """

    def __init__(self, job: Job) -> None:
        model = job.make()
        if job.rule is not None:
            job.rule.check(model)
        self.job, self.n_stages, self.numbers = job, len(model.stages), model.numbers
        self.history, self.updates, self.iterations = History(), 0, 0
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        self._store = host_store()
        self._generation = 0
        self._processes: dict[int, _Process] = {}
        self._lost: set[int] = set()  # parts whose state is gone
        self._broken = True  # no group
        self._rebuilt: dict[int, list[int]] = {k: [] for k in self.numbers}
        for number in self.numbers:
            self._start(number, fresh=False)
        self._save()

    @property
    def pids(self) -> dict[int, int]:
        """Of the processes, by part."""
        return {number: p.process.pid for number, p in self._processes.items()}

    def train(self, iterations: int, on_iteration: Callable[[int, dict[int, int]], None] | None = None) -> History:
        """Carries so many iterations through.

        Args:
            on_iteration: called with the iteration and `pids` whenever all processes have begun to compute one.
        Raises:
            UnrecoverableFailure: what was lost cannot come back, and there are no checkpoints. SmidgenError: a
            process failed at its work (out of the vocabulary, a loss that is not a number), or recovery fails again
            and again. In each case all processes are ended.
        """
        with self._or_end():
            for number in range(self.iterations, self.iterations + iterations):
                loss = self._gradients(number, on_iteration)
                self._ask("commit", self.updates)
                self.iterations, self.updates = number + 1, self.updates + 1
                self.history.steps.append(Step(number, self.updates, loss))
                self._save()
            return self.history

    def model(self) -> StagedModel:
        """The model as it is now, in this process."""
        model = self.job.make()
        for number, state in self.states().items():
            model.part(number).load_state_dict(state["module"])
        return model

    def states(self) -> dict[int, dict[str, Any]]:
        """Of all parts: weights, optimizer, gradient norm, when it was rebuilt."""
        with self._or_end():
            for _ in range(self.job.attempts):
                self._mend()
                found = self._ask("state")
                if not self._lost:
                    return found
            raise SmidgenError(f"Processes died {self.job.attempts} times in a row while they were asked.")

    def close(self) -> None:
        """Ends all processes."""
        for p in self._processes.values():
            p.pipe.close()  # then they end by themselves, and finish their checkpoints
        for p in self._processes.values():
            p.process.join(self.job.patience)
            p.process.kill()
            p.process.join()
        self._processes.clear()

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _gradients(self, number: int, on_iteration: Callable[[int, dict[int, int]], None] | None) -> float:
        """Until all processes have those of this iteration: its loss."""
        for _ in range(self.job.attempts):
            self._mend()
            begun = None if on_iteration is None else lambda: on_iteration(number, self.pids)
            losses = self._ask("gradients", number, begun=begun)
            if not self._lost and not self._broken:
                return losses[ENDS]
        raise SmidgenError(f"Iteration {number} broke down {self.job.attempts} times in a row: training is given up.")

    def _mend(self) -> None:
        """Until there is a group and no part is lost."""
        attempts = 0
        while self._lost or self._broken:
            attempts += 1
            if attempts > self.job.attempts:
                raise SmidgenError(f"Recovery failed {self.job.attempts} times in a row: training is given up.")
            start, lost = time.perf_counter(), set(self._lost)
            moves, checkpoint = self._planned(lost)
            if self._lost != lost:  # one more died meanwhile
                continue
            for number in lost - self._processes.keys():
                self._start(number, fresh=True)
            self._generation, self._broken = self._generation + 1, False
            self._ask("join", self._generation)
            if self._whole(lost) and checkpoint is not None:
                self._roll_back(checkpoint)
            elif self._whole(lost) and moves:
                self._ask("mend", moves, self.updates, self._rebuilt)
            if not self._whole(lost):
                continue
            self._lost = set()
            if lost:
                self._note(lost, moves, checkpoint, time.perf_counter() - start)

    def _planned(self, lost: set[int]) -> tuple[list[Rebuild | Restore], int | None]:
        """The moves that bring the lost parts back, or the checkpoint to go back to."""
        try:
            return plan(lost, self.n_stages, self.job.rule, self.job.holders(self.n_stages)), None
        except UnrecoverableFailure:
            if self.job.folder is None:
                raise
            self._ask("settle")
            checkpoint = newest_common(self.job.place(k) for k in self.numbers)
            if checkpoint is None:
                raise
            return [], checkpoint

    def _whole(self, lost: set[int]) -> bool:
        """Whether nothing broke or died beyond what is being mended."""
        return not self._broken and self._lost == lost and self._processes.keys() == set(self.numbers)

    def _roll_back(self, checkpoint: int) -> None:
        found = self._ask("load", checkpoint)
        if found.keys() == set(self.numbers):
            self.updates = found[ENDS]
            self._rebuilt = {k: [u for u in before if u < self.updates] for k, before in self._rebuilt.items()}

    def _note(self, lost: set[int], moves: list[Rebuild | Restore], checkpoint: int | None, seconds: float) -> None:
        rebuilt = [move.target for move in moves if isinstance(move, Rebuild)]
        for number in rebuilt:
            self._rebuilt[number].append(self.updates)
        how = "rolled back" if checkpoint is not None else "rebuilt" if rebuilt else "restored"
        self.history.failures.append(Failure(self.iterations, tuple(sorted(lost)), how, seconds=seconds))

    def _save(self) -> None:
        if self.job.folder:
            self._ask("save", self.iterations, self.updates)

    def _start(self, number: int, fresh: bool) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=serve, args=(theirs, number, self.n_stages, self._store.port, self.job, fresh), daemon=True
        )
        process.start()
        theirs.close()
        self._processes[number] = _Process(process, ours)

    def _ask(self, name: str, *arguments: Any, begun: Callable[[], None] | None = None) -> dict[int, Any]:
        """Has all processes do something; the answers of those that could. Notes who died and whether a group broke.

        Args:
            begun: called when all were told.
        """
        told = [number for number in list(self._processes) if self._tell(number, (name, arguments))]
        if begun:
            begun()
        answers = {}
        for number in told:
            kind, value = self._answer(number)
            if kind == FAILED:
                raise SmidgenError(f"The process of {named({number})} failed: {value}")
            if kind == DONE:
                answers[number] = value
        if len(answers) < len(self.numbers):
            self._broken = True
        return answers

    def _tell(self, number: int, message: tuple) -> bool:
        try:
            self._processes[number].pipe.send(message)
        except OSError:
            self._bury(number)
            return False
        return True

    def _answer(self, number: int) -> tuple[str, Any]:
        pipe = self._processes[number].pipe
        try:
            if pipe.poll(2 * self.job.patience):
                return pipe.recv()
        except (EOFError, OSError):
            pass
        self._bury(number)
        return "dead", None

    def _bury(self, number: int) -> None:
        """A process that died, or is as good as dead."""
        gone = self._processes.pop(number)
        gone.process.kill()
        gone.process.join()
        gone.pipe.close()
        self._lost.add(number)

    @contextlib.contextmanager
    def _or_end(self):
        """What cannot be mended leaves no processes behind."""
        try:
            yield
        except BaseException:
            for number in list(self._processes):
                self._bury(number)
            raise
