"""What each address may be asked with, said once beside its page: the page reads it from here, and the page's own
description (`/openapi.json`, OpenAPI 3.1) tells it to who tests or scripts the page.
"""

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

TEXT: dict[str, Any] = {"type": "string"}
WHOLE: dict[str, Any] = {"type": "integer", "minimum": 0}
_TOLD = {"description": "One sentence that says what was wrong.", "content": {"text/html": {}, "text/plain": {}}}


def one_of(*values: str) -> dict[str, Any]:
    return TEXT | {"enum": list(values)}


def asks(gives: str = "text/html", each: str = "", **fields: dict[str, Any]) -> Callable[[Any], Any]:
    """Marks a page with what stands behind the ? of its address (in its form, where it is posted to): a JSON schema
    for each field. `each`: the pattern of names of any number of other texts. `gives`: the kind of the answer.
    """

    def marked(page: Any) -> Any:
        page.asks, page.each, page.gives = fields, each, gives
        return page

    return marked


def given(request: Any) -> dict[str, str]:
    """The fields of the address that its page has said it has; what else is sent there is not seen."""
    fields = getattr(request.scope["endpoint"], "asks", {})
    return {name: request.query_params[name] for name in fields if name in request.query_params}


def describe(routes: Sequence[Any], server: str) -> dict[str, Any]:
    """The page as an OpenAPI document, from its routes alone."""
    import smidgen

    paths: dict[str, Any] = {}
    for route in routes:
        for method in sorted(route.methods - {"HEAD"}):
            paths.setdefault(route.path, {})[method.lower()] = _operation(route, method)
    about = {"title": "smidgen: the page on this machine", "version": smidgen.__version__}
    return {"openapi": "3.1.0", "info": about, "servers": [{"url": server}], "paths": paths}


def _operation(route: Any, method: str) -> dict[str, Any]:
    page = route.endpoint
    fields = getattr(page, "asks", {})
    about = inspect.cleandoc(page.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    in_path = {"in": "path", "required": True, "schema": TEXT}
    made: dict[str, Any] = {"summary": about, "parameters": []}
    made["parameters"] += [{"name": name, **in_path} for name in re.findall(r"{(\w+)}", route.path)]
    if method == "POST":  # the cookie and this field are what lets a form in
        form = {"type": "object", "required": ["form"], "properties": {"form": TEXT, **fields}}
        form |= {"patternProperties": {page.each: TEXT}} if getattr(page, "each", "") else {}
        made["requestBody"] = {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": form}}}
    else:
        made["parameters"] += [{"name": name, "in": "query", "schema": schema} for name, schema in fields.items()]
    done = {"description": "The page.", "content": {getattr(page, "gives", "text/html"): {}}}
    made["responses"] = {"200": done, "303": {"description": "Done: the page to go to."}, "4XX": _TOLD}
    return made
