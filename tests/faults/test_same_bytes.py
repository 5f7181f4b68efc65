"""The same rows, seed and count of trials: the same trials and the same model, to the byte, with one worker or two, and
after a kill and a resume."""

import hashlib
import random
import time

from deeds import FIT, write_rows

from smidgen.learn.model import read_parts
from smidgen.studies.store import RunStore


def fingerprint(folder):
    """Digests of the model's head and arrays, and of each trial that was measured."""
    head, arrays = read_parts(folder / "model")
    about = {k: v for k, v in head["about"].items() if k in ("method", "estimate", "interval")}
    model = hashlib.sha256(repr([head["members"], head["weights"], about]).encode())
    for name in sorted(arrays):
        model.update(name.encode() + arrays[name].tobytes())
    with RunStore(folder / ".smidgen" / "runs.db") as store:
        (study,) = store.studies()
        found = store.get([row.key for row in store.trials(study.id)])
    return model.hexdigest(), {key: hashlib.sha256(r.predictions.tobytes()).hexdigest() for key, r in found.items()}


def test_equal_seeds_give_equal_bytes(big_forks, tmp_path, rounds):
    def made(name, workers=1, kill=None):
        folder = tmp_path / name
        folder.mkdir()
        write_rows(folder / "rows.csv")
        words = [*FIT, "--workers", "2"] if workers == 2 else FIT
        start = {"words": words, "folder": str(folder), "inline": workers == 1}
        if kill is not None:
            pid = big_forks.start("deeds:command", folder / "first", **start)
            time.sleep(kill)
            big_forks.kill(pid)
        assert big_forks.run("deeds:command", folder / "log", **start) == 0, (folder / "log").read_text()
        return fingerprint(folder)

    began = time.monotonic()
    whole = made("whole")
    seconds, rng, same = time.monotonic() - began, random.Random(11), 0
    assert len(whole[1]) > 1
    ways = [{"kill": 1}, {"workers": 2}, {}, {"workers": 2, "kill": 1}]
    for i in rounds(2, 50, 0.1):
        way = dict(ways[i % len(ways)])
        if "kill" in way:
            way["kill"] = rng.uniform(0.1, 1.0) * seconds
        assert made(f"{i}", **way) == whole, way
        same += 1
    rounds.note(f"{same} of {same} the same")
