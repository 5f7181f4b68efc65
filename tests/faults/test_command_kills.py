"""`kill -9` of whole commands, at each of their file calls and at random moments: the same command run again ends as if
nothing had been, and leaves no half file and no lock."""

import json
import random
import shutil
import time

import pytest
from calls import KILL, KILL_TORN
from deeds import FIT, write_rows

from smidgen.learn.model import read_parts

COMPRESS = ["compress", "model", "--bits", "6", "--steps", "2", "--out", "small", "--json"]


def result(folder, log):
    """What came of a command: its model and what it says of it."""
    name = "small" if "small" in [p.name for p in folder.iterdir()] else "model"
    head, arrays = read_parts(folder / name)
    said = json.loads(log.read_text().splitlines()[-2])
    said = {k: said.get(k) for k in ("estimate", "interval", "loss_after", "bytes_before")}
    return said, {k: a.tobytes() for k, a in arrays.items()}, head["members"], head["weights"]


class Place:
    """A folder with what a command needs, the same every time."""

    def __init__(self, base, words, model=None):
        self.base, self.words, self.model, self.count = base, words, model, 0
        self.older = None  # a folder that the command made

    def new(self):
        self.count += 1
        folder = self.base / f"{self.count}"
        folder.mkdir()
        write_rows(folder / "rows.csv")
        if self.model is not None:
            shutil.copytree(self.model, folder / "model")
        return folder


@pytest.fixture(scope="module", params=["fit", "compress"])
def verb(request, fitted, big_forks, tmp_path_factory):
    """(place, what the undisturbed command gave, its seconds, its file calls)."""
    place = Place(tmp_path_factory.mktemp("verb"), FIT)
    if request.param == "compress":
        place = Place(place.base, COMPRESS, fitted)
    folder, began = place.new(), time.monotonic()
    status = big_forks.run("deeds:command", folder / "log", words=place.words, folder=str(folder))
    assert status == 0, (folder / "log").read_text()
    seconds = time.monotonic() - began
    place.older = folder / ("small" if place.model else "model")
    calls = int((folder / "log").read_text().splitlines()[-1].split()[1])
    return place, result(folder, folder / "log"), seconds, calls


def kept(folder):
    """The names in the folder, without those of the tests' own."""
    return {p.name for p in folder.iterdir() if p.name not in ("log", "first")}


def test_a_killed_command_run_again_ends_as_if_nothing_had_been(verb, big_forks, rounds):
    place, whole, seconds, calls = verb
    rng, kills, ended = random.Random(2), 0, 0
    names = None
    for i in rounds(2, 200, 0.15):
        folder = place.new()
        name = place.words[place.words.index("--out") + 1]
        if i % 2:  # an older one is there
            shutil.copytree(place.older, folder / name)
        start = {"words": place.words, "folder": str(folder)}
        for _ in range(rng.choice([1, 1, 2, 3])):
            if i % 2:  # at a file call; sometimes with half of what it writes
                at = {"nth": rng.randint(1, calls), "how": rng.choice([KILL, KILL_TORN])}
                status = big_forks.run("deeds:command", folder / "first", **at, **start)
            else:
                pid = big_forks.start("deeds:command", folder / "first", **start)
                time.sleep(rng.uniform(0.0, 1.1 * seconds))
                status = big_forks.kill(pid)
            assert status in (-9, 0), (folder / "first").read_text()
            kills += status == -9
            ended += status == 0
            if i % 2 or (folder / name).exists():
                read_parts(folder / name)  # the older or the newer, whole
        status = big_forks.run("deeds:command", folder / "log", **start)
        assert status == 0, (folder / "log").read_text()
        assert result(folder, folder / "log") == whole
        names = kept(folder) if names is None else names
        assert kept(folder) == names, "something half made was left"
    assert kills
    rounds.note(f"{kills} kills, {ended} had ended before; of {calls} file calls; {seconds:.1f} s undisturbed")
