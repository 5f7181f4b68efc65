"""The report: safe whatever the data says, whole without parts, the numbers those of the summary."""

import base64
import copy
import hashlib
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from smidgen.web import assets
from smidgen.web.report import report
from web import samples

ALL = {name: getattr(samples, name) for name in ("two_classes", "many_classes", "regression", "tiny", "hostile")}
OLDER = {"comparisons": None, "doubts": {"wrong": [], "labels": [], "counts": {}}}  # nothing to compare or to doubt
TAGS = """html head meta title style body main h1 h2 h3 p div ul li b span small section table thead tbody tr th td
figure figcaption details summary dl dt dd i footer svg text line circle rect polyline g script label input output"""
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """All start tags with their attributes, text by whether it lies in the style sheet, and unbalanced tags."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        self.wrong += self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text += data


def pictures(html: str) -> list[ElementTree.Element]:
    """Every picture, parsed as XML on its own."""
    found = re.findall(r"<svg\b.*?</svg>", html, re.DOTALL)
    return [ElementTree.fromstring(svg) for svg in found]


@pytest.mark.parametrize("name", ALL)
def test_page_is_balanced_small_and_reaches_nothing(name):
    html = report(ALL[name]())
    page = Page(html)
    assert page.wrong == []
    assert len(html.encode()) < 200_000
    assert {tag for tag, _ in page.tags} <= set(TAGS.split())
    outside = ("href", "src", "xlink:href", "srcset", "action", "style")  # style attributes: the policy forbids them
    for tag, attributes in page.tags:
        for key in attributes:
            assert not key.startswith("on") and key not in outside, (tag, key)
    ours = ("http://www.w3.org/2000/svg", "http-equiv")
    plain = re.sub(r"=HYPERLINK\([^ <]*", "", html)  # the text of an attack, shown (in part where it was too long)
    assert "http" not in plain.replace(ours[0], "").replace(ours[1], "")
    assert "@import" not in html and "url(" not in html and "default-src 'none'" in html


def test_hostile_text_is_shown_and_not_run():
    html = report(samples.hostile())
    text = Page(html).text
    for word in (
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "{{ 7*7 }}",
        "</style><style>*{display:none}",
        "&lt;b&gt;",
    ):
        assert word in text  # as it stands in the file
    assert html.lower().count("<script") == 1 and "<img" not in html.lower()
    assert html.count("<style") == 1
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\u202a-\u202e\ud800-\udfff]", html)
    html.encode("utf-8")


@pytest.mark.parametrize("name", ALL)
def test_pictures_are_well_formed(name):
    found = pictures(report(ALL[name]()))
    assert found, name
    for svg in found:
        for element in svg.iter():
            for key in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height"):
                value = element.get(key)
                assert value is None or -50 < float(value.rstrip("%")) < 2000, (key, value)


def test_the_numbers_are_those_of_the_summary():
    text = re.sub("[ \n]+", " ", Page(report(samples.two_classes())).text)
    for shown in (
        "0.324",
        "0.238 to 0.437",
        "0.684",
        "86\u00a0%",
        "78\u00a0% to 93\u00a0%",
        "58\u00a0%",
        "118 trials",
        "590 fits",
        "950 unlabelled",
        "412 MB",
        "184 KB",
        "62\u00a0% of the model",
        "needs 3.1 GB, there are 2.0 GB",
        "always 'FR'",
        "0.226 to 0.421",
        "2 rows are exact duplicates",
        "study 5f3a9c",
        "seed 0",
    ):
        assert shown in text, shown
    for row in samples.two_classes()["leaderboard"]:
        assert row["method"].split("/")[1] in text


def test_confusion_numbers_stand_in_their_cells():
    matrix = [[26, 3, 0], [4.5, 17, 1], [2, 0, 9]]
    html = report(
        {**samples.two_classes(), "classes": ["a", "b", "c"], "class_counts": [29, 22, 11], "confusion": matrix}
    )
    svg = next(s for s in pictures(html) if "Confusion" in (s[0].text or ""))
    cells = [e for e in svg.iter() if (e.get("class") or "").startswith("count")]
    assert [e.text for e in cells] == ["26", "3", "·", "4.5", "17", "1", "2", "·", "9"]
    columns = {round(float(e.get("x"))) for e in cells}
    assert len(columns) == 3 and len({e.get("y") for e in cells}) == 3


def test_dots_and_whiskers_share_one_axis():
    html = report(samples.two_classes())
    place = {}
    for svg in pictures(html):
        circle = next((e for e in svg.iter() if e.tag.endswith("circle") and "%" in e.get("cx", "")), None)
        if circle is not None:
            name = svg[0].text.split(":")[0]
            whisker = next(e for e in svg.iter() if "whisker" in (e.get("class") or ""))
            ends = float(whisker.get("x1")[:-1]), float(whisker.get("x2")[:-1])
            place[name] = float(circle.get("cx")[:-1])
            assert ends[0] < place[name] < ends[1]
    want = {row["method"]: row["estimate"] for row in samples.two_classes()["leaderboard"] if row["estimate"]}
    slope = (place["learn/constant"] - place["learn/logistic"]) / (want["learn/constant"] - want["learn/logistic"])
    for name, estimate in want.items():  # one straight scale for all
        assert place[name] == pytest.approx(
            place["learn/logistic"] + slope * (estimate - want["learn/logistic"]), abs=0.05
        )


@pytest.mark.parametrize("name", ["two_classes", "regression"])
def test_any_part_may_be_missing(name):
    whole = ALL[name]()
    for key in whole:
        for broken in ({k: v for k, v in whole.items() if k != key}, {**whole, key: None}):
            html = report(broken)
            assert Page(html).wrong == [] and "None" not in Page(html).text, key
    assert Page(report({})).wrong == []


def test_missing_parts_leave_no_heading():
    text = Page(
        report({**samples.two_classes(), "curve": None, "calibration": [], "confusion": None, "spent": None} | OLDER)
    ).text
    heads = {"Learning curve", "Calibration", "Confusion", "What was spent", "Which methods differ", "Rows to look at"}
    assert not heads & set(text.split("\n"))
    assert "Learning curve" in Page(report(samples.two_classes())).text


def test_infinities_and_odd_numbers_do_no_harm():
    s = samples.two_classes()
    s["leaderboard"][3]["interval"] = [float("-inf"), float("nan")]
    s["leaderboard"][4]["estimate"] = float("nan")
    s["leaderboard"][5].update(estimate=1e300, interval=[1e299, 1e301])
    s["curve"].append({"n": 64, "estimate": float("inf"), "interval": None})
    html = report(s)
    assert Page(html).wrong == [] and not re.search(r"\b(nan|inf)\b", Page(html).text, re.IGNORECASE)


def test_report_is_pure():
    s = samples.regression()
    before = copy.deepcopy(s)
    assert report(s) == report(json.loads(json.dumps(s))) and s == before


def test_large_studies_stay_small():
    s = samples.many_classes(20)
    s["columns"] = [{"name": f'"<&{i}>"' * 50, "kind": "number", "note": '"' * 500} for i in range(5000)]
    s["leaderboard"] = [
        samples.row('"' * 300, '"' * 300, 0.5 + i / 100, (0.4, 0.9 + i), params={f"p{j}": '"' * 99 for j in range(99)})
        for i in range(900)
    ]
    s["findings"] = [{"level": "note", "text": '"' * 900}] * 300
    s["classes"] = ['"' * 300] * 20
    s["comparisons"] = samples.comparisons(s["leaderboard"][:40], '"' * 300, 0.1)
    s["doubts"]["wrong"] = s["doubts"]["labels"] = [
        samples.doubt(i, '"' * 300, '"' * 300, 0.9, 0.1) for i in range(900)
    ]
    assert len(report(s).encode()) < 200_000


def test_only_our_own_script_and_style_may_run():
    """The policy allows what the page carries by its hash: one letter more in either, and a browser refuses it."""
    html = report(samples.hostile())
    policy = next(t["content"] for tag, t in Page(html).tags if tag == "meta" and "http-equiv" in t)
    for tag, kind in (("script", "script-src"), ("style", "style-src")):
        inside = re.search(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert inside
        digest = base64.b64encode(hashlib.sha256(inside[1].encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}';" in policy
    assert "unsafe" not in policy and policy.startswith("default-src 'none'; ")


def test_which_methods_differ_is_said_in_words_and_numbers():
    html = report(samples.two_classes())
    said = "Logistic came out best. knn and histogram_boosting are worse beyond chance; "
    assert said + "shrinkage_lda, extra_trees, forest and 2 more could be as good." in html
    readings = re.findall(r'<td class="v">(?:<b>)?([a-z ]+)', html)
    assert readings == ["not told apart"] * 5 + ["worse"] * 2
    assert '0.130<small>0.050 to 0.210</small></td><td class="v"><b>worse' in html  # knn less logistic


def test_rows_to_look_at_are_named_and_their_contents_are_not_there():
    html = report(samples.two_classes())
    rows = re.findall(r"<tr><td[^>]*>(\d+)</td><td>(\w+)</td><td>(\w+)</td><td[^>]*>([^<]*)</td></tr>", html)
    assert rows == [
        ("37", "no", "yes", "97\u00a0%"),
        ("4", "yes", "no", "91\u00a0%"),
        ("37", "no", "yes", "3\u00a0%"),  # the label given
    ]
    assert "and 5 more" in html and "it stays in your own file" in html
    text = Page(report(samples.regression())).text
    assert "Farthest off" in text and "412,000" in text and "Labels to check" not in text


def test_a_report_does_not_say_where_a_persons_folders_are():
    html = report({**samples.two_classes(), "model": "/home/anna/secret project/churn-model"})
    assert "model churn-model" in html and "anna" not in html and "secret" not in html


def test_no_picture_needs_colour_alone():
    """Chosen methods differ by a filled dot and by words; right cells of the confusion matrix are framed."""
    html = report(samples.two_classes())
    assert html.count('class="frame"') == 2
    assert html.count("of the model</span>") == 3
    style = assets.text("style.css")
    assert "prefers-color-scheme:dark" in style and "@media print" in style and "max-width:640px" in style
