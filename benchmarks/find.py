"""How well `smidgen papers find` finds: 60 development and 60 judged questions whose answers were set from the specs.

    python benchmarks/find.py tune     # shares of words beside meaning, on the development questions only
    python benchmarks/find.py run      # the judged questions: by words, by meaning, by both; time of a cold answer

Writes results/find.json. `first`: the first hit is an answer; `top 5`: an answer is among five; `rank`: mean of
1 / rank of the first answer.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
import tomllib
from datetime import date
from pathlib import Path

import numpy as np

from smidgen.kit.machine import machine, versions
from smidgen.nets import minilm
from smidgen.papers import catalogue, find

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "find.json"
QUESTION = "few labelled medical images, no GPU"


def questions(kind: str) -> dict[str, list[str]]:
    with (HERE / "questions.toml").open("rb") as file:
        return tomllib.load(file)[kind]


def score(kind: str, rank) -> dict[str, float]:
    """`rank(question)` gives numbers of papers, best first."""
    places = []
    for question, answers in questions(kind).items():
        found = rank(question)
        places.append(min((found.index(a) + 1 for a in answers if a in found), default=10**6))
    places = np.array(places)
    return {
        "first": round(float((places == 1).mean()), 4),
        "top 5": round(float((places <= 5).mean()), 4),
        "rank": round(float((1 / places).mean()), 4),
    }


def by(way: str):
    return lambda question: [c.number for c, _ in find.find(question, catalogue.COUNT, by=way).hits]


def tune() -> None:
    cards = list(catalogue.cards().values())
    encoder = minilm.load()
    known = find.vectors(cards, encoder)
    parts = {}
    for question in questions("development"):
        asked = encoder.encode([question])[0]
        words = np.array(find.word_scores(question, cards))
        parts[question] = known[:, 0] @ asked, known[:, 1] @ asked, words
    for keys in (0.3, 0.5, 0.7):
        for share in (0.0, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6):

            def rank(question: str, keys: float = keys, share: float = share) -> list[str]:
                gives, key, words = parts[question]
                total = (1 - share) * ((1 - keys) * gives + keys * key) + share * words
                return [cards[i].number for i in np.argsort(-total, kind="stable")]

            print(f"keywords {keys}, words {share}: {score('development', rank)}")


def run() -> None:
    out = {way or "both": score("judged", by(way)) for way in ("words", "meaning", "")}
    command = [sys.executable, "-m", "smidgen", "papers", "find", QUESTION]
    spent = []
    for _ in range(8):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        spent.append(time.perf_counter() - start)
    found = {**out, "cold_seconds": statistics.median(spent[1:]), "questions": len(questions("judged"))}
    found |= {"date": date.today().isoformat(), "machine": machine(), "versions": versions()}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("tune", "run"))
    {"tune": tune, "run": run}[parser.parse_args().what]()
