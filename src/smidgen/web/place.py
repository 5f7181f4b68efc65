"""Where the local page looks (run store, model folders), what it has removed, and who is asking."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smidgen.kit.errors import NotFound
from smidgen.studies import DEFAULT_STORE
from smidgen.studies.removal import Removed
from smidgen.web.guard import Keys, equal


@dataclass
class Place:
    """One running page.

    Attributes:
        url: of the run store, as the person gave it. models: the folder whose model folders are shown.
        removed: studies that were removed by this page, by id, the latest last.
    """

    url: str | None
    models: Path
    keys: Keys
    removed: dict[str, Removed] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def store_name(self) -> str:
        return str(self._file() or "the run store")

    def has_store(self) -> bool:
        """Whether there is one: opening would make it, and looking must not."""
        file = self._file()
        return file is None or file.exists()

    @contextlib.contextmanager
    def store(self) -> Iterator[Any]:
        """The run store, opened for one request: what was moved, repaired or made since the last one counts.

        Raises:
            NotFound: there is none. BadInput: it cannot be read.
        """
        from smidgen.studies.store import RunStore

        if not self.has_store():
            raise NotFound(f"There are no studies here: no {self.store_name}. `smidgen fit` makes one.")
        with RunStore(self.url or DEFAULT_STORE) as opened:
            yield opened

    def knows(self, request: Any) -> bool:
        """Whether the browser has opened the address that the terminal printed."""
        return equal(request.cookies.get(self.keys.cookie_name, ""), self.keys.cookie)

    def _file(self) -> Path | None:
        """The store's file; None where it is no file or its name makes no sense (opening will say so)."""
        url = str(self.url or DEFAULT_STORE)
        if "://" not in url:
            return Path(url)
        import sqlalchemy as sa

        with contextlib.suppress(Exception):
            made = sa.engine.make_url(url)
            if made.get_backend_name() == "sqlite" and made.database:
                return Path(made.database)
        return None


def place_of_model(study: Any) -> str:
    """The folder that a study saved its model in; empty for none."""
    s = study.summary if isinstance(study.summary, dict) else {}
    return str(study.asked.get("out") or s["model"]) if s.get("model") else ""  # the summary's is as it was typed
