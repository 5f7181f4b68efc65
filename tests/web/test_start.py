"""How the page is started: what the browser is given, what is told; and what the benchmark of the page records."""

import importlib.util
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(os.name != "posix", reason="a browser that is a shell script")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_browser_gets_the_key_in_a_file_that_only_we_can_read(tmp_path, end):
    pytest.importorskip("uvicorn")
    browser, seen, folder = tmp_path / "browser", tmp_path / "seen", tmp_path / "temporary"
    folder.mkdir()
    browser.write_text(f'#!/bin/sh\nprintf "%s" "$*" > {seen}.part && mv {seen}.part {seen}\n')
    browser.chmod(0o700)
    env = os.environ | {"BROWSER": str(browser), "DISPLAY": ":0", "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "smidgen.cli.main", "ui", "--port", "0"]
    with (tmp_path / "said").open("w") as out:
        process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=out)
    try:
        until = time.monotonic() + 20
        while not seen.exists() and time.monotonic() < until:
            time.sleep(0.02)
        given, said = seen.read_text(), (tmp_path / "said").read_text()
        address = re.search(r"http\S+", said)
        [page] = folder.iterdir()
        assert address and address[0].split("token=")[1] not in given and given == page.as_uri()
        assert stat.S_IMODE(page.stat().st_mode) == 0o600 and address[0] in page.read_text()
        assert "other accounts of this one do" in said and "do not pass it on" in said
        process.send_signal(end)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
    assert list(folder.iterdir()) == []


def test_the_benchmark_counts_the_trials_that_are_there(tmp_path, monkeypatch, capsys):
    at = ROOT / "benchmarks" / "ui.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_the_page", at)
    if not at.exists() or spec is None or spec.loader is None:
        pytest.skip("the benchmarks are not part of a built package")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    monkeypatch.setattr(benchmark, "measure", lambda store, study, folder: {})
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path / "results" / "ui.jsonl")
    for trials in ("4", "9"):  # the second finds the store of the first
        monkeypatch.setattr(sys, "argv", ["ui.py", "run", "--keep", str(tmp_path / "kept"), "--trials", trials])
        benchmark.main()
    lines = benchmark.RESULTS.read_text().splitlines()
    assert [json.loads(line)["trials"] for line in lines] == [4, 4]
