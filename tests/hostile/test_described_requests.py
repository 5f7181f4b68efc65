"""The page's own description (`/openapi.json`) holds: what schemathesis makes of it, right and wrong, is answered as it
says; every other method is refused; and of all hosts, origins and methods only the page's own get in.
"""

import asyncio
import re
from itertools import product

import pytest

pytest.importorskip("starlette")

from hostile_help import files_in, some
from hypothesis import given
from hypothesis import strategies as st
from test_hostile_requests import PORT, Page

from smidgen.web.guard import Guard, Keys

OWN = f"http://127.0.0.1:{PORT}"
HOSTS = {f"127.0.0.1:{PORT}": True, f"localhost:{PORT}": True, f"[::1]:{PORT}": True, f"LOCALHOST:{PORT}": True}
HOSTS |= dict.fromkeys(["", "127.0.0.1", f"127.0.0.1:{PORT + 1}", f"evil.example:{PORT}", f"127.1:{PORT}"], False)
HOSTS |= dict.fromkeys([f"127.0.0.1:{PORT}.evil.example", f"0.0.0.0:{PORT}", f"127.0.0.1:{PORT}@evil.example"], False)
ORIGINS = (None, "null", OWN, f"http://localhost:{PORT}", f"https://127.0.0.1:{PORT}", "http://evil.example")
METHODS = ("GET", "POST", "PUT", "DELETE")


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Page:
    return Page(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def told(page) -> dict:
    return page.stranger.get("/openapi.json").json()["paths"]


@pytest.fixture(scope="module")
def names(page) -> dict[str, str]:
    """Of what is there, for the places in addresses."""
    key = re.search(r'href="/models/([0-9a-f]+)"', page.browser.get("/models").text)
    assert key
    return {"id": page.study, "key": key[1], "number": "035", "name": "page.js", "what": "wrong", "place": "0"}


def test_the_description_has_every_address_and_nothing_secret(page, told):
    made = {(r.path, method.lower()) for r in page.browser.app.app.routes for method in r.methods - {"HEAD"}}
    assert {(path, way) for path, ways in told.items() for way in ways} == made and len(made) == 16
    text = page.browser.get("/openapi.json").text
    assert not any(secret in text for secret in (page.keys.token, page.keys.cookie, page.keys.form, str(page.folder)))


@pytest.mark.parametrize("right", [True, False])
def test_described_requests_are_answered_as_described(page, names, right):
    """Fields as they are described, and others; addresses of what is there, and others."""
    schemathesis = pytest.importorskip("schemathesis")
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance

    checks = [not_a_server_error, status_code_conformance, content_type_conformance]
    mode = schemathesis.GenerationMode.POSITIVE if right else schemathesis.GenerationMode.NEGATIVE

    def answered(case, there, known):
        if there and not (known and case.path.endswith("/remove")):  # what is there may go by the right form alone
            case.path_parameters |= {k: v for k, v in names.items() if k in case.path_parameters}
        if there and isinstance(case.body, dict):
            case.body["form"] = page.keys.form
        proven = known and there and isinstance(case.body, dict)
        before, headers = files_in(page.folder), {"host": OWN[7:], "origin": OWN}
        cookies = {page.keys.cookie_name: page.keys.cookie if known else "x"}
        answer = case.call(base_url=OWN, headers=headers, cookies=cookies, allow_redirects=False)
        case.validate_response(answer, checks=checks)
        assert "Traceback" not in answer.text
        if case.method == "POST":
            assert answer.status_code in ((200, 303, 400, 404) if proven else (403, 413, 415)), answer.text
            assert proven or files_in(page.folder) == before

    schema = schemathesis.openapi.from_asgi("/openapi.json", page.browser.app, headers={"host": OWN[7:]})
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == 15  # all but the description itself
    for operation in operations if right else [o for o in operations if o.query or o.body]:
        some(3)(given(operation.as_strategy(mode), st.just(True) | st.booleans(), st.booleans())(answered))()


def test_other_methods_are_refused(page, told, names):
    tried = 0
    for path, ways in told.items():
        for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "ODD"} - {w.upper() for w in ways}:
            form = {"headers": {"origin": OWN}, "data": {"form": page.keys.form}} if method == "POST" else {}
            answer = page.browser.request(method, path.format(**names), **form)
            assert answer.status_code == 405 and len(answer.text) > 25, (method, path)
            tried += 1
    assert tried > 90


def test_only_own_hosts_and_origins_get_in(told, names):
    """Decided by our list, whatever the header says: 12 hosts x 6 origins x 4 methods x every address."""
    let_in, sent = [], []

    async def inner(scope, receive, send):
        let_in.append(scope)

    async def send(message):
        sent.append(message)

    async def ask():
        guard, paths = Guard(inner, Keys(PORT)), [path.format(**names) for path in told]
        for host, origin, method, path in product(HOSTS, ORIGINS, METHODS, paths):
            let_in.clear()
            sent.clear()
            headers = {"host": host, "content-type": "application/x-www-form-urlencoded", "content-length": "5"}
            headers |= {} if origin is None else {"origin": origin}
            raw = [(k.encode(), v.encode()) for k, v in headers.items()]
            await guard({"type": "http", "method": method, "path": path, "headers": raw}, None, send)
            own = method == "GET" or (method == "POST" and origin == f"http://{host.lower()}")
            status = 403 if not HOSTS[host] or method == "POST" else 405
            assert [m["status"] for m in sent[:1]] == ([] if HOSTS[host] and own else [status]), (host, origin, method)
            assert len(let_in) == (HOSTS[host] and own), (host, origin, method, path)
        return len(HOSTS) * len(ORIGINS) * len(METHODS) * len(paths)

    assert asyncio.run(ask()) >= 12 * 6 * 4 * 14


@pytest.mark.parametrize("where", ["query", "authorization", "referer", "x-token", "form"])
def test_the_token_elsewhere_than_in_the_address_that_is_opened_lets_nothing_be_done(page, where):
    token, headers = page.keys.token, {"origin": OWN}
    headers |= {where: f"{OWN}/?token={token}" if where == "referer" else token} if where[0] in "arx" else {}
    data = {"form": token if where == "form" else page.keys.form}
    path = f"/studies/{page.study}/remove" + (f"?token={token}" if where == "query" else "")
    assert page.stranger.post(path, headers=headers, data=data).status_code == 403
    assert page.browser.get(f"/studies/{page.study}").status_code == 200
