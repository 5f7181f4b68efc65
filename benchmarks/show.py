"""The tables of docs/benchmarks.md and of the README, made from results/*: nobody writes a number by hand.

python benchmarks/show.py           # rewrite the marked parts of both files
python benchmarks/show.py --check   # fail when one of them is not what the results say
"""

import argparse
import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

from layout import BAR_HEAD, WAITING, Row, bar, markdown
from show_compress import compress_language_table, compress_pictures_table, compress_table
from show_incontext import incontext_table
from show_packed import packed_table
from show_page import checkpoint_table, cpu_table, doubts_tables, find_table, page_table, products_table
from show_pictures import pictures_table
from show_plans import curves_table, laws_table, mixtures_table, planning_table
from show_speed import attention_table, barlow_table
from show_training import forecast_table, galore_table, language_table, start_table, trainers_table

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DOCS, README = ROOT / "docs" / "benchmarks.md", ROOT / "README.md"
TOOLS = {
    "smidgen": "smidgen",
    "smidgen_without_incontext": "smidgen without the in-context learner",
    "logistic": "plain logistic regression",
    "autogluon_best": "AutoGluon best_quality, 60 s",
    "autogluon_medium": "AutoGluon medium_quality",
    "flaml": "FLAML, 30 s",
}
AUTOML = ("autogluon_best", "autogluon_medium", "flaml")
TEXT_TOOLS = {
    "smidgen": "smidgen",
    "minilm_logistic": "MiniLM + logistic",
    "tfidf_logistic": "tf-idf + logistic",
    "setfit": "SetFit 1.2 (1 draw)",
    "smidgen_long": "smidgen in its time (1 draw)",
}
BASELINES = ("minilm_logistic", "tfidf_logistic")


def by(rows: list[Row], *keys: str) -> dict[tuple, list[Row]]:
    out = defaultdict(list)
    for row in rows:
        out[tuple(row[k] for k in keys)].append(row)
    return out


def shared_cells(rows: list[Row]) -> list[Row]:
    """Only cells that every tool has, so that means compare like with like."""
    cells = [{r["cell"] for r in group} for group in by(rows, "tool").values()]
    both = set.intersection(*cells) if cells else set()
    return [r for r in rows if r["cell"] in both]


def means(rows: list[Row], key: str, *groups: str) -> dict[tuple, float]:
    return {k: fmean(r[key] for r in v) for k, v in by(rows, *groups).items()}


def table_tables(rows: list[Row]) -> str:
    """Tables: means for each n, the bars, and every table's log loss."""
    rows = shared_cells(rows)
    parts = []
    for n in sorted({r["n"] for r in rows}):
        here = [r for r in rows if r["n"] == n]
        loss, acc, seconds = (means(here, k, "tool") for k in ("log_loss", "accuracy", "seconds"))
        tools = [t for t in TOOLS if (t,) in loss]
        cells = len({r["cell"] for r in here})
        parts.append(
            f"#### {n} labelled rows ({len({r['table'] for r in here})} tables, {cells} draws)\n\n"
            + markdown(
                ("tool", "mean log loss", "mean accuracy", "mean seconds"),
                [(TOOLS[t], f"{loss[t,]:.3f}", f"{acc[t,]:.3f}", f"{seconds[t,]:.1f}") for t in tools],
            )
        )
        if "smidgen" in tools:
            parts.append(markdown(BAR_HEAD, table_bars(here, n)))
        each = means(here, "log_loss", "table", "tool")
        parts.append(
            "Log loss, table by table (mean over draws):\n\n"
            + markdown(
                ("table", *(TOOLS[t] for t in tools)),
                [(name, *(f"{each[name, t]:.3f}" for t in tools)) for name in sorted({r["table"] for r in here})],
            )
        )
    return "\n\n".join(parts) or WAITING


def table_bars(here: list[Row], n: int) -> list[list[str]]:
    loss, acc = (means(here, k, "tool") for k in ("log_loss", "accuracy"))
    mine, others = loss["smidgen",], [t for t in TOOLS if not t.startswith("smidgen")]
    ratio, name = worst_ratio(here)
    slowest = max(r["seconds"] for r in here if r["tool"] == "smidgen")
    return [
        bar("log loss over the best AutoML peer's", mine / min(loss[t,] for t in AUTOML), 0.65 if n == 50 else 0.92),
        bar("log loss over the plain logistic regression's", mine / loss["logistic",], 0.94),
        bar("accuracy less the best of the four's", acc["smidgen",] - max(acc[t,] for t in others), 0, least=True),
        bar("log loss over that without the in-context learner", mine / loss["smidgen_without_incontext",], 0.95),
        bar("slowest task", slowest, 20, " s"),
        bar(f"worst single table over the plain logistic regression ({name})", ratio, 1.05),
    ]


def worst_ratio(here: list[Row]) -> tuple[float, str]:
    """The largest ratio of mean log loss, smidgen over the plain logistic regression, on one table; and which."""
    each = means(here, "log_loss", "table", "tool")
    return max((each[t, "smidgen"] / each[t, "logistic"], t) for t in {r["table"] for r in here})


