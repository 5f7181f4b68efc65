"""Cells as numbers: currency, percent and unit signs, thousands separators, decimal commas, brackets for a minus.

What one cell alone does not tell (is 1.234 more than a thousand?) is settled by the column, or by its file, as a form:
"decimal comma", "unit kg", or both; it is kept in `Column.form`, and new rows are read by it.
"""

import re
from collections import Counter

# in a column of numbers these are no mistakes: the person says that there is no value
NO_NUMBER = {
    "",
    "-",
    "--",
    "?",
    ".",
    "none",
    "nan",
    "na",
    "n/a",
    "n.a.",
    "null",
    "nil",
    "missing",
    "unknown",
    "<na>",
    "#n/a",
    "#nv",
    "#div/0!",
    "#wert!",
    "#value!",
    "nat",
    "k.a.",
    "k. a.",
    "keine angabe",
    "unbekannt",
}
DECIMAL_COMMA = "decimal comma"
SUGGESTED, SEEN = 1, 2  # the file's delimiter suggests decimal commas; cells of the file can be read in no other way
_NAMES = """
mm cm dm m km in inch ft yd mi mg g kg t lb lbs oz ml cl l ltr gal ccm cc cm² m² km² qm sqm sqft cm³ m³ ha ms s
sec sek min h hr hrs std d day days tag tage tagen week weeks woche wochen month months monat monate year years
yr yrs jahr jahre km/h kmh mph m/s rpm u/min ps hp w kw kwh wh mw v mv kv a ma mah ah hz khz mhz ghz ohm kb mb
gb tb kib mib gib px mp dpi °c °f k bar mbar pa hpa kpa psi n nm j kj kcal cal db dba stk stk. stück pcs pieces
mg/dl mmol/l g/l µg µm µl
"""
UNITS = frozenset(_NAMES.split())
_BEFORE = re.compile(r"(?:[$€£¥]|EUR|USD|GBP|CHF)")
_AFTER = re.compile(r"(?:[%$€£¥]|EUR|Euro|USD|GBP|CHF)$")  # no white space in it: a long one would take it for ever
_WITH_UNIT = re.compile(r"^[+-]?\d[\d.,]*\s*([^\W\d_°µ]{1,7}[./]?[^\W\d_]{0,3}[²³]?\.?|[°µ][^\W\d_]{1,2})$")
_GROUPED = re.compile(r"^[+-]?\d{1,3}(?:([ '’\u202f])\d{3})(?:\1\d{3})*(?:[.,]\d+)?$")
_COMMA_DECIMAL = re.compile(r"^[+-]?(\d{1,3}(\.\d{3})+|\d+)?,\d+$")
_COMMA_THOUSANDS = re.compile(r"^[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?$")
_DOT_THOUSANDS = re.compile(r"^[+-]?[1-9]\d{0,2}(\.\d{3})+$")


def number_of(text: str, form: str = "") -> float:
    """One cell as a number, NaN if it is none."""
    comma, unit = _parts(form)
    plain = _bare(text)
    if unit and plain.casefold().endswith(unit):
        plain = _bare(plain[: -len(unit)])
    if comma:
        if "," in plain:
            plain = plain.replace(".", "").replace(",", ".") if _COMMA_DECIMAL.match(plain) else plain
        elif _DOT_THOUSANDS.match(plain):
            plain = plain.replace(".", "")
    elif _COMMA_THOUSANDS.match(plain):
        plain = plain.replace(",", "")
    try:
        return float(plain) if "_" not in plain else float("nan")
    except ValueError:
        return float("nan")


def number_form(distinct: list[str], decimal_comma: int = 0) -> str:
    """How these cells are numbers; where they leave it open, `decimal_comma` is what their file says (0: nothing)."""
    plain = [_bare(t) for t in distinct]
    unit = _unit(plain)
    if unit:
        plain = [_bare(t[: -len(unit)]) if t.casefold().endswith(unit) else t for t in plain]
    comma = _has_decimal_comma(plain, decimal_comma)
    return ", ".join([DECIMAL_COMMA] * comma + [f"unit {unit}"] * bool(unit))


def unit_of(form: str) -> str:
    """The unit in a form, or nothing."""
    return _parts(form)[1]


def dots_are_thousands(cells: list[str]) -> bool:
    """Whether there are cells such as 1.234, and no cell in which a dot could be another thing."""
    dotted = [t for t in map(_bare, cells) if "." in t]
    return bool(dotted) and all(_DOT_THOUSANDS.match(t) for t in dotted)


def _parts(form: str) -> tuple[bool, str]:
    return form.startswith(DECIMAL_COMMA), form.partition("unit ")[2]


def _bare(text: str) -> str:
    """Without currency and percent signs and spaces; (5) is -5, and 1 234 is 1234."""
    plain = text.strip().replace("\u00a0", "").replace("\u2212", "-")
    plain = _AFTER.sub("", _BEFORE.sub("", plain, count=1).lstrip() if _BEFORE.match(plain) else plain).rstrip()
    if plain.startswith("(") and plain.endswith(")") and plain[1:2].isdigit():
        plain = "-" + plain[1:-1]
    return re.sub(r"[ '’\u202f]", "", plain) if _GROUPED.match(plain) else plain


def _unit(plain: list[str]) -> str:
    """The one unit that at least nine in ten of the cells end in, folded; empty if there is none."""
    found = Counter(m[1].casefold() for m in map(_WITH_UNIT.match, plain) if m and m[1].casefold() in UNITS)
    unit, count = found.most_common(1)[0] if found else ("", 0)
    return unit if count >= max(2, 0.9 * len(plain)) else ""


def _has_decimal_comma(plain: list[str], decimal_comma: int) -> bool:
    with_comma = [t for t in plain if "," in t]
    if not with_comma:
        several = any(t.count(".") > 1 for t in plain)  # 1.234.567 leaves no doubt
        return (several or decimal_comma == SEEN) and dots_are_thousands(plain)
    decimal = [t for t in with_comma if _COMMA_DECIMAL.match(t)]
    if not decimal or len(decimal) < len(with_comma):
        return False
    return decimal_comma > 0 or any(not _COMMA_THOUSANDS.match(t) for t in decimal)
