"""Running a claim over its seeds: in a process of its own, one seed after the other, each kept as soon as it is done.

A run that was stopped goes on where it stopped. Seeds measured from a clean tree are kept apart from others: only they
become evidence.
"""

import datetime
import importlib
import json
import math
import multiprocessing
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from smidgen.kit.errors import BadInput, SmidgenError
from smidgen.kit.files import digest
from smidgen.kit.machine import machine, versions
from smidgen.papers import evidence
from smidgen.papers.catalogue import Entry
from smidgen.papers.claim import Scale
from smidgen.papers.evidence import Evidence
from smidgen.papers.judge import Judgement, judge

KEPT = Path(".smidgen") / "claims"  # runs of single seeds, and results that are no evidence
OWN = ("docs/evidence/", "docs/papers.md")  # what a run of evidence itself writes in the tree
OnSeed = Callable[[int, dict[str, Any]], None]


@dataclass(frozen=True)
class Outcome:
    """What a run of a claim gave.

    Attributes:
        judgement: over the seeds that were run. runs: `{"seed", "seconds", "values", "peak_memory_bytes"}` of each.
        path: the file that was written, if any. official: whether it is evidence. why_not: in words, if not.
        stopped: the time ended before all seeds were run.
    """

    judgement: Judgement
    runs: list[dict[str, Any]]
    path: Path | None
    official: bool
    why_not: str
    stopped: bool


def run_claim(
    entry: Entry,
    *,
    scale: Scale = Scale.FULL,
    seeds: int | None = None,
    seconds: float | None = None,
    on_seed: OnSeed | None = None,
    kept: Path | None = None,
) -> Outcome:
    """Measures seeds 0 .. seeds - 1 (by default as many as the claim asks for; one at smoke scale) and judges them.

    Args:
        seconds: wall time; the seed that runs when it ends is given up.
        on_seed: called as a seed is done, or known from before, with its number and its run.
        kept: folder of finished seeds, default `.smidgen/claims` here.

    Raises:
        BadInput: fewer than 1 seed, or the claim's own (data missing). SmidgenError: the claim's code failed or its
            process died; the message names the seed.
    """
    seeds = (entry.claim.seeds if scale == Scale.FULL else 1) if seeds is None else seeds
    if seeds < 1:
        raise BadInput(f"seeds: expected at least 1, got {seeds}.")
    commit, dirt = tree_state()
    notes = _Kept(kept or KEPT, entry, scale, commit)
    runs = _measure(entry, scale, seeds, seconds, notes, on_seed)
    judged = judge(entry.claim, [evidence.numbers(run) for run in runs])
    if scale != Scale.FULL:
        return Outcome(
            judged, runs, None, False, "a smoke run shows that it runs, and is not judged", len(runs) < seeds
        )
    if not dirt and tree_state() != (commit, ""):
        commit, dirt = "", "the tree changed while it ran"
    why_not = _why_not(entry, runs, seeds, dirt)
    made = _evidence(entry, runs, judged, commit)
    path = evidence.folder() / f"{entry.number}.json" if not why_not else notes.folder / f"{entry.number}.json"
    evidence.write(made, path)
    return Outcome(judged, runs, path, not why_not, why_not, len(runs) < seeds)


def tree_state() -> tuple[str, str]:
    """(commit, ""), or ("", why what runs here cannot become evidence)."""
    if not evidence.in_source_tree():
        return "", "this is not the project's source tree"
    commit = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=all")
    if commit is None or changed is None:
        return "", "the source tree is not under git"
    paths = [line[3:].split(" -> ")[-1].strip('"') for line in changed.splitlines()]
    others = [p for p in paths if not p.startswith(OWN)]
    if others:
        return "", f"the tree has changes that are not committed ({others[0]})"
    return commit.strip(), ""


