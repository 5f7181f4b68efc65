"""What a study's doubtful rows hold, read from the person's own file: the store and the report never have it.

The file must be the one that the study saw: its task is read again and must have the same fingerprint.
"""

import contextlib
import io
import stat
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smidgen.kit.errors import SmidgenError
from smidgen.studies.stored import Study
from smidgen.web.words import clean

_COLUMNS, _LETTERS = 12, 600  # shown of a row, and of a cell
_SIDE = 320  # pixels of an image
_KEPT = 8

At = tuple[str, int]  # "wrong" or "labels", and the place in that list
Doubts = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Row:
    """Cells as (column, text), and an image if it has one."""

    cells: list[tuple[str, str]]
    image: Path | None


Found = tuple[dict[At, Row] | None, str]


class _Known:
    """What was found in one study's source, and the stamp it had then. `lock`: whoever reads; others wait."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.found: tuple[tuple, Found] | None = None


_known: OrderedDict[tuple, _Known] = OrderedDict()
_lock = threading.Lock()  # of the dictionary: never held while a file is read


def is_small(study: Study, most: int) -> bool:
    """Whether reading the source again takes no time to speak of. Folders of images are decoded whole: never."""
    try:
        source = Path(str(study.options.get("source")))
        return not source.is_dir() and (not source.is_file() or source.stat().st_size <= most)
    except (OSError, ValueError):
        return True  # and why it cannot be read is said at once


def look(study: Study, doubts: Doubts) -> Found:
    """Rows by their place in the lists of doubts; or None, and why they cannot be shown."""
    source = study.options.get("source")
    if not isinstance(source, str) or not Path(source).is_absolute():
        return None, "The study was made from data in memory, which is kept nowhere."
    try:
        path = Path(source)
        if not path.exists():
            return None, f"{source} is not there any more."
        stamp = _stamp(path)
    except (OSError, ValueError):
        return None, f"{clean(source, 300)} cannot be read."
    known = _of(study)
    if (found := known.found) and found[0] == stamp:
        return found[1]
    with known.lock:  # one reads, others of the same study wait for what it finds
        if (found := known.found) is None or found[0] != stamp:
            known.found = found = stamp, _read(study, path, doubts)
        return found[1]


def look_again(study: Study, doubts: Doubts) -> Found:
    """What the last look at this study found, without asking whether the source changed; else a look."""
    found = _of(study).found
    return found[1] if found else look(study, doubts)


def _of(study: Study) -> _Known:
    key = study.id, study.updated, str(study.options.get("source"))
    with _lock:
        known = _known.setdefault(key, _Known())
        _known.move_to_end(key)
        while len(_known) > _KEPT:
            _known.popitem(last=False)
        return known


def thumbnail(path: Path) -> bytes:
    """The image as a small PNG, upright: what is sent is what was decoded, never the file itself."""
    from PIL import Image

    from smidgen.data.views.image import decode

    small = Image.fromarray(decode(path, _SIDE))
    small.thumbnail((_SIDE, _SIDE))
    out = io.BytesIO()
    small.save(out, "PNG")
    return out.getvalue()


def _stamp(path: Path) -> tuple[int, int, int]:
    """Files, their bytes in all, and the latest change. What cannot be asked (a dangling link) does not count."""
    count = size = latest = 0
    for file in path.rglob("*") if path.is_dir() else [path]:
        with contextlib.suppress(OSError):
            found = file.stat()
            if stat.S_ISREG(found.st_mode):
                count, size, latest = count + 1, size + found.st_size, max(latest, found.st_mtime_ns)
    return count, size, latest


def _read(study: Study, path: Path, doubts: Doubts) -> Found:
    from smidgen.tasks.read import read, read_frame

    o = study.options
    try:
        task = read(path, o.get("target"), group=o.get("group"), kind=o.get("named_kind"), metric=o.get("named_metric"))
        if task.fingerprint != study.fingerprint:
            return None, f"{path} has changed since the study: its rows are not those that were judged."
        frame = None if path.is_dir() else read_frame(path)
    except SmidgenError as error:
        return None, f"{path} cannot be read as it was: {error}"
    except (OSError, ValueError, TypeError) as error:
        return None, f"{path} cannot be read ({type(error).__name__})."
    kinds = {c.name: c.kind for c in task.columns}
    out = {}
    for what, rows in doubts.items():
        for place, row in enumerate(rows):
            made = _of_folder(path, row) if frame is None else _of_table(frame, kinds, task, row)
            if made is not None:
                out[what, place] = made
    return out, ""


def _of_folder(folder: Path, row: dict[str, Any]) -> Row | None:
    path = folder / str(row.get("name") or "")
    inside = path.resolve().is_relative_to(folder.resolve()) and path.is_file()
    return Row([], path) if inside else None


def _of_table(frame: Any, kinds: dict[str, str], task: Any, row: dict[str, Any]) -> Row | None:
    from smidgen.tasks.images import image_path

    number = row.get("row")
    if type(number) is not int or not 1 <= number <= len(frame):
        return None
    values = frame.iloc[number - 1]
    shown = [c for c in frame.columns if c in kinds and kinds[c] not in ("constant", "empty")]
    image, cells = None, []
    for name in shown:
        value = values[name]
        if value is None or value != value:
            continue
        if kinds[name] == "image":
            found = image_path(str(value), task.folder)
            image = image or (Path(found) if found else None)
        cells.append((str(name), clean(value, _LETTERS)))
    cells.sort(key=lambda cell: kinds[cell[0]] not in ("text", "image"))  # what people read comes first
    more = len(cells) - _COLUMNS
    return Row(cells[:_COLUMNS] + ([("", f"and {more} more columns")] if more > 0 else []), image)
