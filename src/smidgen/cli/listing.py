"""`smidgen studies ...` and `smidgen methods ...`: what there is, in tables."""

import contextlib
import json
import re
import time
from pathlib import Path
from typing import Any

from smidgen.cli.output import say, table
from smidgen.kit.errors import BadInput
from smidgen.studies import DEFAULT_STORE
from smidgen.web import words

ALL = 10**9  # more than there are


def _store(url: str | None) -> Any:
    if url is None and not Path(DEFAULT_STORE).exists():
        raise BadInput(
            f"There are no studies here: no {DEFAULT_STORE}. `smidgen fit` makes one; --store names another."
        )
    from smidgen.studies.store import RunStore

    return contextlib.closing(RunStore(url or DEFAULT_STORE))


def list_studies(url: str | None) -> None:
    if url is None and not Path(DEFAULT_STORE).exists():
        say("No studies yet.")
        return
    from smidgen.studies.glance import glance

    path = (url or DEFAULT_STORE).removeprefix("sqlite:///")
    found = None if "://" in path or "?" in path else glance(path)  # a URL's options are for others to read
    if found is None:
        from smidgen.studies import listing

        with _store(url) as store:
            found = listing.list_studies(store, size=ALL).rows
    rows = []
    for study, count in found:
        s = study.summary or {}
        score = (
            f"{words.metric_name(s.get('metric'))} {words.number(s.get('estimate'))}"
            if words.finite(s.get("estimate"))
            else ""
        )
        rows.append([study.id, study.task_name, study.state, _when(study.updated), str(count), score])
    say(
        "\n".join(table(rows, ["study", "task", "state", "last worked on", "trials", "result"], right=(4,)))
        if rows
        else "No studies yet."
    )


def show_study(id: str, url: str | None) -> None:
    with _store(url) as store:
        study = store.study(id)
        trials = store.trials(study.id)
    say(f"study    {study.id} ({study.state})")
    say(f"task     {words.clean(study.task_name)}, fingerprint {study.fingerprint[:12]}")
    say(f"begun    {_when(study.created)}, last worked on {_when(study.updated)}")
    options = {k: v for k, v in study.options.items() if v not in (None, {}, [])}
    say(
        "options  "
        + words.clean(", ".join(f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in options.items()), 1000)
    )
    states = {state: sum(t.state == state for t in trials) for state in ("done", "failed", "running")}
    say("trials   " + ", ".join(f"{count} {state}" for state, count in states.items() if count or state == "done"))
    for trial in [t for t in trials if t.error][:5]:
        what = words.clean(f"{trial.trial.get('method')} on {trial.trial.get('view')}")
        say(f"  failed: {what}: {words.clean(trial.error)}")
    if study.summary:
        from smidgen.cli import results

        say()
        results.show(study.summary, Path(study.summary["model"]) if study.summary.get("model") else None)


def remove_study(id: str, url: str | None) -> None:
    with _store(url) as store:
        study = store.study(id)
        count = store.remove(study.id)
    say(f"Removed the study {study.id} and {words.plural(count, 'trial')} that no other study uses. Saved models stay.")


def list_methods() -> None:
    from smidgen.kit import methods

    rows = []
    for name in methods.names():
        card = methods.card(name)
        tasks = "+".join({"classification": "classes", "regression": "numbers"}.get(t, t) for t in card.tasks)
        rows.append([name, tasks, f"needs '{card.extra}'" if card.extra else "", card.tldr])
    say("\n".join(table(rows, ["method", "predicts", "extra", "in one sentence"])))


def show_method(name: str) -> None:
    from smidgen.kit import methods

    name = methods.resolve(name)
    card = methods.card(name)
    say(f"{name}: {card.title}")
    say(card.tldr)
    say()
    facts = [
        ("predicts", ", ".join(card.tasks)),
        ("takes", ", ".join(card.modalities)),
        ("columns as", card.features + (", sparse too" if card.sparse else "")),
        ("needs", f"pip install 'smidgen[{card.extra}]'" if card.extra else ""),
        (
            "at most",
            ", ".join(
                f"{words.whole(v)} {k}"
                for k, v in (("rows", card.max_rows), ("classes", card.max_classes), ("features", card.max_features))
                if v
            ),
        ),
        ("papers", ", ".join(card.papers)),
        ("version", str(card.version)),
    ]
    for key, value in facts:
        if value:
            say(f"{key:<11}{value}")
    module = methods.load(name)
    head = getattr(module, "CLASSIFIER", None) or getattr(module, "REGRESSOR", None)
    rows = settings(getattr(head, "Config", None))
    say()
    if not rows:
        say("It has no settings.")
        return
    say("\n".join(table(rows, ["setting", "type", "default", ""])))
    say(f"Change one with: smidgen fit ... --set {name.rpartition('/')[2]}.{rows[0][0]}={rows[0][2] or 'VALUE'}")


def settings(config: Any) -> list[list[str]]:
    """Name, type, default and comment of each field of a config dataclass; the comments are those beside the fields."""
    import dataclasses
    import inspect

    if config is None or not dataclasses.is_dataclass(config):
        return []
    try:
        source = inspect.getsource(config)  # type: ignore[arg-type]
    except (OSError, TypeError):
        source = ""
    rows = []
    for field in dataclasses.fields(config):
        kind = (
            field.type
            if isinstance(field.type, str)
            else getattr(field.type, "__name__", "")
            if isinstance(field.type, type)
            else str(field.type)
        )
        comment = re.search(rf"^\s+{re.escape(field.name)}\s*:[^#\n]*#\s*(.+)$", source, re.MULTILINE)
        default = "" if field.default is dataclasses.MISSING else str(field.default)
        rows.append([field.name, kind.replace("typing.", ""), default, comment[1].strip() if comment else ""])
    return rows


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
