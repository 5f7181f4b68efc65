"""A person's day, at random and for long: verbs on one home folder, commands that are killed, a page that stays open.

`python tests/faults/soak.py --seconds 3600 --seed 0`. What each verb prints and gives back is looked at; every so often
all studies and models are removed, and what is left is measured: the store, the folder, the memory and handles of the
page. After a warm-up none of that may grow.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))

from calls import KILL, KILL_TORN, build  # noqa: E402
from forks import Forks  # noqa: E402
from home import ROWS, TABLES, running_in, stored, write_tables  # noqa: E402
from page import Page, Refused  # noqa: E402

from smidgen.learn.model import read_parts  # noqa: E402
from smidgen.studies.store import RunStore  # noqa: E402

WARM_UP, GROWTH = 600.0, 0.05  # seconds; share that what is measured may grow afterwards
LOADED = ("deeds", "smidgen.cli.main", "smidgen.cli.fitting", "smidgen.studies.run", "torch",
          "smidgen.learn.logistic", "smidgen.learn.lda", "smidgen.learn.knn", "smidgen.cli.predicting",
          "smidgen.studies.compress_fitted", "smidgen.cli.compressing", "smidgen.cli.listing")  # fmt: skip
MODELS, SMALL = ("one", "two", "three"), ("small", "smaller")
WRONG = (
    ["fit", "ragged.csv", "--target", "kind"],
    ["fit", "numbers.csv", "--target", "kindd"],
    ["fit", "nowhere.csv", "--target", "kind"],
    ["fit", "numbers.csv", "--target", "kind", "--trials", "0"],
    ["predict", "nowhere", "numbers.csv"],
    ["predict", ".", "numbers.csv"],
    ["compress", "nowhere", "--bits", "4"],
    ["studies", "rm", "no-such-study"],
    ["studies", "resume", "no-such-study"],
)


class Soak:
    """`verbs` counts them by name and exit status, `wrong` says what went otherwise than promised."""

    def __init__(self, home: Path, forks: Forks, page: Page, seed: int) -> None:
        self.home, self.forks, self.page, self.rng = home, forks, page, random.Random(seed)
        self.verbs: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.samples: list[dict[str, float]] = []
        self.log = home.parent / "log"

    def run(self, name: str, words: list[str], allowed: tuple[int, ...] = (0,), **how) -> int:
        self.log.unlink(missing_ok=True)
        pid = self.start(words, **how)
        return self.ended(name, words, self.forks.wait(pid), allowed)

    def start(self, words: list[str], **how) -> int:
        how = {"inline": self.rng.random() < 0.8} | how
        return self.forks.start("deeds:command", self.log, words=words, folder=str(self.home), **how)

    def ended(self, name: str, words: list[str], status: int, allowed: tuple[int, ...]) -> int:
        """A failure is one sentence that begins with our name (or, stopped early, says so), never a trace."""
        said = self.log.read_text(errors="replace") if self.log.exists() else ""
        sentences = [line for line in said.splitlines() if line.startswith("smidgen: ")]
        self.verbs[f"{name} {status}"] += 1
        told = status in (0, -signal.SIGKILL, 130) or len(sentences) == 1
        if "Traceback" in said or status not in allowed or not told:
            self.wrong.append(f"{' '.join(words)}: {status}: {said[-1500:]}")
        return status

    # verbs

    def fit(self) -> list[str]:
        rng, table = self.rng, self.rng.choice(list(TABLES))
        methods = ["ridge", "knn", "constant"] if table == "mixed" else ["logistic", "knn", "lda", "constant"]
        words = ["fit", f"{table}.csv", "--target", TABLES[table], "--out", rng.choice(MODELS)]
        words += ["--methods", ",".join(rng.sample(methods, 2)), "--seed", str(rng.randrange(3))]
        words += ["--workers", rng.choice("12")]
        words += rng.choice([["--trials", rng.choice("1246")], ["--trials", "4", "--size", "30KB"], ["--time", "1s"]])
        return words + rng.choice([[], [], [], ["--dry-run"], ["--json"]])

    def compress(self) -> list[str]:
        words = ["compress", self.rng.choice(self.models() or ["one"]), "--out", self.rng.choice(SMALL)]
        words += self.rng.choice([["--bits", self.rng.choice("468")], ["--size", "20KB"]])
        return [*words, "--steps", "0", *self.rng.choice([[], ["--fresh"], ["--dry-run"]])]

    def resume(self) -> list[str]:
        ids = self.studies()
        more = self.rng.choice([[], ["--trials", "8"], ["--out", self.rng.choice(MODELS)]])
        return ["studies", "resume", self.rng.choice(ids), *more] if ids else self.fit()

    def do_fit(self) -> None:
        self.run("fit", self.fit(), (0, 3))

    def do_compress(self) -> None:
        self.run("compress", self.compress(), (0, 1, 2))  # compressed already, too small a size

    def do_resume(self) -> None:
        self.run("resume", self.resume(), (0, 2, 3))  # its folder holds another model by now

    def do_predict(self) -> None:
        """As many rows as the file has, in their order, or one sentence (the columns are of another table)."""
        models, table = self.models(), self.rng.choice(list(TABLES))
        if not models:
            return
        out = self.home / "out.csv"
        words = ["predict", self.rng.choice(models), f"{table}-new.csv", "--out", out.name]
        if self.run("predict", words, (0, 2)) == 0:
            rows = len(pd.read_csv(out))
            if rows != ROWS:
                self.wrong.append(f"{' '.join(words)}: {rows} rows of {ROWS}")
        out.unlink(missing_ok=True)

    def do_kill(self) -> None:
        """At a random moment or at a file call; what was there before is whole. The page is asked meanwhile."""
        words = self.rng.choice([self.fit, self.fit, self.compress, self.resume])()
        self.log.unlink(missing_ok=True)
        if self.rng.random() < 0.5:
            how = {"nth": self.rng.randint(1, 150), "how": self.rng.choice([KILL, KILL_TORN]), "inline": True}
            status = self.forks.wait(self.start(words, **how))
        else:
            pid = self.start(words)
            time.sleep(self.rng.uniform(0, 0.6))
            self.do_page()
            status = self.forks.kill(pid)
        self.ended(f"killed {words[0]}", words, status, (0, 1, 2, 3, -signal.SIGKILL))
        self.whole()

    def do_stop(self) -> None:
        words = self.fit()
        self.log.unlink(missing_ok=True)
        pid = self.start(words)
        time.sleep(self.rng.uniform(0.05, 0.6))
        with contextlib.suppress(ProcessLookupError):  # it had just ended
            os.kill(pid, signal.SIGINT)
        self.ended("stopped fit", words, self.forks.wait(pid), (0, 3, 130))
        self.whole()

    def do_page(self) -> None:
        """A page, a form, a removal and its undoing."""
        ids, keys = self.studies(), self.page.links("/models/")
        paths = ["/", "/studies", "/models", "/papers", "/papers/035", "/none", "/studies/none", "/models/none"]
        paths += [f"/studies/{i}{what}" for i in ids for what in ("", "/trials", "/report", "/remove")]
        path = self.rng.choice(paths + [f"/models/{key}" for key in keys])
        what = self.rng.random()
        try:
            if what < 0.15 and keys:
                self.verbs[f"page form {self.page.fill(f'/models/{self.rng.choice(keys)}', self.rng)}"] += 1
            elif what < 0.25 and ids:
                chosen = self.rng.choice(ids)
                self.verbs[f"page remove {self.page.post(f'/studies/{chosen}/remove')}"] += 1
                if self.rng.random() < 0.5:
                    self.verbs[f"page undo {self.page.post(f'/removed/{chosen}/undo')}"] += 1
            else:
                self.verbs[f"page {self.page.get(path)[0]}"] += 1
        except Refused as error:
            self.wrong.append(str(error))

    def do_delete(self) -> None:
        ids, models = self.studies(), self.models(whole=False)
        if ids and self.rng.random() < 0.6:
            self.run("rm", ["studies", "rm", self.rng.choice(ids)])
        elif models:
            shutil.rmtree(self.home / self.rng.choice(models))

    def do_wrong(self) -> None:
        self.run("wrong", self.rng.choice(WRONG), (2,))

    WEIGHTS = {
        "fit": 5,
        "predict": 6,
        "compress": 3,
        "resume": 2,
        "kill": 5,
        "stop": 1,
        "page": 8,
        "delete": 3,
        "wrong": 2,
    }

    # what there is

    def studies(self) -> list[str]:
        if not (self.home / ".smidgen" / "runs.db").exists():
            return []
        with RunStore(self.home / ".smidgen" / "runs.db") as store:
            return [study.id for study in store.studies()]

    def models(self, whole: bool = True) -> list[str]:
        return [m for m in (*MODELS, *(() if whole else SMALL)) if (self.home / m / "model.json").exists()]

    def whole(self) -> None:
        for name in self.models(whole=False):
            try:
                read_parts(self.home / name)
            except Exception as error:
                self.wrong.append(f"{name} is not whole: {error}")

    def level(self, seconds: float) -> None:
        """Everything that a person can remove is removed; what is left then is measured."""
        quick = ["--methods", "knn", "--trials", "1"]
        for name in MODELS:  # what killed ones left under these names goes with the next that ends
            self.run("fit", ["fit", "numbers.csv", "--target", "kind", *quick, "--out", name])
        for name in SMALL:
            self.run("compress", ["compress", "one", "--bits", "8", "--steps", "0", "--fresh", "--out", name])
        for id in self.studies():
            self.run("rm", ["studies", "rm", id])
        for name in self.models(whole=False):
            shutil.rmtree(self.home / name)
        for file in self.home.glob("*-report.html"):
            file.unlink()
        self.page.get("/")
        rows, used, size = stored(self.home / ".smidgen" / "runs.db")
        left = sorted(str(p.relative_to(self.home)) for p in self.home.rglob("*") if p.is_file())
        sizes = {p: (self.home / p).stat().st_size for p in left}
        stray = [p for p in left if "unfinished" in p or ".old." in p]
        if stray or any(rows[name] for name in ("studies", "trials", "study_trials")):
            self.wrong.append(f"left after all was removed: {stray}, rows {rows}")
        if running := running_in(self.home, self.page.process.pid):
            self.wrong.append(f"still running after all had ended: {running}")
        self.samples.append(
            {"seconds": round(seconds), "store used": used, "store file": size,
             "rows": sum(rows.values()), "files": len(left), "bytes": sum(sizes.values()), **self.page.weight()}
        )  # fmt: skip

    def go(self, seconds: float, every: int) -> None:
        """Verbs at random; of no seconds, each once."""
        began, measured = time.monotonic(), 0
        names, weights = zip(*self.WEIGHTS.items(), strict=True)
        for name in () if seconds else names:
            getattr(self, f"do_{name}")()
        while (now := time.monotonic()) - began < seconds:
            if self.verbs.total() - measured > every:
                self.level(now - began)
                measured = self.verbs.total()
                print(json.dumps(self.samples[-1]), measured, len(self.wrong), flush=True)
            getattr(self, f"do_{self.rng.choices(names, weights)[0]}")()
        self.level(seconds)

    def grown(self) -> list[str]:
        """What grew after the warm-up by more than it may: the last third against the first."""
        late = [s for s in self.samples if s["seconds"] >= WARM_UP]
        third, out = len(late) // 3, []
        for name in late[0] if third else {}:
            first, last = (statistics.median(s[name] for s in part) for part in (late[:third], late[-third:]))
            if name != "seconds" and last > first * (1 + GROWTH):
                out.append(f"{name}: {first:,.0f} to {last:,.0f}")
        return out


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--seconds", type=float, default=60)
    given.add_argument("--seed", type=int, default=0)
    given.add_argument("--every", type=int, default=60, help="verbs between measurements")
    asked = given.parse_args()
    with tempfile.TemporaryDirectory(prefix="smidgen-soak-") as place:
        home = Path(place) / "home"
        home.mkdir()
        write_tables(home)
        with Forks(build(Path(place)), *LOADED) as forks, Page(home) as page:
            soak = Soak(home, forks, page, asked.seed)
            soak.go(asked.seconds, asked.every)
        soak.wrong += [f"the page's terminal: {page.said}"] if page.said else []
        grown = soak.grown()
    told = {"seconds": asked.seconds, "seed": asked.seed, "verbs": sum(soak.verbs.values())}
    told |= {"first": soak.samples[0], "last": soak.samples[-1], "grown": grown, "wrong": len(soak.wrong)}
    print(json.dumps(dict(sorted(soak.verbs.items()))))
    print("\n\n".join(soak.wrong[:20]))
    print(json.dumps(told))
    return int(bool(soak.wrong or grown))


if __name__ == "__main__":
    sys.exit(main())
