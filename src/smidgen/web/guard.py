"""Who may ask: only this machine's browser, by the page's own name, and with the token of this start for what counts.

A web page elsewhere can make a browser send requests here. So the host must be ours (else a foreign name that points
to this machine could read the answers), whatever changes something must come from a page of ours, and what a person's
rows hold is shown only to who has opened the address that the terminal printed.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode

MAX_BODY = 1 << 20  # bytes of a form
_MAX_FIELDS = 2000
_NAMES = ("127.0.0.1", "localhost", "[::1]")
_POLICY = "; ".join(
    f"{kind} 'self'" if kind in ("style-src", "script-src", "img-src", "form-action") else f"{kind} 'none'"
    for kind in ("default-src", "style-src", "script-src", "img-src", "form-action", "base-uri", "frame-ancestors")
)
HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True)
class Keys:
    """The secrets of one start. The token stands in the address; the cookie and the forms hold what is made of it."""

    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @property
    def cookie_name(self) -> str:
        return f"smidgen-{self.port}"  # cookies know no ports: two pages on one machine must not share a name

    @property
    def cookie(self) -> str:
        return self._made("cookie")

    @property
    def form(self) -> str:
        return self._made("form")

    @property
    def hosts(self) -> set[str]:
        return {f"{name}:{self.port}" for name in _NAMES} | (set(_NAMES) if self.port == 80 else set())

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/?token={self.token}"

    def _made(self, what: str) -> str:
        return hmac.new(self.token.encode(), what.encode(), hashlib.sha256).hexdigest()


def equal(a: str, b: str) -> bool:
    return hmac.compare_digest(a.encode("utf-8", "replace"), b.encode("utf-8", "replace"))


async def form_of(request: Any) -> dict[str, str]:
    """The fields of a posted form. Raises HTTPException 403 without cookie or token: nothing is done then."""
    from starlette.exceptions import HTTPException

    place = request.app.state.place
    body = (await request.body()).decode("utf-8", "replace")
    try:
        found = parse_qs(body, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise HTTPException(400, "The form has too many fields.") from None
    fields = {name: values[-1] for name, values in found.items()}
    if not place.knows(request) or not equal(fields.pop("form", ""), place.keys.form):
        raise HTTPException(
            403, "Nothing was done: only the browser that opened the address `smidgen ui` printed may change things."
        )
    return fields


class Guard:
    """Around the whole application (ASGI): refuses what may not come in, and puts the headers on all that goes out."""

    def __init__(self, app: Any, keys: Keys) -> None:
        self.app, self.keys = app, keys

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        if scope["type"] != "http":
            return  # no websockets here; the server is started without lifespan events
        headers = _headers(scope)
        refusal = self._refusal(scope["method"], headers)
        if not scope.get("query_string", b"").isascii():  # not every server refuses it
            refusal = refusal or (400, "Bytes that are not ASCII are written with % in an address.")
        if refusal:
            await _answer(send, *refusal)
        elif (token := _token(scope)) is not None:
            await self._exchange(scope, headers["host"][0], token, send)
        else:
            await self.app(scope, _bounded(receive), _dressed(send))

    def _refusal(self, method: str, headers: dict[str, list[str]]) -> tuple[int, str] | None:
        """Status and sentence for what is not let in."""
        hosts = headers.get("host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self.keys.hosts:
            return 403, f"This page answers only as http://127.0.0.1:{self.keys.port} or localhost."
        sites, modes = headers.get("sec-fetch-site", []), headers.get("sec-fetch-mode", [])
        if method in ("GET", "HEAD"):
            if any(site not in ("same-origin", "none") for site in sites) and modes != ["navigate"]:
                return 403, "Another site asked for a part of this page; only a person may open it."
            return None
        if method != "POST":
            return 405, "Only GET, HEAD and POST are answered here."
        if headers.get("origin") != [f"http://{hosts[0].lower()}"] or any(site != "same-origin" for site in sites):
            return 403, "This was not sent by a page of smidgen, so nothing was done."
        if not headers.get("content-type", [""])[0].startswith("application/x-www-form-urlencoded"):
            return 415, "Only forms are taken here."
        length = headers.get("content-length", [""])[0]
        if not (length.isascii() and length.isdigit() and len(length) < 20) or int(length) > MAX_BODY:
            return 413, f"A form may have up to {MAX_BODY:,} bytes here, and says how many."
        return None

    async def _exchange(self, scope: dict[str, Any], host: str, token: str, send: Callable) -> None:
        """The token of the address becomes a cookie, and leaves the address."""
        if not equal(token, self.keys.token):
            why = "This address is of an earlier start: open the one that `smidgen ui` printed last."
            await _answer(send, 403, why)
            return
        rest = urlencode([(k, v) for k, v in _query(scope) if k != "token"])
        path = scope.get("raw_path", b"/").decode("latin-1") or "/"
        cookie = f"{self.keys.cookie_name}={self.keys.cookie}; Path=/; HttpOnly; SameSite=Strict"
        location = f"http://{host}{path}" + (f"?{rest}" if rest else "")
        await _answer(send, 303, "", [(b"location", location.encode("latin-1")), (b"set-cookie", cookie.encode())])


def _headers(scope: dict[str, Any]) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        out.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return out


def _query(scope: dict[str, Any]) -> list[tuple[str, str]]:
    return parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)


def _token(scope: dict[str, Any]) -> str | None:
    return next((v for k, v in _query(scope) if k == "token"), None) if scope["method"] == "GET" else None


def _bounded(receive: Callable) -> Callable:
    """No more of a body than is allowed, whatever its length said."""
    seen = 0

    async def bounded() -> dict[str, Any]:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        return message if seen <= MAX_BODY else {"type": "http.disconnect"}

    return bounded


def _dressed(send: Callable) -> Callable:
    async def dressed(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            have = {name.lower() for name, _ in message["headers"]}
            more = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in have]
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return dressed


async def _answer(send: Callable, status: int, text: str, more: Any = ()) -> None:
    """A plain sentence, for what never reaches the application."""
    body = (text + "\n").encode() if text else b""
    length = (b"content-length", str(len(body)).encode())
    headers = [(b"content-type", b"text/plain; charset=utf-8"), length, *more]
    dressed = _dressed(send)
    await dressed({"type": "http.response.start", "status": status, "headers": headers})
    await dressed({"type": "http.response.body", "body": body})
