"""The connection to a Ray cluster: found, or started on this machine and stopped again."""

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from smidgen.kit.errors import BadInput, MissingExtra
from smidgen.kit.extras import need
from smidgen.kit.machine import cores

CONNECT_SECONDS = 10.0
END_SECONDS = 10.0
_FOLDER = 40  # characters that the path of Ray's folder may have: a socket's whole path may have 107


class Cluster:
    """A cluster in use. One that was there, or that this process is already connected to, is left as it is.

    Args:
        address: "auto" (one that runs on this machine), "HOST:PORT" (this machine is one of its nodes),
            "ray://HOST:PORT" (from outside, through Ray Client); None: RAY_ADDRESS, else a new one on this machine.
        cpus: of a new one; None: all of this machine.
    Raises:
        MissingExtra: no ray. BadInput: no cluster answers there, or it runs other versions.

    Attributes:
        ray: the module. cpus: of the whole cluster, at least 1.
    """

    def __init__(self, address: str | None, cpus: int | None) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when it is imported and when it starts
        self.ray: Any = need("ray", extra="ray", why="Running trials on a Ray cluster")
        self._folder: str | None = None
        self._ours = not self.ray.is_initialized()
        if self._ours:
            address = address or os.environ.get("RAY_ADDRESS") or "local"
            handler = signal.getsignal(signal.SIGTERM)
            try:
                self._start(cpus) if address == "local" else self._connect(address)
            finally:  # Ray puts its own there
                if handler is not None and threading.current_thread() is threading.main_thread():
                    signal.signal(signal.SIGTERM, handler)
        self.cpus = max(1, int(self.ray.cluster_resources().get("CPU", 1)))

    def close(self) -> None:
        """Stops what was started, cuts what was connected, both only if it was done here."""
        if self._ours and self.ray.is_initialized():
            processes = self._processes()
            self.ray.shutdown()
            for process in processes:  # it kills them and leaves
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(END_SECONDS)
        self._ours = False
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _processes(self) -> "list[subprocess.Popen]":
        """Those of a cluster that was started here. Ray does not tell them otherwise."""
        node = getattr(self.ray._private.worker, "_global_node", None) if self._folder else None
        known = getattr(node, "all_processes", {}).values()
        return [info.process for infos in known for info in infos]

    def _start(self, cpus: int | None) -> None:
        # Ray listens beyond this machine, and asks for a token: one of our own, else it would put one into the home
        # folder. It stays for the life of this process, as Ray reads it once.
        if "RAY_AUTH_TOKEN_PATH" not in os.environ:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        folder = tempfile.mkdtemp(prefix="smidgen-ray-")  # its logs; Ray would leave them behind
        self._folder = folder
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join(
            p or str(Path.cwd()) for p in sys.path
        )  # its workers find what we do
        try:
            self._init(
                "local",
                num_cpus=cpus or cores(),
                include_dashboard=False,
                _temp_dir=folder if len(folder) <= _FOLDER else None,
            )
        finally:
            os.environ.pop("PYTHONPATH")
            if before is not None:
                os.environ["PYTHONPATH"] = before

    def _connect(self, address: str) -> None:
        place = re.fullmatch(r"(?:ray://)?(\[?[\w.:-]+?\]?):(\d+)", address)
        if place is None and address != "auto":
            raise BadInput(f"A Ray cluster at '{address}': expected auto, HOST:PORT or ray://HOST:PORT.")
        if place is not None:
            with _told(address), socket.create_connection((place[1].strip("[]"), int(place[2])), CONNECT_SECONDS):
                pass  # Ray itself would try for minutes
        self._init(address)

    def _init(self, address: str, **options: Any) -> None:
        with _told(address):
            self.ray.init(address, log_to_driver=False, logging_level="ERROR", **options)
        with contextlib.suppress(AttributeError):  # else pages of a lost node's own log reach the terminal
            self.ray._private.worker._worker_logs_enabled = False


@contextlib.contextmanager
def _told(address: str) -> Any:
    """Ray's errors while it connects, in a sentence."""
    here = address in ("local", "auto")
    what = "A Ray cluster on this machine" if here else f"The Ray cluster at {address}"
    try:
        yield
    except Exception as error:  # it has no common type for these
        text = " ".join(f"{error}".split())[:300].rstrip(".") or type(error).__name__
        if "ray[client]" in text:
            raise MissingExtra(f"{what} is reached through Ray Client: pip install 'ray[client]'") from error
        if "ersion mismatch" in text:
            text = re.sub(r".*?ersion mismatch:? *", "", text)
            raise BadInput(
                f"{what} runs another Ray or Python than this process ({text}): install the same for both."
            ) from error
        hint = "" if address == "local" else " Is it up (ray status), and is this where it is?"
        raise BadInput(f"{what} does not answer: {text}.{hint}") from error
