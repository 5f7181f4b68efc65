"""The local page as a person meets it: a real browser, a real server, a study that was really fitted.

With SMIDGEN_SCREENSHOTS=DIR the pictures of the documentation are written there.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from smidgen.cli.ui import start_page

pytest.importorskip("uvicorn")
playwright = pytest.importorskip("playwright.sync_api")
axe_api = pytest.importorskip("axe_playwright_python.sync_playwright")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
ARGS += ["--disable-component-update", "--disable-sync"]
SHOTS = os.environ.get("SMIDGEN_SCREENSHOTS")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")


def smidgen(*args: str, cwd: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "smidgen.cli.main", *args]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def fit(folder: Path, name: str, target: str, *more: str) -> None:
    done = smidgen(
        "fit",
        f"{name}.csv",
        "--target",
        target,
        "--trials",
        "150" if SHOTS else "40",
        "--workers",
        "1",
        *more,
        cwd=folder,
    )
    _, said = done.communicate(timeout=120)
    assert done.returncode == 0, said


@dataclass
class Served:
    url: str  # with the token
    process: subprocess.Popen

    @property
    def base(self) -> str:
        return self.url.split("/?")[0]


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Served]:
    """A page over a folder with a study of 80 tumours, three of whose labels are wrong."""
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

    folder = tmp_path_factory.mktemp("page")
    tumours = load_breast_cancer(as_frame=True).frame.sample(80, random_state=0)
    tumours = tumours[["mean radius", "mean texture", "mean concavity", "worst area", "target"]]
    labels = np.where(tumours.pop("target") == 1, "benign", "malignant")
    labels[:3] = np.where(labels[:3] == "benign", "malignant", "benign")
    tumours.assign(diagnosis=labels).to_csv(folder / "tumours.csv", index=False)
    fit(folder, "tumours", "diagnosis", "--methods", "logistic,lda,knn,constant")
    if SHOTS:
        load_wine(as_frame=True).frame.sample(70, random_state=1).to_csv(folder / "wine.csv", index=False)
        fit(folder, "wine", "target", "--methods", "logistic,lda,forest")
        load_diabetes(as_frame=True).frame.sample(120, random_state=1).to_csv(folder / "diabetes.csv", index=False)
        fit(folder, "diabetes", "target", "--methods", "ridge,forest,knn")
    process = smidgen("ui", "--port", "0", "--no-browser", cwd=folder)
    assert process.stdout is not None
    found = re.search(r"http\S+", process.stdout.readline())
    assert found, process.communicate()[1]
    yield Served(found[0], process)
    process.send_signal(2)  # Ctrl-C ends it quietly
    _, said = process.communicate(timeout=10)
    assert (process.returncode, said) == (0, "")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as api:
        made = api.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield made
        made.close()


@pytest.fixture
def page(browser, served):
    """A tab that has opened the printed address. At the end: no error was logged, and nothing left this machine."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    tab, wrong, asked = context.new_page(), [], []
    tab.set_default_timeout(30_000)
    context.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.goto(served.url)
    assert "token" not in tab.url
    yield tab
    context.close()
    assert wrong == []
    assert len(asked) > 3 and all(url.startswith(served.base + "/") for url in asked)


def pages(tab, served) -> dict[str, str]:
    """Address of each kind of page, by name."""
    tab.goto(served.base + "/?q=tumours")
    study = tab.locator("tbody a").first.get_attribute("href")
    tab.goto(served.base + "/models")
    model = tab.locator(".cards a", has_text="tumours").first.get_attribute("href")
    return {
        "studies": "/",
        "study": study,
        "trials": f"{study}/trials",
        "remove": f"{study}/remove",
        "report": f"{study}/report",
        "models": "/models",
        "model": model,
        "papers": "/papers",
        "paper": "/papers/035",
    }


def follow(page, selector: str) -> None:
    """Clicks what leads to another page, and waits for that page."""
    with page.expect_navigation():
        page.click(selector)


def test_papers_are_searched_and_sorted(page, served):
    follow(page, "nav >> text=Papers")
    page.fill("input[name=q]", "few labelled images and many unlabelled ones")
    follow(page, "button:has-text('Search')")
    found = page.locator("#papers tbody tr")
    assert 5 <= found.count() <= 20
    assert "unlabelled" in " ".join(found.all_inner_texts()[:3]).lower()
    for way in ("ascending", "descending"):
        page.click("#papers thead button:has-text('year')")
        years = [int(t) for t in page.locator("#papers td[data-name=year]").all_inner_texts()]
        assert years == sorted(years, reverse=way == "descending") and len(set(years)) > 1
        assert page.locator("#papers th[aria-sort]").get_attribute("aria-sort") == way
    page.fill("input[data-filter]", "learn")
    assert page.locator("#papers tbody tr:visible").count() < found.count()
    follow(page, "#papers tbody tr:visible a >> nth=0")
    assert page.locator("h1").inner_text()


