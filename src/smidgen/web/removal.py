"""Removing a study: a page that asks, a form that does it, and undoing it for as long as the page runs."""

from typing import Any

from smidgen.kit.errors import NotFound
from smidgen.studies import removal as removals
from smidgen.web.guard import form_of
from smidgen.web.shown import render

_KEPT = 5  # removed studies that can be brought back; they lie in memory


def confirm(request: Any) -> Any:
    with request.app.state.place.store() as store:
        study = store.study(request.path_params["id"])
        undoable = removals.can_undo(store, study.id)
    return render(request, "remove.html.j2", sends=True, study=study, undoable=undoable)


async def remove(request: Any) -> Any:
    return await _changed(request, _remove)


async def undo(request: Any) -> Any:
    return await _changed(request, _undo)


async def _changed(request: Any, change: Any) -> Any:
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import RedirectResponse

    await form_of(request)
    to = await run_in_threadpool(change, request.app.state.place, request.path_params["id"])
    return RedirectResponse(to, 303)


def _remove(place: Any, id: str) -> str:
    with place.lock, place.store() as store:
        study = store.study(id)
        if study.id != id:
            raise NotFound(f"There is no study '{id}': only a whole name removes.")
        place.removed[id] = removals.remove(store, id)
        while len(place.removed) > _KEPT:
            place.removed.pop(next(iter(place.removed)))
    return "/"


def _undo(place: Any, id: str) -> str:
    with place.lock, place.store() as store:
        if id not in place.removed:
            raise NotFound(f"There is no study '{id}' among those that this page removed.")
        removals.undo(store, place.removed[id])
        del place.removed[id]
    return f"/studies/{id}"
