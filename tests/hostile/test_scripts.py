"""A table full of HTML, fitted: in a browser its report and the local page's templates show text and run nothing.
The report of `compress` does neither, whatever the layers of a model are called.
"""

import shutil
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import smidgen
from smidgen.studies import fit as studies
from smidgen.studies.pool import InlinePool
from smidgen.web import compressed

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EVIL = ["<script>window.ran=1</script>", '"><img src=x onerror=window.ran=2>']
EVIL += ["</title></style><svg onload=window.ran=3>"]
EVIL += ["javascript:window.ran=4", "{{7*7}}${7*7}", "</script><b onclick=window.ran=5>"]


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_nothing_of_a_table_runs(tmp_path, monkeypatch):
    playwright = pytest.importorskip("playwright.sync_api")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(studies, "Pool", InlinePool)
    rng, target = np.random.default_rng(0), EVIL[0]
    y = np.arange(24) % 2
    frame = pd.DataFrame({EVIL[1]: y + rng.normal(0, 1, 24), EVIL[2]: [EVIL[i % 4 + 1] for i in range(24)]})
    frame[EVIL[3]] = [f"words {EVIL[i % 6]} and number {i}" for i in range(24)]
    frame = frame.assign(constant=EVIL[0], **{target: [EVIL[5 * k] for k in y]})
    frame.to_csv("<img src=x onerror=window.ran=6>.csv", index=False)
    smidgen.fit("<img src=x onerror=window.ran=6>.csv", target, trials=3, methods="logistic,knn", out="m", workers=1)
    with playwright.sync_playwright() as api:
        browser = api.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page, said, asked = browser.new_page(), [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / "m" / "report.html").as_uri())
        assert page.evaluate("window.ran") is None and said == [] and len(asked) == 1
        assert page.locator("img, [onerror], [onload], [onclick]").count() == 0
        assert "onerror=window.ran=2" in page.inner_text("body") and "49" not in page.title()
        browser.close()


class Tags(HTMLParser):
    """Which there are, and what would run or load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.runs = set(), []
        self.feed(page)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.add(tag)
        self.runs += [(tag, k) for k, _ in attrs if k.startswith("on") or k in ("href", "src", "style", "action")]


def test_nothing_of_a_model_runs_in_the_report_of_compress():
    def made(names: list[str]) -> Tags:
        kinds = {"kind": "linear", "format": names[0], "bits": 4.0, "bytes": 10}
        layers = [{"name": name, "shared_with": names, **kinds} for name in names]
        tried = [{"name": n, "bytes": 10 + k, "loss": 0.1 * k or float("inf")} for k, n in enumerate(names)]
        found = {"layers": layers, "tried": tried, "kept": names, "notes": names, "unit": names[0], "bytes": 11}
        found |= {"curve": [{"bytes": 10, "loss": 0.3}, {"bytes": 14, "loss": float("nan")}], "bits_per_weight": 4.0}
        found |= {"loss_before": 0.1, "loss_after": 0.2, "recovery_steps": 3, "bytes_before": 99}
        return Tags(compressed.report(found))

    plain, evil = made(["a", "b", "c", "d", "e", "f"]), made(EVIL)
    assert evil.tags == plain.tags and evil.runs == plain.runs == []
