"""Sixteen processes on one store, half of them killed once and started anew: each trial has one result."""

import random
import time

from deeds import predictions, wanted
from test_worker_kills import shared, whole, words

from smidgen.studies.store import RunStore

PROCESSES, EACH = 16, 50


def test_sixteen_processes_measure_each_trial_once(place, forks, tmp_path, rounds):
    count = PROCESSES * EACH if rounds.long else PROCESSES * EACH // 4
    rng, log, began = random.Random(4), tmp_path / "log", time.monotonic()
    with RunStore(place) as store:
        study, trials = store.open_study("many", "f", {}).id, wanted(count)
        sharing = shared(store, study)
        sharing.offer(trials, None)
        start = {"store": place, "idle": 2.0}
        running = [forks.start("deeds:work", log, **start) for _ in range(PROCESSES)]
        doomed = rng.sample(range(PROCESSES), PROCESSES // 2)
        for n, i in enumerate(doomed, 1):
            while len(words(log)[0]) < n * count // 10:
                time.sleep(0.02)
            assert forks.kill(running[i]) in (-9, 0)
            running[i] = forks.start("deeds:work", log, **start)
            sharing.beat()
        assert [forks.wait(pid) for pid in running] == [0] * PROCESSES, log.read_text()[-3000:]
        found, _ = words(log)
        assert {word for word, _ in found} <= {"ran", "done", "late"}, "nobody is told of a busy store"
        done = [key for word, key in found if word == "done"]
        results = store.get([t.key for t in trials])
        assert set(results) == {t.key for t in trials}
        assert all((r.predictions == predictions(key)).all() for key, r in results.items())
        assert len(done) == len(set(done)) and len(store.trials(study)) == count
        whole(place)
        sharing.close()
    late, again = sum(word == "late" for word, _ in found), sum(word == "ran" for word, _ in found) - count
    seconds = time.monotonic() - began
    rounds.note(f"{count} of {count} once, {len(doomed)} killed, {again} run again, {late} refused, {seconds:.0f} s")
