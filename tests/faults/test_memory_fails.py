"""Allocations of a command that are refused, each in turn: it ends with a model, where a trial lacked memory without
that trial, or with one sentence and nothing half made."""

import signal

from deeds import FIT, write_rows

from smidgen.learn.model import Model

LEAST = 16 << 10  # bytes; with so small a table that is all that holds many rows


def test_every_allocation_is_refused_in_turn(big_forks, tmp_path, rounds):
    def run(name, **refused):
        folder = tmp_path / name
        folder.mkdir()
        write_rows(folder / "rows.csv", rows=400)
        log = folder / "log"
        status = big_forks.run("deeds:short_of_memory", log, words=FIT, folder=str(folder), size=LEAST, **refused)
        said = log.read_text().splitlines()
        counts = [line.split()[1:] for line in said if line.startswith("memory ")] or [("0", "1")]
        return status, folder, "\n".join(said), int(counts[0][0]), int(counts[0][1])

    status, whole, said, count, _ = run("whole")
    assert status == 0, said
    faults = models = short = died = 0
    step = max(1, count // 200) if rounds.long else max(1, count // 12)
    for nth in range(1, count + 1, step):
        status, folder, said, _, refused = run(f"{nth}", nth=nth)
        faults += refused
        if status == -signal.SIGSEGV:
            died += 1  # in a compiled library that did not look: nothing that is written in Python can help that
            assert not (folder / "model").exists()
            continue
        assert "Traceback" not in said and status in (0, 1), f"{nth}: {status}: {said}"
        if status == 0:
            models += 1
            assert Model.load(folder / "model").members
            short += "out of memory" in said
        else:
            assert "memory" in said and not (folder / "model").exists(), said
    assert faults and models
    rounds.note(
        f"{faults} of {count} allocations refused: {models} models, {short} without a method that lacked "
        f"memory, {died} deaths in a compiled library"
    )
