"""One study: its sentences, leaderboard, learning curve, comparisons, doubtful rows, and what was spent."""

from typing import Any

from smidgen.kit.files import digest
from smidgen.studies import listing
from smidgen.web import assets, curves, differences, plans, sections, small, unlabelled, words
from smidgen.web import contents as stored
from smidgen.web import report as reports
from smidgen.web.asked import TEXT, WHOLE, asks, given
from smidgen.web.place import place_of_model
from smidgen.web.shown import render

_BOARD = 40  # methods shown
_AUTO = 2_000_000  # bytes of a table that is read without being asked for


@asks(contents=TEXT, a=WHOLE, b=WHOLE)
def study(request: Any) -> Any:
    place = request.app.state.place
    with place.store() as store:
        found = store.study(request.path_params["id"])
        states = listing.count_states(store, found)
    s = found.summary if isinstance(found.summary, dict) else {}
    rows, folder = sections.doubt_rows(s)[0], place_of_model(found)
    asked = "contents" in given(request)
    read, why = None, ""
    if any(rows.values()):
        if not place.knows(request):
            why = "What these rows hold is shown only in the browser that opened the address `smidgen ui` printed."
        elif asked or stored.is_small(found, _AUTO):
            read, why = stored.look(found, rows)
    return render(
        request,
        "study.html.j2",
        study=found,
        s=s,
        states=states,
        sentences=words.sentences(s) if s else [],
        metric=words.metric_name(s.get("metric")),
        board=leaderboard(s),
        curve=curve(s),
        plan=plans.section(s),
        pool=unlabelled.section(s),
        compare=comparison(s, given(request)),
        doubts=sections.doubts(s),
        judged=sections.JUDGED,
        contents=read,
        why=why,
        spent=sections.spent(s.get("spent") or {}),
        warnings=sections.warnings(s)[:12],
        options={k: v for k, v in found.options.items() if v not in (None, {}, [], "")},
        model=folder,
        model_key=digest(folder)[:16] if folder else "",
    )


def report(request: Any) -> Any:
    """The report, made anew from the summary; it brings its own style and script, so it gets its own policy."""
    from starlette.exceptions import HTTPException
    from starlette.responses import HTMLResponse

    with request.app.state.place.store() as store:
        found = store.study(request.path_params["id"])
    if not found.summary:
        raise HTTPException(404, "This study has no result yet.")
    policy = f"default-src 'none'; style-src {assets.hashed('style.css')}; script-src {assets.hashed('page.js')}"
    policy += "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts"
    return HTMLResponse(reports.report(found.summary), headers={"content-security-policy": policy})


@asks(gives="image/png")
def image(request: Any) -> Any:
    """The image of one doubtful row, made small; only for who has the token."""
    from starlette.exceptions import HTTPException
    from starlette.responses import Response

    place, named = request.app.state.place, request.path_params
    if not place.knows(request):
        raise HTTPException(403, "Images are shown only in the browser that opened the address `smidgen ui` printed.")
    with place.store() as store:
        found = store.study(named["id"])
    read, why = stored.look_again(found, sections.doubt_rows(found.summary or {})[0])
    place_of = {str(at[1]): at for at in read or {} if at[0] == named["what"]}  # as it stands in the address
    at = place_of.get(named["place"])
    path = read[at].image if read and at else None
    if path is None:
        raise HTTPException(404, why or "There is no image of this row.")
    return Response(stored.thumbnail(path), media_type="image/png")


def leaderboard(s: dict[str, Any]) -> dict[str, Any] | None:
    """Rows with their pictures on one axis, best first; how many more there are; those that were not measured."""
    listed = [row for row in s.get("leaderboard") or [] if isinstance(row, dict)]
    measured = [row for row in listed if words.finite(row.get("estimate"))]
    skipped = [row for row in listed if not words.finite(row.get("estimate"))][:_BOARD]
    made = sections.leaderboard(measured[:_BOARD], (s.get("baseline") or {}).get("estimate"), s.get("metric"))
    if made is None and not skipped:
        return None
    return (made or {"rows": []}) | {"hidden": max(0, len(measured) - _BOARD), "skipped": skipped}


def curve(s: dict[str, Any]) -> str | None:
    baseline = (s.get("baseline") or {}).get("estimate")
    return curves.learning_curve(s.get("curve") or [], words.metric_name(s.get("metric")), baseline)


def comparison(s: dict[str, Any], asked: Any) -> dict[str, Any] | None:
    """What can be compared, and the pair that is asked for (at first the best two)."""
    found = s.get("comparisons") if isinstance(s.get("comparisons"), dict) else {}
    names = words.told_apart([one for one in (found or {}).get("names") or [] if isinstance(one, dict)])
    if not found or len(names) < 2:
        return None
    metric = words.metric_name(found.get("metric"))

    def place(key: str, other: int) -> int:
        text = asked.get(key, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 5 and int(text) < len(names) else other

    a, b = place("a", 0), place("b", 1)
    out = {"names": names, "a": a, "b": b, "picture": None, "sentence": "Choose two different methods."}
    known = differences.gap(found.get("gaps"), a, b)
    if a == b or known is None:
        return out
    mean, low, high = known
    level, shown = words.percent(found.get("level") or 0.9), words.alike(mean, low, high)
    said = {
        "better": f"{names[a]} is better than {names[b]}, beyond chance.",
        "worse": f"{names[b]} is better than {names[a]}, beyond chance.",
    }.get(differences.verdict(low, high), f"These rows cannot tell {names[a]} and {names[b]} apart.")
    said += (
        f" The {metric} of the first less that of the second is {shown[0]} ({level} interval {shown[1]} to {shown[2]})."
    )
    return out | {"sentence": said, "picture": small.gap(mean, low, high, (names[a], names[b]))}
