"""The process of one part: it does what the supervisor (`pipeline.py`) asks over a pipe.

An iteration has two halves. `gradients` needs the others; whatever breaks in it, nothing has changed. `commit` needs
nobody. So an update happens in all processes that live, or in none.
"""

import contextlib
import copy
import gc
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

from smidgen.kit.errors import bad
from smidgen.train.recovery.checkpoints import Checkpoints, numbered
from smidgen.train.recovery.job import Job
from smidgen.train.recovery.link import Link, PeerLost
from smidgen.train.recovery.part import Part, flat_gradients, set_gradients
from smidgen.train.recovery.plan import Rebuild, Restore
from smidgen.train.recovery.simulate import finite
from smidgen.train.recovery.stages import ENDS, route

GROUP_BROKEN, FAILED, DONE = "broken", "failed", "done"


def serve(pipe: Connection, number: int, n_stages: int, port: int, job: Job, fresh: bool) -> None:
    """The process's main function: answers (kind, value) to each (name of a method, arguments), until the pipe ends.

    Args:
        number: of the part. fresh: it replaces a process that died, and has nothing until it is mended.
    """
    torch.set_num_threads(job.threads)
    gc.freeze()  # all that is imported; so the collection when a group breaks takes no time
    worker = Worker(number, n_stages, port, job, fresh)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        while True:  # until the supervisor is gone
            name, arguments = pipe.recv()
            kind, value = _answer(worker, name, arguments)
            if kind != DONE:
                worker.leave()
            pipe.send((kind, value))
    worker.close()


def _answer(worker: "Worker", name: str, arguments: tuple) -> tuple[str, Any]:
    try:
        return DONE, getattr(worker, name)(*arguments)
    except PeerLost as error:
        return GROUP_BROKEN, str(error)
    except Exception as error:
        return FAILED, f"{type(error).__name__}: {error}"


