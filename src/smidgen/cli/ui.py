"""`smidgen ui`: the local page, on 127.0.0.1 only, until Ctrl-C."""

import contextlib
import html
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from smidgen.cli.output import say
from smidgen.kit.errors import BadInput, bad
from smidgen.kit.extras import need

HOST = "127.0.0.1"  # never another: what it shows is one person's
_TRIES = 50


def serve(port: int, store: str | None, models: str | None, open_browser: bool) -> int:
    """Serves until it is stopped; gives the exit status.

    Args:
        port: 0 takes any free one.
        models: folder of model folders; None: the current one.
    Raises:
        BadInput: the port is in use or not allowed, the folder is not there. MissingExtra: smidgen[serve] is missing.
    """
    need("starlette", extra="serve", why="The local page")
    uvicorn = need("uvicorn", extra="serve", why="The local page")
    from smidgen.web.app import make_app
    from smidgen.web.guard import Keys

    folder = Path(models or ".")
    if not folder.is_dir():
        raise BadInput(f"--models {models}: there is no such folder.")
    with contextlib.closing(_listen(port)) as listening, contextlib.ExitStack() as ends:
        keys = Keys(listening.getsockname()[1])
        config = uvicorn.Config(
            make_app(store, folder.absolute(), keys),
            http="h11",
            ws="none",
            lifespan="off",
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        say(f"The page is at {keys.address}")
        say("Other machines do not reach it; other accounts of this one do, but without the key in that address they")
        say("neither see what your rows hold nor change anything: do not pass it on. Ctrl-C ends the page.")
        if open_browser and _has_screen():
            page = ends.enter_context(start_page(keys.address))
            threading.Thread(target=_open, args=(page,), daemon=True).start()
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])
    return 0


def _listen(port: int) -> socket.socket:
    """A socket that takes requests from now on, before the browser is opened."""
    if not 0 <= port <= 65535:
        raise bad("--port", "0 to 65535", port)
    try:
        return _bound(port)
    except PermissionError:
        raise BadInput(f"Port {port} is not for you: name one above 1023, such as --port 8765.") from None
    except OSError:
        pass
    for other in range(port + 1, min(port + _TRIES, 65536)):
        with contextlib.suppress(OSError):
            _bound(other).close()
            raise BadInput(f"Port {port} is in use, perhaps by another smidgen ui: try --port {other}.")
    raise BadInput(f"Port {port} and those after it are in use: name another with --port, or 0 for any.")


def _bound(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share a port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((HOST, port))
        made.listen(64)
    except BaseException:
        made.close()
        raise
    return made


def _has_screen() -> bool:
    """A text browser would take the terminal over."""
    return sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


@contextlib.contextmanager
def start_page(address: str) -> Iterator[Path]:
    """A file that leads to the address and that only this account can read; it is gone when the page ends.

    A browser gets what it opens on its command line, which every account of the machine can read.
    """
    ends = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = [(end, signal.signal(end, signal.default_int_handler)) for end in ends]  # as Ctrl-C: the file goes
    fd, name = tempfile.mkstemp(prefix="smidgen-", suffix=".html")  # with mode 0600
    try:
        to = html.escape(address)
        with os.fdopen(fd, "w", encoding="utf-8") as out:
            out.write(f'<!doctype html><title>smidgen</title><meta http-equiv="refresh" content="0; url={to}">')
            out.write(f'<p><a href="{to}">The page of smidgen</a></p>')
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
        for end, handler in before:
            signal.signal(end, handler)


def _open(page: Path) -> None:
    import webbrowser

    with contextlib.suppress(Exception):
        webbrowser.open(page.as_uri())
