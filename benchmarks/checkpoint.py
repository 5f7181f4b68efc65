"""How long training stands still for a checkpoint of 500 MB, and whether a kill at any moment leaves one.

    python benchmarks/checkpoint.py run [--rounds 5] [--kills 24]
    python benchmarks/checkpoint.py show

`run` trains one network of 41.9 million weights with AdamW (weights and two moments: 503 MB) in this process. Rounds
are interleaved: in each, every way of saving takes one checkpoint, in turn, after warm-up steps and with steps behind
it, as training has. Between two ways everything is written out (sync), so that none pays for another. Standing still
is the time of the call that saves plus all waits it brings before the state may change. What a checkpoint in the
background adds to the steps beside it is reported too. Then a child that trains and saves at every step is killed
(SIGKILL) at random moments, resumed from what it left each time. Writes results/checkpoint.json.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch

from smidgen.kit.machine import machine, versions
from smidgen.lm.forecast import POOL
from smidgen.train.checkpoint import LazyCheckpointer, attach, load_newest

RESULTS = Path(__file__).resolve().parent / "results" / "checkpoint.json"
WIDTH, BLOCKS, ROWS = 1024, 5, 256  # 5 blocks of 1024 -> 4096 -> 1024
BESIDE, BETWEEN = 4, 1  # steps after a save before all must be written; plain steps before a save
BARS = {"torch.save": 0.1, "dcp.async_save": 0.5}  # of each of these, ours may take so much
KILL_FLOATS = 4_000_000  # weights of the child that is killed: 48 MB of state


class Training:
    """A network in training: the state to save, and steps that take seconds of both cores."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        blocks = [
            torch.nn.Sequential(torch.nn.Linear(WIDTH, 4 * WIDTH), torch.nn.GELU(), torch.nn.Linear(4 * WIDTH, WIDTH))
            for _ in range(BLOCKS)
        ]
        self.model = torch.nn.Sequential(*blocks)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5)
        self.x_BD = torch.randn(ROWS, WIDTH)
        self.step()

    def step(self) -> float:
        start = time.perf_counter()
        torch.nn.functional.mse_loss(self.model(self.x_BD), self.x_BD).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - start

    def state(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    @property
    def nbytes(self) -> int:
        return sum(3 * p.nbytes for p in self.model.parameters())


class Ours:
    """`LazyCheckpointer`, fsync and checksums included."""

    def __init__(self, training: Training, place: Path, pool: int) -> None:
        self.saver = LazyCheckpointer(place, pool_bytes=pool)
        attach(self.saver, training.optimizer)
        self.training, self.count = training, 0

    def save(self) -> None:
        self.count += 1
        self.saver.save(self.training.state(), self.count)

    def finish(self) -> float:
        self.saver.wait_durable()
        return self.saver.stats.blocked[-1]


class TorchSave:
    """`torch.save` to a file; with `sync` it is also on the disk, as ours is."""

    def __init__(self, training: Training, place: Path, sync: bool) -> None:
        self.training, self.path, self.sync, self.blocked = training, place / "state.pt", sync, 0.0
        place.mkdir()

    def save(self) -> None:
        start = time.perf_counter()
        with self.path.open("wb") as file:
            torch.save(self.training.state(), file)
            if self.sync:
                file.flush()
                os.fsync(file.fileno())
        self.blocked = time.perf_counter() - start

    def finish(self) -> float:
        return self.blocked


class AsyncSave:
    """torch.distributed.checkpoint's `async_save` as it comes: it copies the state in the call, then writes."""

    def __init__(self, training: Training, place: Path) -> None:
        self.training, self.place, self.blocked, self.future = training, place, 0.0, None

    def save(self) -> None:
        import torch.distributed.checkpoint as dcp

        shutil.rmtree(self.place, ignore_errors=True)
        state = self.training.state()
        start = time.perf_counter()
        self.future = dcp.async_save(state, checkpoint_id=str(self.place))
        self.blocked = time.perf_counter() - start

    def finish(self) -> float:
        assert self.future is not None
        self.future.result()
        return self.blocked


def measure(rounds: int, place: Path) -> dict[str, Any]:
    warnings.filterwarnings("ignore", category=UserWarning)  # async_save speaks of the missing process group
    training = Training()
    ways: dict[str, Callable[[], Any]] = {
        "smidgen": lambda: Ours(training, place / "ours", training.nbytes + (16 << 20)),
        "smidgen, half the pool": lambda: Ours(training, place / "half", training.nbytes // 2),
        f"smidgen, {POOL >> 20} MiB as lm train": lambda: Ours(training, place / "lm", POOL),
        "torch.save": lambda: TorchSave(training, place / "torch", sync=False),
        "torch.save, on the disk": lambda: TorchSave(training, place / "torch_sync", sync=True),
        "dcp.async_save": lambda: AsyncSave(training, place / "dcp"),
    }
    savers = {name: make() for name, make in ways.items()}
    found: dict[str, dict[str, list[float]]] = {n: {"still": [], "added": [], "written": []} for n in ways}
    plain: list[float] = []
    for number in range(rounds + 1):
        order = list(savers)
        random.Random(number).shuffle(order)
        for name in order:
            before = [training.step() for _ in range(1 + BETWEEN)][1:]
            start = time.perf_counter()
            savers[name].save()
            beside = [training.step() for _ in range(BESIDE)]
            still = savers[name].finish()
            written = time.perf_counter() - start
            waited = still if name.startswith("smidgen") else 0.0  # ours stands still inside a step
            os.sync()
            if number:  # the first round warms up
                plain += before
                found[name]["still"].append(still)
                found[name]["added"].append(sum(beside) - waited)  # of all steps beside it
                found[name]["written"].append(written)
                print(f"round {number}  {name:26} {still:8.4f} s", flush=True)
    usual = statistics.median(plain)
    rows = {
        name: {
            "still_seconds": statistics.median(values["still"]),
            "still_all": values["still"],
            "added_seconds": statistics.median(values["added"]) - BESIDE * usual,
        }
        for name, values in found.items()
    }
    ours = rows["smidgen"]["still_seconds"]
    shares = {name: ours / rows[name]["still_seconds"] for name in BARS}
    reached = {name: share <= BARS[name] for name, share in shares.items()}
    return {"state_bytes": training.nbytes, "step_seconds": usual, "ways": rows, "shares": shares, "reached": reached}


def child(place: Path) -> None:
    """Trains and saves at every step until it is killed; says each step that is on the disk."""
    torch.set_num_threads(1)
    weights = torch.nn.Parameter(torch.zeros(KILL_FLOATS))
    moments = [torch.zeros(KILL_FLOATS), torch.zeros(KILL_FLOATS)]
    optimizer = torch.optim.SGD([weights], lr=1.0)
    found = load_newest(place)
    step = 0
    if found is not None:
        step = found.step
        weights.data.copy_(found.state["weights"])
        for mine, its in zip(moments, found.state["moments"], strict=True):
            mine.copy_(its)
    weights.grad = -torch.ones_like(weights)
    saver = LazyCheckpointer(place, pool_bytes=32 << 20, chunk_bytes=4 << 20)
    attach(saver, optimizer)
    print("ready", flush=True)
    handles = []
    while True:
        optimizer.step()  # each weight is the number of steps; the moments follow
        step += 1
        for number, moment in enumerate(moments):
            moment.fill_(step + number)
        handles.append(saver.save({"weights": weights, "moments": moments, "position": {"step": step}}, step))
        while handles and handles[0].durable:
            print(handles.pop(0).step, flush=True)


def kill(trials: int, place: Path) -> dict[str, Any]:
    """Kills the child at random moments, always in the same folder. Any error in loading ends the measurement."""
    draw, steps, resumed = random.Random(0), [], 0
    survived = 0
    for _ in range(trials):
        process = subprocess.Popen([sys.executable, __file__, "child", str(place)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(draw.uniform(0.0, 1.0))
        process.kill()
        said = process.stdout.read().split("\n")[:-1]
        process.wait()
        found = load_newest(place)
        told = int(said[-1]) if said else (steps[-1] if steps else 0)
        got = found.step if found else 0
        state = found.state if found else None
        whole = state is None or (
            bool((state["weights"] == got).all())
            and all(bool((m == got + n).all()) for n, m in enumerate(state["moments"]))
            and state["position"]["step"] == got
        )
        newest = not (found and found.skipped) and got >= told  # what it said to be durable is there, or a newer one
        survived += whole and newest
        resumed += found is not None
        steps.append(got)
    return {"trials": trials, "survived": survived, "with_a_checkpoint": resumed, "steps": steps}


def show(result: dict[str, Any]) -> None:
    print(f"{result['state_bytes'] / 1e6:.0f} MB, step {result['step_seconds']:.2f} s")
    for name, row in result["ways"].items():
        print(f"  {name:26} still {row['still_seconds']:8.4f} s   added beside {row['added_seconds']:6.2f} s")
    for name, share in result["shares"].items():
        print(f"  {share:.3f} of {name} (at most {BARS[name]}: {'yes' if result['reached'][name] else 'no'})")
    print(f"  kills survived: {result['kills']['survived']} of {result['kills']['trials']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "show", "child"])
    parser.add_argument("place", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.what == "child":
        child(args.place)
    if args.what == "run":
        load = os.getloadavg()[0]  # how many other processes wanted the cores
        with tempfile.TemporaryDirectory(dir=args.place) as name:
            kills = kill(args.kills, Path(name) / "kills")
            result = measure(args.rounds, Path(name))
        found = versions(("numpy", "torch", "safetensors"))
        here = {**machine(), "python": found.pop("python"), "versions": found}
        result |= {"kills": kills, "load_before": load, "date": date.today().isoformat(), "machine": here}
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    show(json.loads(args.out.read_text()))


if __name__ == "__main__":
    main()
