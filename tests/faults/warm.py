"""Imported by the server of `forks`: one worker has run to its end, so all that work on a store imports is there."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from deeds import wanted, work

from smidgen.data.views.rows import Rows
from smidgen.studies.sharing import Sharing
from smidgen.studies.store import RunStore
from smidgen.tasks.read import read

with tempfile.TemporaryDirectory() as folder:
    place = str(Path(folder) / "runs.db")
    with RunStore(place) as store, Sharing(store, store.open_study("s", "f", {}).id, always=True) as sharing:
        frame = pd.DataFrame({"x": np.random.default_rng(0).normal(size=12), "target": ["a", "b"] * 6})
        sharing.load(read(frame, "target"), Rows(frame))
        sharing.offer(wanted(2), None)
        work(place)