def test_a_study_is_read_and_two_methods_compared(page, served):
    follow(page, "tbody a:has-text('tumours')")
    assert "80 labelled rows" in page.locator(".lead").inner_text()
    assert page.locator(".board tbody tr").count() == 4
    rows = page.locator("#rows")
    assert "malignant" in rows.inner_text() and "mean texture:" in rows.inner_text()
    page.select_option("select[name=a]", label="constant")
    page.select_option("select[name=b]", label="lda")
    follow(page, "button:has-text('Compare')")
    said = page.locator("#compare [role=status]").inner_text()
    assert said.startswith("lda is better than constant, beyond chance.") and page.locator("#compare svg").count() == 1
    follow(page, "text=All trials")
    follow(page, "thead a:has-text('seconds')")
    seconds = [float(t) for t in page.locator("td[data-name=seconds]").all_inner_texts()]
    assert len(seconds) > 20 and seconds == sorted(seconds, reverse=True)


def test_a_model_is_tried_and_a_study_removed_and_brought_back(page, served):
    follow(page, "nav >> text=Models")
    follow(page, ".cards a:has-text('tumours')")
    page.fill("input[name=c0]", "25")
    page.fill("input[name=c3]", "2500")
    follow(page, "button:has-text('Predict')")
    assert "diagnosis: malignant" in page.locator("[role=status]").inner_text()
    follow(page, "nav >> text=Studies")
    follow(page, "tbody a:has-text('tumours')")
    follow(page, "text=Remove…")
    follow(page, "button:has-text('Remove the study')")
    assert "was removed" in page.locator("[role=status]").inner_text()
    follow(page, "button:has-text('Undo')")
    assert "tumours" in page.locator("h1").inner_text()


def test_the_keyboard_alone_is_enough(page, served):
    def focused() -> str:
        return page.evaluate("document.activeElement.textContent.trim()")

    page.keyboard.press("Tab")
    assert focused() == "Skip to the content"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.press("Enter")
    for _ in range(20):
        page.keyboard.press("Tab")
        if focused().startswith("tumours"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/studies/tumours"))
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name") == "b":
            break
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    assert focused() == "Compare"
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"[?&]b=2"))
    page.locator("#compare svg").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everyone_can_read_every_page(page, served, scheme):
    axe, faults = axe_api.Axe(), []
    page.emulate_media(color_scheme=scheme)
    for name, path in pages(page, served).items():
        page.goto(served.base + path)
        for fault in axe.run(page).response["violations"]:
            if fault["impact"] in ("serious", "critical"):
                faults.append((name, fault["id"], [node["html"][:160] for node in fault["nodes"][:3]]))
    assert faults == []


def test_a_phone_needs_no_scrolling_sideways(page, served):
    page.set_viewport_size({"width": 375, "height": 700})
    for path in pages(page, served).values():
        page.goto(served.base + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, path


def test_without_script_all_can_be_done(browser, served):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(served.url)
    tab.goto(served.base + "/papers?q=naive+bayes")
    assert tab.locator("#papers tbody tr").count() > 3
    tab.goto(served.base)
    follow(tab, "tbody a:has-text('tumours')")
    tab.select_option("select[name=a]", label="constant")
    follow(tab, "button:has-text('Compare')")
    assert tab.locator("#compare svg").count() == 1
    context.close()


def test_the_file_that_the_browser_is_given_leads_to_the_page(browser, served):
    context = browser.new_context()
    tab = context.new_page()
    with start_page(served.url) as file:
        tab.goto(file.as_uri())
        tab.wait_for_url(served.base + "/")
    follow(tab, "tbody a:has-text('tumours')")
    assert "mean texture:" in tab.locator("#rows").inner_text()  # it has the key
    context.close()


@pytest.mark.skipif(not SHOTS, reason="pictures are made when SMIDGEN_SCREENSHOTS names a folder")
def test_pictures_of_the_pages(page, served):
    folder = Path(str(SHOTS))
    folder.mkdir(parents=True, exist_ok=True)
    found = pages(page, served)
    for name, path in (found | {"papers": "/papers?q=few+labelled+scans"}).items():
        if name in ("studies", "study", "papers", "paper"):
            page.set_viewport_size({"width": 1000, "height": 500 if name == "studies" else 1100})
            page.goto(served.base + path)
            page.screenshot(path=folder / f"ui-{name}.png")
    page.set_viewport_size({"width": 375, "height": 800})
    page.goto(served.base + found["study"])
    page.screenshot(path=folder / "ui-phone.png")
