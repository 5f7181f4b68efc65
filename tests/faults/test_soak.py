"""Each verb of the long soak (`make soak`) once, on one home folder: what it prints and leaves is as promised."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_each_verb_leaves_a_home_as_it_should(library, rounds):
    pytest.importorskip("uvicorn")
    environment = dict(os.environ) | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, str(Path(__file__).with_name("soak.py")), "--seconds", "0"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["verbs"] >= 15 and told["last"]["files"] >= 7
    rounds.note(f"{told['verbs']} verbs")
