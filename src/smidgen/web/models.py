"""Saved models: those that studies made and those in a folder, a card each, and a form to try one."""

import contextlib
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from smidgen.kit.errors import BadInput, NotFound, SmidgenError
from smidgen.kit.files import digest, read_json
from smidgen.tasks.task import USED
from smidgen.web import small, words
from smidgen.web.asked import asks
from smidgen.web.guard import form_of
from smidgen.web.place import Place, place_of_model
from smidgen.web.shown import render

_HEAD = 16 << 20  # bytes of a model.json that is read for a card
_MOST = 500  # folders looked at
_FIELDS = 150  # columns that a form can ask for
_LOADED = 3

_models: OrderedDict[tuple[str, int], Any] = OrderedDict()
_lock = threading.Lock()


def models(request: Any) -> Any:
    place = request.app.state.place
    found, notes = gather(place)
    shown = [_card(key, path, studies) for key, (path, studies) in found.items()]
    return render(request, "models.html.j2", models=shown, folder=place.models.absolute(), notes=notes)


def model(request: Any) -> Any:
    return _page(request, *_asked(request), {}, None, "")


@asks(each="^c[0-9]+$")
async def attempt(request: Any) -> Any:
    """What the model says of one row that a person typed."""
    from starlette.concurrency import run_in_threadpool

    given = await form_of(request)
    return await run_in_threadpool(_attempted, request, given)


def gather(place: Place) -> tuple[dict[str, tuple[Path, list[str]]], list[str]]:
    """Model folders by key, each with the studies that name it; and what could not be asked, and why."""
    found: dict[str, tuple[Path, list[str]]] = {}

    def add(path: Path, study: str = "") -> None:
        key = digest(str(path))[:16]
        found.setdefault(key, (path, []))[1].extend([study] if study else [])

    notes = []
    if place.has_store():
        try:
            with place.store() as store:
                for study in store.studies():
                    if path := place_of_model(study):
                        add(Path(path), study.id)
        except SmidgenError as error:
            notes.append(f"The studies could not be asked for their models: {error}")
    folder = place.models.absolute()
    inside = []
    try:
        inside = sorted(folder.iterdir())[:_MOST] if folder.is_dir() else []
    except OSError as error:
        notes.append(f"{folder} cannot be looked into: {error.strerror}.")
    for path in [folder, *inside]:
        with contextlib.suppress(OSError):  # one that may not be read hides no other
            if (path / "model.json").is_file():
                add(path)
    return found, notes


def _card(key: str, path: Path, studies: list[str]) -> dict[str, Any]:
    """What model.json says, unchecked: loading the model checks it."""
    card = {"key": key, "path": path, "name": path.name, "studies": studies, "error": "", "about": {}}
    try:
        if not path.is_dir():
            return card | {"error": "Its folder is not there any more."}
        head = read_json(path / "model.json", _HEAD)
        members = [
            (words.short(m["method"]), str(m["view"]), float(w))
            for m, w in zip(head["members"], head["weights"], strict=True)
        ]
        about = head["about"] if isinstance(head["about"], dict) else {}
        return card | {
            "about": about,
            "interval": words.pair(about.get("interval")),
            "kind": str(head["kind"]),
            "classes": list(head["classes"]),
            "target": str(head["target"]),
            "columns": [{"note": "", **c, "name": c["name"], "kind": c["kind"]} for c in head["columns"]],
            "members": sorted(members, key=lambda m: -m[2]),
            "bytes": sum(p.stat().st_size for p in path.iterdir() if p.is_file()),
        }
    except BadInput as error:
        return card | {"error": str(error)}
    except OSError as error:
        return card | {"error": f"{path} cannot be read: {error.strerror}."}
    except (KeyError, TypeError, ValueError):
        return card | {"error": f"{path / 'model.json'} does not describe a model: the file is damaged or was edited."}


def _asked(request: Any) -> tuple[str, Path, list[str]]:
    """Key, folder and studies of the model that the address names. Raises NotFound."""
    place, key = request.app.state.place, request.path_params["key"]
    found, _ = gather(place)
    if key not in found:
        raise NotFound(f"There is no model of this name in {place.models.absolute()} or in the studies.")
    return key, *found[key]


def _page(
    request: Any, key: str, path: Path, studies: list[str], given: dict[str, str], answer: Any, error: str
) -> Any:
    card = _card(key, path, studies)
    used = [c for c in card.get("columns", []) if c["kind"] in USED]
    return render(
        request,
        "model.html.j2",
        sends=True,
        status=400 if error else 200,
        model=card,
        used=used,
        too_many=len(used) > _FIELDS,
        given=given,
        answer=answer,
        error=error,
    )


def _attempted(request: Any, given: dict[str, str]) -> Any:
    key, path, studies = _asked(request)
    try:
        answer, error = predict(path, given), ""
    except SmidgenError as wrong:
        answer, error = None, str(wrong)
    return _page(request, key, path, studies, given, answer, error)


def predict(path: Path, given: dict[str, str]) -> dict[str, Any]:
    """The answer to one row, its cells as typed; blank ones are missing. Raises what loading and reading raise."""
    with _lock:
        loaded = _load(path)
        used = [c for c in loaded.columns if c.used]
        cells = {c.name: given.get(f"c{i}", "").strip() for i, c in enumerate(used)}
        if not any(cells.values()):
            raise BadInput("Type at least one value.")
        row = {name: [text or None] for name, text in cells.items()}
        if loaded.kind == "regression":
            return {"value": float(loaded.predict(row)[0]), "shares": []}
        shares = loaded.predict_proba(row)[0].tolist()
    order = sorted(range(len(shares)), key=lambda k: -shares[k])
    rows = [(loaded.classes[k], words.chance(shares[k]), small.share(shares[k])) for k in order[:20]]
    return {"value": loaded.classes[order[0]], "shares": rows, "more": max(0, len(order) - 20)}


def _load(path: Path) -> Any:
    from smidgen.learn.model import Model

    try:
        key = (str(path), (path / "model.json").stat().st_mtime_ns)
    except OSError:
        raise BadInput(f"{path} is not there any more.") from None
    if key not in _models:
        _models[key] = Model.load(path)
    _models.move_to_end(key)
    while len(_models) > _LOADED:
        _models.popitem(last=False)
    return _models[key]
