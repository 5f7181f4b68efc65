"""Templates of the local page. All text that comes from elsewhere is cleaned and escaped as it is printed."""

import time
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from smidgen.web import words
from smidgen.web.words import clean

HERE = Path(__file__).parent
_LONGEST = 4000  # letters of one text


@cache
def _templates() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def finalize(value: Any) -> Any:
        if value is None:
            return ""
        return clean(value, _LONGEST) if type(value) is str else value  # pictures are Markup, escaped already

    made = Environment(
        loader=FileSystemLoader(HERE / "pages"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=finalize,
    )
    made.filters.update(
        number=words.number,
        whole=words.whole,
        percent=words.percent,
        duration=words.duration,
        size=words.size,
        short=words.short,
        metric=words.metric_name,
        when=when,
        part=lambda text: quote(str(text), safe=""),
        xml=Markup,
    )
    made.globals.update(plural=words.plural, query=query)
    return made


def render(request: Any, name: str, *, status: int = 200, sends: bool = False, **shown: Any) -> Any:
    """A page. `sends`: it has a form that is posted; `form`, the field that proves it is ours, is empty for who may
    not.
    """
    from starlette.responses import HTMLResponse

    place = request.app.state.place
    may = place.knows(request)
    shown = {"may": may, "form": place.keys.form if may else "", "path": request.url.path, **shown}
    html = _templates().get_template(name).render(**shown)
    # With "no-referrer" browsers also hide the origin of what is posted, and the guard asks for it.
    return HTMLResponse(html, status, headers={"referrer-policy": "same-origin"} if sends and may else None)


def when(seconds: Any) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if words.finite(seconds) else "–"


def query(**values: Any) -> str:
    """`?a=1&b=2` of those that are not empty; "?" for none."""
    return "?" + urlencode({k: v for k, v in values.items() if v not in ("", None)})
