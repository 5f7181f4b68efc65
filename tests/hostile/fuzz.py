"""Coverage-guided fuzzing of every reader (`fuzz_readers.py`), with atheris, which `make fuzz` installs beside it:

    python tests/hostile/fuzz.py --seconds 60 [--readers table,model]

Each reader has so many seconds in a process of its own, two at a time, and begins with whole examples. An input that
ends in another error than a refusal, takes more than 5 s or fills the memory is kept in `build/fuzz` beside what was
said, and the run fails. What is mended then goes to `finds/`.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

OUT = Path(__file__).parents[2] / "build" / "fuzz"
MEMORY = 1536  # MB, of which all that is imported takes 0.4 GB
READERS = ("tensors", "json", "table", "picture", "model", "packed", "language", "tokenizer", "evidence", "settings",
           "row", "address", "request")  # fmt: skip


def run(name: str, seconds: int) -> dict[str, Any]:
    """How many inputs a reader saw, how many of them reached something new, and whether it had a fault."""
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="smidgen-corpus-") as corpus:
        options = [f"-max_total_time={seconds}", "-timeout=5", f"-rss_limit_mb={MEMORY}", "-print_final_stats=1",
                   "-max_len=65536", f"-artifact_prefix={OUT / name}-"]  # fmt: skip
        program = [sys.executable, str(Path(__file__).with_name("fuzz_readers.py")), name, str(OUT), corpus]
        start = time.perf_counter()
        done = subprocess.run([*program, *options], capture_output=True, text=True, errors="replace")
        kept, said = len(list(Path(corpus).iterdir())), done.stderr + done.stdout
    told = {"reader": name, "seconds": round(time.perf_counter() - start, 1), "new": kept, "fault": done.returncode}
    if done.returncode:
        (OUT / f"{name}.log").write_text(said[-20_000:])
    inputs = re.search(r"stat::number_of_executed_units:\s*(\d+)", said)
    return told | {"inputs": int(inputs[1]) if inputs else None}


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--seconds", type=int, default=60)
    given.add_argument("--readers", default=",".join(READERS), metavar="A,B")
    asked = given.parse_args()
    faults = 0
    with ThreadPoolExecutor(2) as both:
        for told in both.map(partial(run, seconds=asked.seconds), asked.readers.split(",")):
            print(json.dumps(told), flush=True)
            faults += bool(told["fault"])
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