def _git(*args: str) -> str | None:
    try:
        done = subprocess.run(["git", *args], cwd=evidence.TREE, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout


def _why_not(entry: Entry, runs: list[dict[str, Any]], seeds: int, dirt: str) -> str:
    if dirt:
        return dirt
    if len(runs) < seeds:
        return "the time ended before all seeds were measured"
    if seeds != entry.claim.seeds:
        return f"the claim is judged over {entry.claim.seeds} seeds, not {seeds}"
    return ""


def _evidence(entry: Entry, runs: list[dict[str, Any]], judged: Judgement, commit: str) -> Evidence:
    parts = [
        {**asdict(result), "says": part.says, "unit": part.unit, "group": part.group, "gain": list(part.gain)}
        | {"margin": part.margin, "null": part.null, "interval": list(result.interval) if result.interval else None}
        for part, result in zip(entry.claim.parts, judged.parts, strict=True)
    ]
    return Evidence(
        number=entry.number,
        scale="full",
        verdict=judged.verdict,
        seeds=len(runs),
        parts=parts,
        runs=[{k: run[k] for k in ("seed", "seconds", "values")} for run in runs],
        seconds=round(math.fsum(run["seconds"] for run in runs), 1),
        peak_memory_bytes=max((run["peak_memory_bytes"] for run in runs), default=0),
        claim_sha256=evidence.sha256(entry.path),
        parts_sha256=evidence.parts_sha256(entry.claim.implements),
        commit=commit,
        machine=machine(),
        versions=versions(),
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


class _Kept:
    """Finished seeds of one claim at one scale, as JSON lines; another claim, part or commit is another file."""

    def __init__(self, folder: Path, entry: Entry, scale: Scale, commit: str) -> None:
        code = [evidence.sha256(entry.path), *evidence.parts_sha256(entry.claim.implements).values()]
        self.folder = Path(folder)
        self.path = self.folder / f"{entry.number}-{scale}-{commit[:12] or 'changed'}-{digest(*code)[:12]}.jsonl"

    def read(self) -> dict[int, dict[str, Any]]:
        found = {}
        for line in self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else []:
            try:
                run = json.loads(line)
                found[int(run["seed"])] = {k: run[k] for k in ("seed", "seconds", "values", "peak_memory_bytes")}
            except (ValueError, KeyError, TypeError):
                continue  # a line that a kill cut short: that seed is measured again
        return found

    def add(self, run: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(run))


def _measure(
    entry: Entry, scale: Scale, seeds: int, seconds: float | None, notes: _Kept, on_seed: OnSeed | None
) -> list[dict[str, Any]]:
    until = math.inf if seconds is None else time.monotonic() + seconds
    known = notes.read() if scale == Scale.FULL else {}
    runs: list[dict[str, Any]] = []
    worker = None
    try:
        for seed in range(seeds):
            if seed in known:
                run = known[seed]
            else:
                worker = worker or _Worker(entry, scale)
                run = worker.measure(seed, until)
                if run is None:
                    break
                notes.add(run) if scale == Scale.FULL else None
            runs.append(run)
            if on_seed:
                on_seed(seed, run)
    finally:
        if worker:
            worker.close()
    return runs


class _Worker:
    """A fresh process that measures seeds on demand; what a claim keeps in memory between seeds stays there."""

    def __init__(self, entry: Entry, scale: Scale) -> None:
        context = multiprocessing.get_context("spawn")
        self.number = entry.number
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(entry.module, str(scale), theirs), daemon=True)
        self.process.start()
        theirs.close()

    def measure(self, seed: int, until: float) -> dict[str, Any] | None:
        """The run of a seed; None when the time is up before it ends."""
        try:
            self.pipe.send(seed)
            left = None if until == math.inf else max(0.0, until - time.monotonic())
            if not self.pipe.poll(left):
                return None
            kind, value = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            raise SmidgenError(
                f"Claim {self.number}, seed {seed}: its process ended with status {self.process.exitcode}"
                " (killed, or out of memory). The seeds before it are kept."
            ) from None
        if kind == "bad":
            raise BadInput(f"Claim {self.number}: {value}")
        if kind == "failed":
            raise SmidgenError(f"Claim {self.number}, seed {seed}, failed:\n{value}")
        return value

    def close(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _serve(module: str, scale: str, pipe: Connection) -> None:
    import contextlib
    import resource
    import sys
    import traceback

    with contextlib.suppress(EOFError, KeyboardInterrupt, BrokenPipeError):
        while True:
            seed = pipe.recv()
            start = time.monotonic()
            try:
                run = importlib.import_module(module).run
                with contextlib.redirect_stdout(sys.stderr):
                    values = run(Scale(scale), seed)
            except (BadInput, ImportError) as error:
                pipe.send(("bad", str(error)))
                continue
            except Exception:
                pipe.send(("failed", traceback.format_exc(limit=8)))
                continue
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            plain = {k: float(v) if math.isfinite(v) else None for k, v in values.items()}
            done = {"seed": seed, "seconds": round(time.monotonic() - start, 2), "values": plain}
            pipe.send(("done", {**done, "peak_memory_bytes": peak}))
