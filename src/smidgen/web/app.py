"""The local page: which address leads where, and errors as pages. Started by `smidgen ui`."""

from pathlib import Path
from typing import Any

from smidgen.kit.errors import NotFound, SmidgenError
from smidgen.web import asked, assets
from smidgen.web.guard import Guard, Keys
from smidgen.web.place import Place
from smidgen.web.shown import render


def make_app(store: str | None, models: str | Path, keys: Keys) -> Guard:
    """The application (ASGI), guarded. Starlette is imported here: nothing else of the program needs it."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    from smidgen.web import models as model_pages
    from smidgen.web import papers, removal, studies, study

    routes = [
        Route("/", studies.studies),
        Route("/static/{name}", static),
        Route("/studies", studies.studies),
        Route("/studies/{id}", study.study),
        Route("/studies/{id}/report", study.report),
        Route("/studies/{id}/trials", studies.trials),
        Route("/studies/{id}/image/{what}/{place}", study.image),
        Route("/studies/{id}/remove", removal.confirm, methods=["GET"]),
        Route("/studies/{id}/remove", removal.remove, methods=["POST"]),
        Route("/removed/{id}/undo", removal.undo, methods=["POST"]),
        Route("/models", model_pages.models),
        Route("/models/{key}", model_pages.model, methods=["GET"]),
        Route("/models/{key}", model_pages.attempt, methods=["POST"]),
        Route("/papers", papers.papers),
        Route("/papers/{number}", papers.paper),
        Route("/openapi.json", description),
    ]
    app = Starlette(
        routes=routes, exception_handlers={SmidgenError: told, OSError: told, HTTPException: told, Exception: broken}
    )
    app.state.place = Place(store, Path(models), keys)
    return Guard(app, keys)


def told(request: Any, error: Exception) -> Any:
    """An error that is meant for a person: its sentence, as a page."""
    from starlette.exceptions import HTTPException

    text = str(error)
    status = 404 if isinstance(error, NotFound) else 400
    if isinstance(error, HTTPException):
        status = error.status_code
        text = {404: f"There is no page {request.url.path} here.", 405: "This page cannot be asked that way."}.get(
            status, error.detail
        )
    elif isinstance(error, OSError):
        text = f"{error.filename}: {error.strerror}." if error.filename else f"{error}."
    return render(request, "error.html.j2", status=status, text=text)


def broken(request: Any, error: Exception) -> Any:
    """A fault of ours: the terminal shows its trace."""
    text = "Something went wrong in smidgen itself; the terminal it was started from shows what."
    return render(request, "error.html.j2", status=500, text=text)


@asked.asks(gives="application/json")
def description(request: Any) -> Any:
    """Every address of this page, and what each may be asked with."""
    from starlette.responses import JSONResponse

    routes, keys = request.app.routes, request.app.state.place.keys
    return JSONResponse(asked.describe(routes, f"http://127.0.0.1:{keys.port}"))


@asked.asks(gives="*/*")
def static(request: Any) -> Any:
    from starlette.exceptions import HTTPException
    from starlette.responses import Response

    name = request.path_params["name"]
    if name not in assets.FILES:
        raise HTTPException(404)
    return Response(assets.text(name), media_type=assets.FILES[name][0])
