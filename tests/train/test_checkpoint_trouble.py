"""A disk that fills up while a model trains: training goes on, the checkpoints before it stay, and it is said once."""

import json
import shutil
import subprocess
import sys

import pytest

TEXT = "".join(f"The {a} {b} the {c}. " for a in ("cat", "dog", "owl") for b in ("sees", "hears") for c in "abcdefgh")

TRAIN = """
import json, resource, sys
from pathlib import Path
from smidgen.cli.main import main
from smidgen.lm import train as trainer
from smidgen.train.checkpoint import load_newest, published
from smidgen.train.journal import Journal

kind, place = sys.argv[1], Path(sys.argv[2])
ballast, checkpoints, seen = place / "ballast", place / "m" / ".train" / "checkpoints", {}
limits, write, make, made = resource.getrlimit(resource.RLIMIT_FSIZE), Journal.write, trainer.LazyCheckpointer, []

def kept_one(*args, **settings):
    made.append(make(*args, **settings))
    return made[0]

def whole():
    made[0].wait_durable()
    return [p.step for p in published(checkpoints)]

def fill():
    if kind == "limit":  # the system refuses files of more than 100 kB
        return resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(512)):
                pass
        except OSError as error:
            assert error.errno == 28

def watched(self, step, **values):
    write(self, step, **values)
    if step == 6:
        seen["before"] = whole()
        fill()
    if step == 10:
        seen["full"], seen["loads"] = whole(), load_newest(checkpoints).step
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        ballast.unlink(missing_ok=True)
    if step == 14:
        seen["after"] = whole()
        trainer.CHECKPOINT_SECONDS = 1e9

trainer.CHECKPOINT_SECONDS = 0.0  # a checkpoint after every update
trainer.LazyCheckpointer, Journal.write = kept_one, watched
command = ["lm", "train", sys.argv[3], "--out", str(place / "m"), "--size", "60k", "--context", "16", "--seed", "1"]
seen["code"] = main(command)
print(json.dumps(seen))
"""


@pytest.mark.parametrize("kind", ["limit", "tmpfs"])
def test_training_goes_on_on_a_full_disk(kind, tmp_path):
    place, text = tmp_path / "small", tmp_path / "animals.txt"
    place.mkdir()
    text.write_text(TEXT * 8)
    command = [sys.executable, "-c", TRAIN, kind, str(place), str(text)]
    if kind == "tmpfs":  # a real file system of 8 MB, of this process alone
        unshare = [shutil.which("unshare") or pytest.skip("there is no unshare here"), "-rm", "sh", "-c"]
        mount = f"mount -t tmpfs -o size=8m none {place}"
        if subprocess.run([*unshare, mount], capture_output=True).returncode:
            pytest.skip("no file system may be mounted here")
        command = [*unshare, f'{mount} && exec "$@"', "sh", *command]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    stored = {"before": [0, 4, 5], "full": [0, 4, 5], "loads": 5, "after": [0, 12, 13], "code": 0}  # 0: to go back to
    assert seen == stored, done.stderr
    told = [line for line in done.stderr.splitlines() if "goes on" in line]
    assert len(told) == 1 and ("No space left" if kind == "tmpfs" else "File too large") in told[0]
    if kind == "limit":
        assert "was not written; those before it stay" in told[0]
        steps = [json.loads(line)["step"] for line in (place / "m" / "log.jsonl").read_text().splitlines()]
        assert steps == list(range(1, len(steps) + 1))