class Worker:
    """One part, the shadows of others that it keeps, and its link to all. Every method is an answer."""

    def __init__(self, number: int, n_stages: int, port: int, job: Job, fresh: bool) -> None:
        model = job.make()
        self.number, self.n_stages, self.job, self.swap_ends = number, n_stages, job, model.swap_ends
        self.holders = job.holders(n_stages)
        held = [owner for owner, places in self.holders.items() if number in places]
        self.parts = {k: Part(model.part(k), job.updating) for k in [number, *held]}
        self.mine = self.parts[number]
        if fresh:
            for part in self.parts.values():
                part.lose()
        self.checkpoints = Checkpoints(job.place(number), job.every) if job.folder else None
        self.link = Link(number, n_stages + 1, port, job.patience)

    def join(self, generation: int) -> None:
        """Into a new group."""
        self.leave()
        self.link.join(generation)

    def leave(self) -> None:
        """Out of the group; the gradients of an iteration that others may not have are dropped."""
        self.link.leave()
        for part in self.parts.values():
            part.drop_gradients()

    def close(self) -> None:
        self.leave()
        if self.checkpoints:
            self.checkpoints.close()

    def gradients(self, iteration: int) -> float | None:
        """Those of an iteration, in all parts that are kept here. The loss, where the head is."""
        loss = self._of_ends(iteration) if self.number == ENDS else self._of_stage()
        for owner, places in self.holders.items():
            for place in places:
                if owner == self.number:
                    self.link.send(flat_gradients(self.mine.module), place)
                elif place == self.number:
                    shadow = self.parts[owner].module
                    flat = torch.empty(sum(p.numel() for p in shadow.parameters()))
                    set_gradients(shadow, self.link.receive(flat, owner))
        self.link.flush()
        return loss

    def commit(self, update: int) -> None:
        """Update number `update` of all parts that are kept here."""
        if self.checkpoints:
            self.checkpoints.before_update()
        for part in self.parts.values():
            part.update(update)

    def save(self, iterations: int, update: int) -> None:
        """A checkpoint, if it is due."""
        if self.checkpoints:
            state = {"updates": update, "part": self.mine.state_dict()}
            self.checkpoints.maybe_save(state, iterations, update)

    def settle(self) -> None:
        """Returns when the checkpoints begun are on the disk."""
        if self.checkpoints:
            self.checkpoints.settle()

    def load(self, checkpoint: int) -> int:
        """Back to a checkpoint, to that of its owner where a shadow is kept. The updates it carries."""
        found = {k: numbered(self.job.place(k), checkpoint) for k in self.parts}
        for k, part in self.parts.items():
            part.load_state_dict(found[k]["part"])
        return found[self.number]["updates"]

    def mend(self, moves: list[Rebuild | Restore], update: int, rebuilt: dict[int, list[int]]) -> None:
        """Takes part in the moves, in their order. `rebuilt`: before which updates the targets were, until now."""
        if self.checkpoints:
            self.checkpoints.before_update()
        for move in moves:
            if isinstance(move, Rebuild):
                self._rebuild(move, update, rebuilt[move.target])
            elif move.holder == self.number:
                self.link.send_state(self.parts[move.owner].state_dict(), move.target)
            elif move.target == self.number:
                self.parts[move.owner].load_state_dict(self.link.receive_state(move.holder))

    def state(self) -> dict[str, Any]:
        """A copy, as tensors go through a pipe as shared memory."""
        return copy.deepcopy(self.mine.state_dict())

    def _rebuild(self, move: Rebuild, update: int, rebuilt: list[int]) -> None:
        if self.number in move.sources:
            self.link.send_state((dict(self.mine.module.state_dict()), self.mine.norm), move.target)
        if self.number != move.target:
            return
        assert self.job.rule is not None
        found = [self.link.receive_state(source) for source in move.sources]
        made = self.job.rule.made([state for state, _ in found], [norm for _, norm in found])
        self.mine.rebuilt = list(rebuilt)
        self.mine.rebuild(*made, update)

    def _of_ends(self, iteration: int) -> float:
        """Embeds all micro-batches; from the head, the gradients of all; the embedding's own when they come back."""
        ends, job = self.mine.module, self.job
        micro_batches = job.batches(iteration)
        if len(micro_batches) != job.micro_batches:
            raise bad("micro-batches", str(job.micro_batches), len(micro_batches))
        embedded, total = [], 0.0
        for index, (inputs, _) in enumerate(micro_batches):
            embedded.append(ends.embed(inputs))  # pyright: ignore
            self.link.send(embedded[-1].detach(), self._route(index)[0])
        for index, (_, targets) in enumerate(micro_batches):
            last = self._route(index)[-1]
            out = self._receive(last).requires_grad_()
            loss = job.criterion(ends.head(out), targets) / len(micro_batches)  # pyright: ignore
            loss.backward()
            self.link.send(_gradient(out), last)
            total += float(loss.detach())
        for index, x in enumerate(embedded):
            x.backward(self._receive(self._route(index)[0]))
        return finite(total)

    def _of_stage(self) -> None:
        """All micro-batches forward, then all backward, in the order of their numbers: nobody waits in a circle."""
        passed = []
        for index in range(self.job.micro_batches):
            before, after = self._neighbours(index)
            x = self._receive(before).requires_grad_()
            y = self.mine.module(x)
            self.link.send(y.detach(), after)
            passed.append((x, y))
        for index, (x, y) in enumerate(passed):
            before, after = self._neighbours(index)
            y.backward(self._receive(after))
            self.link.send(_gradient(x), before)

    def _route(self, index: int) -> list[int]:
        return route(self.n_stages, self.swap_ends and index % 2 == 1)

    def _neighbours(self, index: int) -> tuple[int, int]:
        """The parts before and after this stage on a micro-batch's way; the ends come first and last."""
        way = [ENDS, *self._route(index), ENDS]
        place = way.index(self.number, 1)
        return way[place - 1], way[place + 1]

    def _receive(self, part: int) -> Tensor:
        return self.link.receive(torch.empty(self.job.activation), part)


def _gradient(x: Tensor) -> Tensor:
    assert x.grad is not None
    return x.grad
