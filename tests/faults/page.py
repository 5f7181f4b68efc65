"""`smidgen ui` as a process, and a browser of the simplest kind that has opened its address."""

import http.client
import os
import random
import re
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlencode, urlsplit


class Refused(Exception):
    """An answer that the page may not give."""


class Page:
    """Use as a context manager. `process`; `said`: what it wrote to its terminal as errors, once it has ended."""

    def __init__(self, home: Path) -> None:
        self.home, self.said = home, ""

    def __enter__(self) -> "Page":
        command = [sys.executable, "-m", "smidgen.cli.main", "ui", "--port", "0", "--no-browser"]
        environment = dict(os.environ) | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        self.process = subprocess.Popen(
            command, cwd=self.home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout and self.process.stderr
        self.lines: list[str] = []
        threading.Thread(target=lambda: self.lines.extend(self.process.stderr), daemon=True).start()  # type: ignore
        found = re.search(r"http\S+", self.process.stdout.readline())
        assert found, self.lines
        self.port, self.cookie, self.form = urlsplit(found[0]).port, "", ""
        _, _, headers = self.get(found[0].split("/", 3)[3].join(("/", "")))
        self.cookie = headers["set-cookie"].split(";")[0]
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(2)
        self.process.wait(20)
        self.said = "".join(self.lines)

    def get(self, path: str) -> tuple[int, str, dict[str, str]]:
        return self._asked("GET", path)

    def post(self, path: str, **fields: str) -> int:
        if not self.form:  # any page with a form has it
            found = re.search(r'name="form" value="(\w+)"', self.get(path)[1])
            self.form = found[1] if found else ""
        return self._asked("POST", path, urlencode({**fields, "form": self.form}))[0]

    def links(self, begin: str) -> list[str]:
        """Keys of the models that it shows."""
        return sorted(set(re.findall(rf'href="{begin}(\w+)"', self.get(begin.rstrip("/"))[1])))

    def fill(self, path: str, rng: random.Random) -> int:
        """The form of that page: numbers where it wants some, else what comes; half of the time all of it nonsense."""
        fields = re.findall(r'name="(c\d+)" value="[^"]*"( inputmode="decimal")?', self.get(path)[1])
        sense = rng.random() < 0.5
        chosen = {n: ["1", "0.5", "-2.25"] if d and sense else ["", "red", "01.02.2024", "="] for n, d in fields}
        return self.post(path, **{name: rng.choice(values) for name, values in chosen.items()})

    def weight(self) -> dict[str, float]:
        """What the process has of the machine: bytes of memory, handles, threads."""
        place = Path("/proc") / str(self.process.pid)
        said = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
        return {
            "page memory": int(said["VmRSS"].split()[0]) * 1024,
            "page handles": len(list((place / "fd").iterdir())),
            "page threads": int(said["Threads"]),
        }

    def _asked(self, method: str, path: str, body: str | None = None) -> tuple[int, str, dict[str, str]]:
        host = f"127.0.0.1:{self.port}"
        headers = {"Cookie": self.cookie, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        headers |= {"Content-Type": "application/x-www-form-urlencoded"} if body is not None else {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status not in (200, 303, 400, 404) or "Traceback" in text:
            raise Refused(f"{method} {path}: {answer.status}: {text[:500]}")
        return answer.status, text, {k.lower(): v for k, v in answer.getheaders()}