def text_tables(rows: list[Row]) -> str:
    """Texts: each set at each number of shots, and the bars, task by task."""
    rows = [r for r in rows if "failed" not in r] + [r for r in rows if "failed" in r]
    parts = []
    for key, form in (("accuracy", "{:.3f}"), ("log_loss", "{:.3f}"), ("seconds", "{:.1f}")):
        lines = []
        for (name, shots), here in sorted(by(rows, "set", "shots").items()):
            tools = by(here, "tool")
            lines.append((name, shots, *(_cell(tools.get((t,), []), key, form) for t in TEXT_TOOLS)))
        if lines:
            head = ("set", "a class", *TEXT_TOOLS.values())
            parts.append(f"Mean {key.replace('_', ' ')}:\n\n" + markdown(head, lines))
    mine = shared_cells([r for r in rows if r["tool"] in ("smidgen", *BASELINES) and "failed" not in r])
    bars = text_bars(mine) if any(r["tool"] == "smidgen" for r in mine) else []
    bars += setfit_bars([r for r in rows if "failed" not in r])
    return "\n\n".join([*parts, *([markdown(BAR_HEAD, bars)] if bars else [])]) or WAITING


def _cell(rows: list[Row], key: str, form: str) -> str:
    if not rows:
        return ""
    return rows[0]["failed"] if "failed" in rows[0] else form.format(fmean(r[key] for r in rows))


def text_bars(rows: list[Row]) -> list[list[str]]:
    bars = []
    for (name, shots), here in sorted(by(rows, "set", "shots").items()):
        acc, loss = (means(here, k, "tool") for k in ("accuracy", "log_loss"))
        bars.append(
            bar(
                f"{name}, {shots} a class: accuracy less the best baseline's",
                acc["smidgen",] - max(acc[t,] for t in BASELINES),
                0,
                least=True,
            )
        )
        bars.append(
            bar(
                f"{name}, {shots} a class: log loss over the best baseline's",
                loss["smidgen",] / min(loss[t,] for t in BASELINES),
                1,
            )
        )
    bars.append(bar("slowest task", max(r["seconds"] for r in rows if r["tool"] == "smidgen"), 20, " s"))
    return bars


def setfit_bars(rows: list[Row]) -> list[list[str]]:
    """Beside SetFit in its time, where that ended within the limit."""
    here = shared_cells([r for r in rows if r["tool"] in ("setfit", "smidgen_long")])
    if len({r["tool"] for r in here}) < 2:
        return []
    acc = means(here, "accuracy", "tool")
    cells = len({r["cell"] for r in here})
    gain = acc["smidgen_long",] - acc["setfit",]
    return [bar(f"mean accuracy less SetFit's, in its time ({cells} cells)", gain, 0.02, least=True)]


def covered(rows: list[Row], interval: str, truth: str) -> float:
    return fmean(r[interval][0] <= r[truth] <= r[interval][1] for r in rows)


def coverage_tables(rows: list[Row], tables: list[Row]) -> str:
    """Coverage of the intervals and the gap of the estimates, in all and for each n; AutoGluon's gap beside it."""
    if not rows:
        return WAITING
    lines = []
    for label, here in [("all", rows), *((str(k[0]), v) for k, v in sorted(by(rows, "n").items()))]:
        with_acc = [r for r in here if r.get("accuracy_interval")]
        lines.append(
            (
                label,
                len(here),
                f"{covered(here, 'interval', 'true_log_loss'):.1%}",
                f"{covered(with_acc, 'accuracy_interval', 'true_accuracy'):.1%}" if with_acc else "",
                f"{fmean(abs(r['estimate'] - r['true_log_loss']) for r in here):.3f}",
                f"{fmean(r['estimate'] - r['true_log_loss'] for r in here):+.3f}",
            )
        )
    share = covered(rows, "interval", "true_log_loss")
    bars = [
        bar("pairs", len(rows), 200, least=True),
        bar("covered", 100 * share, 85, " %", least=True),
        bar("covered", 100 * share, 95, " %"),
    ]
    gaps = shared_cells([r for r in tables if r["tool"] in ("smidgen", "autogluon_best")])
    gap = {k[0]: fmean(abs(r["validation"] - r["log_loss"]) for r in v) for k, v in by(gaps, "tool").items()}
    if len(gap) == 2:
        bars.append(
            bar(
                "mean gap of the estimate, on the draws of the comparison above (limit: AutoGluon's own)",
                gap["smidgen"],
                gap["autogluon_best"],
            )
        )
    head = ("n", "pairs", "log loss covered", "accuracy covered", "mean absolute gap (log loss)", "mean gap")
    return markdown(head, lines) + "\n\n" + markdown(BAR_HEAD, bars)


def startup_table(found: Row) -> str:
    if not found:
        return WAITING
    bars = [
        bar("`import smidgen`, beyond Python's own start", found["import_seconds"], 0.3, " s"),
        bar("`smidgen --help`, in all", found["help_seconds"], 0.5, " s"),
        bar(f"`smidgen predict` on {found['predict_rows']:,} rows, in all", found["predict_seconds"], 2, " s"),
    ]
    return markdown(BAR_HEAD, bars)


