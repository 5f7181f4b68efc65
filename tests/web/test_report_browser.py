"""The report in a real browser: what its script does, that nothing else may run, and that all can use it.

Skipped where no Chromium is installed.
"""

import shutil

import pytest

from smidgen.web.report import report
from web import samples

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=[*OPTIONS.split(), "--disable-sync"])
        yield found
        found.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a summary's report; `page.said` collects what the browser complains of."""
    contexts = []

    def open_report(summary, width=1200, **options):
        (tmp_path / "report.html").write_text(report(summary), encoding="utf-8")
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, **options))
        page = contexts[-1].new_page()
        page.said = []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.goto((tmp_path / "report.html").as_uri())
        return page

    yield open_report
    for context in contexts:
        context.close()


def names(page, rows="#board tbody tr"):
    return page.eval_on_selector_all(rows, "rows => rows.filter(r => !r.hidden).map(r => r.dataset.at)")


def test_tables_sort_by_number_and_come_back(opened):
    page = opened(samples.two_classes())
    page.eval_on_selector_all("#board tbody tr", "rows => rows.forEach((r, i) => r.dataset.at = i)")
    head = "#board th.t"
    seconds = [row["seconds"] for row in samples.two_classes()["leaderboard"][:10]]
    up = sorted(range(10), key=lambda k: seconds[k])
    for order, told in ((up, "ascending"), (up[::-1], "descending"), (list(range(10)), None)):
        page.click(f"{head} button")
        assert page.get_attribute(head, "aria-sort") == told
        assert names(page) == [str(k) for k in order]
    assert page.locator("#board th.p button").count() == 0 and page.said == []


def test_filter_keeps_rows_with_every_word(opened):
    s = samples.two_classes()
    s["leaderboard"] = [samples.row(f"learn/m{i}", "tree", 0.3 + i / 99, (0.2, 0.9)) for i in range(20)]
    page = opened(s)
    page.fill("input[type=search]", "TREE m1")
    shown = page.locator("#board tbody tr:visible td.m").all_inner_texts()
    assert [text.split()[0] for text in shown] == ["m1", *(f"m{i}" for i in range(10, 20))]
    assert page.inner_text("output") == "11 of 20"


def test_tips_under_pointer_and_keyboard(opened):
    page = opened(samples.two_classes())
    points = page.locator("svg[aria-label^='Learning curve'] [data-tip]")
    points.first.hover()
    assert page.inner_text("#tip") == "12 labelled rows: log loss 0.571, interval 0.410 to 0.760"
    page.mouse.move(2, 2)
    page.wait_for_selector("#tip", state="hidden")
    assert points.evaluate_all("all => all.filter(p => p.getAttribute('tabindex') === '0').length") == 1
    points.first.focus()
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#tip").startswith("20 labelled rows")
    page.keyboard.press("End")
    assert page.inner_text("#tip").startswith("50 labelled rows")
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()


def test_no_other_script_runs(opened):
    page = opened(samples.hostile())
    assert page.said == []
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.ran = 1";
            document.body.append(script);
            document.body.insertAdjacentHTML("beforeend", "<b onclick='window.ran = 2' style='color: red' id=b>b</b>");
            document.querySelector("#b").click();
        }"""
    )
    assert page.evaluate("window.ran") is None
    assert sum("Content Security Policy" in text for text in page.said) == 3


@pytest.mark.parametrize("name", ["two_classes", "regression", "hostile"])
def test_a_phone_needs_no_sideways_scrolling_and_a_page_no_script(opened, name):
    page = opened(getattr(samples, name)(), width=375, java_script_enabled=False)
    assert page.locator("main").evaluate("e => document.documentElement.scrollWidth") == 375
    assert page.locator("#board tbody tr").count() > 5 and page.locator(".find:visible").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everyone_can_use_it(opened, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = opened(samples.two_classes(), color_scheme=scheme, bypass_csp=True)  # axe brings a script of its own
    page.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
    found = axe.run(page).response["violations"]
    assert [(v["id"], v["impact"], v["nodes"][0]["html"]) for v in found] == []
