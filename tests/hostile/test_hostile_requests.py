"""Any request to the local page: an answer that is no fault of ours, and nothing changed by who may change nothing."""

import asyncio
import re
import string
from urllib.parse import quote

import pytest

pytest.importorskip("starlette")

from hostile_help import files_in, small_models, some
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from smidgen.studies.store import RunStore
from smidgen.web.app import make_app
from smidgen.web.guard import Keys

PORT = 8765
NAMES = ["studies", "models", "papers", "removed", "static", "report", "trials", "remove", "undo", "image", "wrong"]
ODD = ["..", "%2e%2e", "%00", "%ff", "%F0%9F%98%80", "' OR 1=1 --", "{{7*7}}", "<script>", "9" * 5000, "-1", "0", "007",
       "\u0663", "a" * 9000, "%0d%0aX-A: b", "\\..\\..", "~root"]  # fmt: skip
WORDS = st.one_of(st.sampled_from(NAMES), st.sampled_from(ODD), st.text(string.printable, max_size=8))
FIELDS = st.sampled_from(
    ["q", "sort", "way", "page", "state", "a", "b", "contents", "room", "token", "form", "c0", "x"]
)


FORM = [(b"host", b"127.0.0.1:8765"), (b"origin", b"http://127.0.0.1:8765"),
        (b"content-type", b"application/x-www-form-urlencoded")]  # fmt: skip


class Page:
    """A page over a study and models; `ids` are parts of addresses that exist."""

    def __init__(self, folder) -> None:
        small_models(folder, ["logistic", "forest"])
        names = [{"method": m, "view": "linear", "params": {}} for m in ("learn/a", "learn/b")]
        gaps = [[None, [0.1, 0.0, 0.2]], [[0.1, 0.0, 0.2], None]]
        doubt = {"row": 1, "name": "", "truth": "lo", "predicted": "hi", "probability": 0.9, "given": 0.1}
        summary = {
            "comparisons": {"metric": "log_loss", "level": 0.9, "gaps": gaps, "names": names},
            "doubts": {"wrong": [doubt]},
        }
        with RunStore(folder / "runs.db") as store:
            study = store.open_study("small", "f", {"source": str(folder / "small.csv"), "target": "y"})
            store.finish_study(study.id, "done", summary, [])
        self.folder, self.keys, self.study = folder, Keys(PORT), study.id
        app = make_app(str(folder / "runs.db"), folder, self.keys)
        self.browser = TestClient(app, base_url=f"http://127.0.0.1:{PORT}", raise_server_exceptions=False)
        self.stranger = TestClient(app, base_url=f"http://127.0.0.1:{PORT}", raise_server_exceptions=False)
        self.browser.get("/", params={"token": self.keys.token})


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Page:
    return Page(tmp_path_factory.mktemp("page"))


@some(60)
@given(st.lists(WORDS, max_size=5), st.dictionaries(FIELDS, WORDS, max_size=3), st.booleans())
@example(["studies", "ID", "image", "wrong", "9" * 5000], {}, False)  # was a fault of ours: too many digits
@example(["studies", "ID", "image", "wrong", "1"], {}, False)
@example(["studies", "ID"], {"a": "00019999", "b": "1"}, False)  # was one: a name that is not there
@example(["studies", "ID"], {"a": "0" * 5000, "b": "1"}, False)  # and too many digits again
@example(["studies", "ID", "trials"], {"page": "9" * 5000, "state": "x"}, False)
@example(["studies", "ID", "report"], {}, False)
@example(["static", "..%2fapp.py"], {}, True)
def test_any_address_is_answered(page, parts, fields, unknown):
    client = page.stranger if unknown else page.browser
    path = f"http://127.0.0.1:{PORT}/" + "/".join(page.study if p == "ID" else quote(p, safe="%") for p in parts)
    answer = client.get(path, params={k: v for k, v in fields.items() if k != "token"}, follow_redirects=False)
    assert answer.status_code < 500, (path[:200], fields)
    assert "Traceback" not in answer.text and (parts[-1:] == ["report"] or "<script>" not in answer.text)
    assert answer.headers["x-content-type-options"] == "nosniff"


@some(60)
@given(
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "get", ""]),
    st.lists(WORDS, max_size=4),
    st.lists(st.tuples(st.sampled_from([
        b"host", b"origin", b"content-type", b"content-length", b"cookie", b"sec-fetch-site", b"sec-fetch-mode", b"x"
    ]), st.one_of(st.binary(max_size=12), st.sampled_from([
        b"127.0.0.1:8765", b"localhost:8765", b"evil.example", b"http://127.0.0.1:8765", b"same-origin", b"null",
        b"application/x-www-form-urlencoded", b"\xb2", b"-1", b"99999999999999999999999", b"5", b"smidgen-8765=\xff"
    ]))), max_size=6),
    st.binary(max_size=40),
)  # fmt: skip
@example("GET", ["studies"], FORM[:1], b"q=\xb6")  # was a fault of the page that says so
@example("POST", ["studies"], FORM + [(b"content-length", b"\xb2")], b"")  # was a fault: a digit, and no number
def test_any_headers_are_answered_and_change_nothing(page, method, parts, headers, body):
    """Raw: what a server's own parser would refuse before comes through as well."""
    before, sent = files_in(page.folder), []
    path = "/" + "/".join(parts)
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": quote(path).encode(), "query_string": body, "root_path": "", "headers": headers,
        "server": ("127.0.0.1", PORT), "client": ("127.0.0.1", 1),
    }  # fmt: skip

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    asyncio.run(page.browser.app(scope, receive, send))
    assert sent[0]["status"] < 500
    assert files_in(page.folder) == before or method == "GET"  # a database's own side files come and go


@some(30)
@given(st.dictionaries(st.sampled_from(["c0", "c1", "c2", "c3", "c9", "form", "x"]), st.text(max_size=30), max_size=5))
@example({"c0": "1e999", "c1": "=1+1", "c2": "9999-99-99", "c3": "x" * 5000})
def test_any_row_is_predicted_or_refused(page, given_fields):
    headers = {"origin": f"http://127.0.0.1:{PORT}", "sec-fetch-site": "same-origin"}
    key = re.search(r'href="(/models/[0-9a-f]+)"', page.browser.get("/models").text)
    assert key
    fields = {"form": page.keys.form} | given_fields
    answer = page.browser.post(
        key[1], data={k: v.encode("utf-8", "replace") for k, v in fields.items()}, headers=headers
    )
    assert answer.status_code in (200, 400, 403)
