"""The studies of the run store, and the trials of one: long lists, a page at a time."""

from typing import Any

from smidgen.studies import listing
from smidgen.studies.stored import Study
from smidgen.web import curves, words
from smidgen.web.asked import TEXT, WHOLE, asks, given, one_of
from smidgen.web.shown import render
from smidgen.web.words import clean

_UP_FIRST = ("name", "method", "view", "draw", "state", "begun")  # what is listed from a to z when first asked for


def _listed(*sorts: str) -> dict[str, Any]:
    return {"q": TEXT, "sort": one_of(*sorts), "way": one_of("up", "down"), "page": WHOLE}


@asks(**_listed(*listing.STUDY_SORTS))
def studies(request: Any) -> Any:
    place = request.app.state.place
    removed = list(place.removed.values())[::-1]
    if not place.has_store():
        return render(request, "studies.html.j2", sends=True, rows=None, store=place.store_name, removed=removed)
    asked = ordering(request, listing.STUDY_SORTS, "updated")
    with place.store() as store:
        listed = listing.list_studies(store, **asked)
        name = store.name
    rows = [_row(study, count) for study, count in listed.rows]
    return render(
        request, "studies.html.j2", sends=True, rows=rows, listed=listed, asked=asked, store=name, removed=removed
    )


@asks(**_listed(*listing.TRIAL_SORTS), state=one_of(*listing.TRIAL_STATES))
def trials(request: Any) -> Any:
    asked: dict[str, Any] = ordering(request, listing.TRIAL_SORTS, "begun") | {"state": given(request).get("state", "")}
    with request.app.state.place.store() as store:
        study = store.study(request.path_params["id"])
        listed = listing.list_trials(store, study, **asked)
        states = listing.count_states(store, study)
    rows = [
        {
            "row": row,
            "draw": draw(row.trial.get("draw")),
            "params": clean(", ".join(words.settings(row.trial.get("params"))), 160),
        }
        for row in listed.rows
    ]
    return render(request, "trials.html.j2", study=study, listed=listed, asked=asked, states=states, rows=rows)


def ordering(request: Any, sorts: tuple[str, ...], first: str) -> dict[str, Any]:
    """What is searched for, the order and the page, from the address."""
    fields = given(request)
    sort, way, page = fields.get("sort") or first, fields.get("way"), fields.get("page", "")
    down = way == "down" if way in ("up", "down") else sort not in _UP_FIRST
    return {
        "search": fields.get("q", "")[:200],
        "sort": sort if sort in sorts else first,
        "down": down,
        "page": int(page) if page.isascii() and page.isdigit() and len(page) < 9 else 1,
    }


def _row(study: Study, count: int) -> dict[str, Any]:
    s = study.summary if isinstance(study.summary, dict) else {}
    metric = words.metric_name(s.get("metric"))
    return {
        "study": study,
        "trials": count,
        "target": s.get("target") or study.options.get("target"),
        "n": s.get("n"),
        "metric": metric if words.finite(s.get("estimate")) else "",
        "estimate": s.get("estimate"),
        "interval": words.pair(s.get("interval")),
        "curve": _spark(s.get("curve"), metric),
    }


def _spark(curve: Any, metric: str) -> str:
    points = [p for p in curve or () if isinstance(p, dict) and words.finite(p.get("n"))]
    points.sort(key=lambda p: p["n"])
    ends = [f"{words.number(p.get('estimate'))} with {words.whole(p['n'])} rows" for p in (points[:1] + points[-1:])]
    return curves.sparkline([p.get("estimate") for p in points], f"{metric} {', '.join(ends)}") or ""


def draw(text: Any) -> str:
    """`cv:k=5:r=0` as "5 folds, repeat 1"."""
    kind, *pairs = str(text).split(":")
    try:
        values = {k: int(v) for k, v in (pair.split("=") for pair in pairs)}
        if kind == "cv":
            return f"{values['k']} folds, repeat {values['r'] + 1}"
        if kind == "sub":
            return f"{values['n']} rows, draw {values['r'] + 1}"
    except (ValueError, KeyError):
        pass
    return clean(text, 60)
