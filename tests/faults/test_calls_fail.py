"""Each file call of an operation fails, in each of six ways, until a run is clean: the old or the new is there and
whole, nothing half made is left, and the person is told in one sentence."""

import json

import pytest

OPERATIONS = ["SaveModel", "FirstModel", "WriteReport", "FinishTrial", "NewStore", "Compress", "Language", "Export"]
OPERATIONS += ["Adapter"]
SLOW = {"NewStore": 7, "Compress": 9, "Language": 2, "Adapter": 4}  # on a push only each so many-th call


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_file_call_fails_in_turn(operation, big_forks, fitted, tmp_path, memory_disk, rounds):
    if needs := {"Export": "gguf", "Adapter": "peft"}.get(operation):
        pytest.importorskip(needs)
    log, step = tmp_path / "log", 1 if rounds.long else SLOW.get(operation, 1)
    given = {"operation": operation, "folder": str(memory_disk), "model": str(fitted), "step": step}
    assert big_forks.run("failing:fail_each", log, **given) == 0, log.read_text()
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    wrong = []
    for row in rows:
        done = row["status"] == 0 and row["state"] == "new" and not row["said"]
        sentence = [line for line in row["said"] if "smidgen explain" not in line]
        told = row["status"] in (1, 2) and len(sentence) == 1 and row["state"] in ("old", "new")
        fine = done if row["clean"] or row["fault"] == "short write" else done or told
        if not fine or (row["left"] and row["state"] != "new"):
            wrong.append(row)
        if (
            told
            and row["status"] == 2
            and not (row["fault"] == "EACCES" or "run store" in sentence[0] or "cannot be made" in sentence[0])
        ):
            wrong.append(row)  # a wrong place is the person's, a broken disk is not
    assert not wrong, f"{len(wrong)} of {len(rows)}: {wrong[:4]}"
    faults = [row for row in rows if not row["clean"]]
    told = sum(row["status"] != 0 for row in faults)
    assert len(rows) - len(faults) == 6 and told >= (len(faults) / 3 if step == 1 else 1)
    rounds.note(f"{len(faults)} faults, {told} told, 0 damaged")