def machine_text(found: Row, dates: list[str]) -> str:
    if not found:
        return WAITING
    m = found["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in m["versions"].items())
    days = " to ".join(sorted({min(dates), max(dates)}))
    return (
        f"Measured {days} on one machine: {m['processor']}, {m['cores']} cores, {m['memory_gb']} GB, "
        f"{m['system']}, Python {m['python']}; {versions}."
    )


def numbers(tables: list[Row], coverage: list[Row]) -> str:
    """The README's short table."""
    rows, lines = shared_cells(tables), []
    if {r["n"] for r in rows if r["tool"] == "smidgen"} != {50, 200}:
        return WAITING
    loss, acc, seconds = (means(rows, k, "tool", "n") for k in ("log_loss", "accuracy", "seconds"))
    for t in [t for t in TOOLS if (t, 50) in loss and t != "smidgen_without_incontext"]:
        scores = (f"{d[t, n]:.3f}" for n in (50, 200) for d in (loss, acc))
        lines.append((TOOLS[t], *scores, f"{fmean(seconds[t, n] for n in (50, 200)):.0f}"))
    size = f"{len({r['table'] for r in rows})} tables, {len({r['draw'] for r in rows})} draws"
    out = markdown((size, "log loss, n = 50", "accuracy", "log loss, n = 200", "accuracy", "seconds"), lines)
    if coverage:
        out += (
            f"\n\nThe 90 % interval held the truth in {covered(coverage, 'interval', 'true_log_loss'):.0%} of "
            f"{len(coverage)} other draws of these tables."
        )
    return out


def read_lines(name: str) -> list[Row]:
    path = RESULTS / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def read_one(name: str) -> Row:
    path = RESULTS / name
    return json.loads(path.read_text()) if path.exists() else {}


def parts() -> dict[Path, dict[str, Callable[[], str]]]:
    """Marked parts of each file and what belongs there."""
    tables, texts, coverage = (read_lines(f"{n}.jsonl") for n in ("tables", "texts", "coverage"))
    startup = read_one("startup.json")
    dates = [r["date"] for r in [*tables, *texts, *coverage, *([startup] if startup else [])]]
    return {
        DOCS: {
            "machine": lambda: machine_text(startup, dates),
            "tables": lambda: table_tables(tables),
            "texts": lambda: text_tables(texts),
            "coverage": lambda: coverage_tables(coverage, tables),
            "startup": lambda: startup_table(startup),
            "doubts": lambda: doubts_tables(read_lines("doubts.jsonl")),
            "find": lambda: find_table(read_one("find.json")),
            "products": lambda: products_table(read_one("products.json")),
            "cpu": lambda: cpu_table(read_one("cpu_inference.json")),
            "checkpoint": lambda: checkpoint_table(read_one("checkpoint.json")),
            "trainers": lambda: trainers_table(read_one("trainers.json")),
            "language": lambda: language_table(read_one("language.json")),
            "forecast": lambda: forecast_table(read_one("forecast.json")),
            "galore": lambda: galore_table(read_one("galore.json")),
            "curves": lambda: curves_table(read_one("curves.json")),
            "pictures": lambda: pictures_table(read_lines("pictures.jsonl")),
            "compress": lambda: compress_table(read_lines("compress.jsonl")),
            "compress_language": lambda: compress_language_table(read_lines("compress_language.jsonl")),
            "compress_pictures": lambda: compress_pictures_table(read_lines("compress_pictures.jsonl")),
            "packed": lambda: packed_table(read_one("packed.json")),
            "attention": lambda: attention_table(read_one("attention.json")),
            "barlow": lambda: barlow_table(read_one("barlow.json")),
            "incontext": lambda: incontext_table(read_one("incontext.json")),
            "start": lambda: start_table(read_one("language_start.json")),
            "laws": lambda: laws_table(read_one("laws.json")),
            "mixtures": lambda: mixtures_table(read_one("mixtures.json")),
            "planning": lambda: planning_table(read_one("planning.json")),
            "page": lambda: page_table(read_one("report.json"), read_lines("ui.jsonl")),
        },
        README: {"numbers": lambda: numbers(tables, coverage)},
    }


def filled(text: str, makers: dict[str, Callable[[], str]]) -> str:
    """The text with what stands between `<!-- name -->` and `<!-- /name -->` made anew."""
    for name, make in makers.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise SystemExit(f"no <!-- {name} --> ... <!-- /{name} --> to fill")
        made = make()
        text = pattern.sub(lambda m, made=made: f"{m[1]}\n{made}\n\n{m[2]}", text)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for path, makers in parts().items():
        old = path.read_text(encoding="utf-8")
        new = filled(old, makers)
        if check and new != old:
            sys.exit(f"{path.relative_to(ROOT)} is not what benchmarks/results say: run python benchmarks/show.py")
        if not check:
            path.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
