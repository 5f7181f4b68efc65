"""Makes the model folders that later versions must open: `python tests/studies/old_models/make_models.py`, at each
release that writes one of them otherwise. It adds a folder named by the version and never touches one that is there.

Each kind of model is a folder with `model`, the rows to be predicted (`new.csv`, or pictures in `new`) and `said.json`:
what was predicted. All is made up here.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

import smidgen
from smidgen.data.views.rows import Rows
from smidgen.kit import methods
from smidgen.kit.extras import installed
from smidgen.learn.member import Member
from smidgen.learn.model import Model
from smidgen.tasks.read import read

HERE = Path(__file__).parent
SMALL = {
    "forest": {"trees": 5},
    "extra_trees": {"trees": 5},
    "boosting": {"steps": 8},
    "lightgbm": {"steps": 5},
    "catboost": {"steps": 5},
    "incontext": {"members": 1},
}
WITHOUT = {"tabpfn", "label_spreading"}  # it needs weights that are fetched by hand; rows without labels
GOOD = ["a fine film", "great fun", "i loved it", "a wonderful and warm story", "superb acting", "so good"]
BAD = ["a dull film", "no fun", "i hated it", "an awful and cold story", "terrible acting", "so bad"]
TEXTS = ["a great story", "terrible and dull", "", "awful fun"]


def table(n: int, seed: int) -> pd.DataFrame:
    """Numbers with decimal commas, categories, dates and gaps, and a target of each kind."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    made = pd.DataFrame(
        {
            "height": [f"{v:.3f}".replace(".", ",") for v in x],
            "when": pd.date_range("2024-03-01 06:00", periods=n, freq="31h").strftime("%Y-%m-%d %H:%M"),
            "colour": rng.choice(["red", "blue", "gr\u00fcn"], n),
            "size": rng.normal(size=n).round(3),
            "kind": np.select([x + rng.normal(size=n) / 3 > 0.5, x > -0.5], ["up", "level"], "down"),
            "kwh": (5 * x + rng.normal(size=n)).round(2),
        }
    )
    made.loc[::7, "colour"], made.loc[3::9, "size"] = None, None
    return made


def save(place: Path, task, members: dict[tuple[str, str], dict]) -> None:
    """A model of members: (method, view) and its settings."""
    states = [
        Member(f"learn/{method}", view, task.kind, len(task.classes), given)
        .fit(Rows(task.frame), task.target, task.columns, 1)
        .get_state()
        for (method, view), given in members.items()
    ]
    weights = [2 * (i + 1) / len(states) / (len(states) + 1) for i in range(len(states))]
    Model.assemble(task, states, weights, [0.1] * len(states), {"metric": task.metric}).save(place / "model")


def of_tables(kind: str) -> dict[tuple[str, str], dict]:
    """Every method that learns from a table by itself."""
    out = {}
    for name in methods.names("learn"):
        card, short = methods.card(name), name.removeprefix("learn/")
        here = not card.package or installed(card.package)
        if "table" in card.modalities and kind in card.tasks and short not in WITHOUT and here:
            out[short, card.features] = SMALL.get(short, {})
    return out


def make_classes(place: Path) -> None:
    save(place, read(table(40, 0).drop(columns="kwh"), "kind"), of_tables("classification"))
    table(6, 1).to_csv(place / "new.csv", index=False)


def make_series(place: Path) -> None:
    save(place, read(table(40, 0).drop(columns="kind"), "kwh"), of_tables("regression"))
    table(6, 1).to_csv(place / "new.csv", index=False)


def make_compressed(place: Path) -> None:
    save(
        place,
        read(table(40, 0).drop(columns="kwh"), "kind"),
        {("logistic", "linear"): {}, ("forest", "tree"): SMALL["forest"]},
    )
    (place / "model").rename(place / "whole")
    smidgen.compress(place / "whole", bits=8, calibration=table(30, 2), steps=0, out=place / "model")
    remove(place, "whole")
    table(6, 1).to_csv(place / "new.csv", index=False)


def make_texts(place: Path) -> None:
    rows = pd.DataFrame({"text": GOOD + BAD, "kind": ["good"] * 6 + ["bad"] * 6})
    views = ("minilm", "tfidf", "tfidf_svd")
    save(place, read(rows, "kind"), {("logistic", view): {} for view in views})
    pd.DataFrame({"text": TEXTS}).to_csv(place / "new.csv", index=False)


def make_pictures(place: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)

    def draw(folder: Path, count: int, dark: bool) -> None:
        folder.mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 120, (12, 12, 3)) + (0 if dark else 120)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")

    draw(place / "all" / "dark", 6, True)
    draw(place / "all" / "light", 6, False)
    save(place, read(place / "all"), {("logistic", "pixels"): {}, ("lda", "hog"): {}})
    remove(place, "all")
    draw(place / "new", 3, False)


def make_language(place: Path) -> None:
    from smidgen.lm.model import LanguageModel, save
    from smidgen.lm.tokenizer import train
    from smidgen.nets.decoder import Decoder, DecoderConfig

    made = train([" ".join(GOOD + BAD)] * 9, 280)
    config = DecoderConfig(vocab=made.words, hidden=16, layers=1, heads=2, kv_heads=1, ffn=32, max_len=32)
    save(LanguageModel(Decoder(config, seed=1), made), place / "model")


def make_language_small(place: Path) -> None:
    make_language(place)
    (place / "model").rename(place / "whole")
    (place / "texts.txt").write_text("\n".join(GOOD + BAD) * 3)
    smidgen.compress(place / "whole", bits=8, steps=0, calibration=place / "texts.txt", out=place / "model")
    remove(place, "whole", "texts.txt")


def make_tuned(place: Path) -> None:
    from smidgen.learn.adapter_tuning import AdapterClassifier, TuningConfig
    from smidgen.learn.tuned_folder import save_classifier
    from smidgen.nets.adapters import LoRA

    config = TuningConfig(epochs=2, batch=4, rate=3e-3)
    labels = np.array(["good"] * 6 + ["bad"] * 6)
    save_classifier(AdapterClassifier(encoder(), LoRA(r=1), config).fit(GOOD + BAD, labels), place / "model")
    about = place / "model" / "adapter_config.json"
    told = json.loads(about.read_text())
    about.write_text(json.dumps(told | {"base_model_name_or_path": None}, indent=2))  # where this machine has it


def encoder():
    from smidgen.nets.text_encoder import EncoderConfig, TextEncoder

    return TextEncoder(EncoderConfig(frozen=5, max_tokens=16))


def remove(place: Path, *names: str) -> None:
    import shutil

    for name in names:
        shutil.rmtree(place / name) if (place / name).is_dir() else (place / name).unlink()
    for more in place.glob("*-report.html"):
        more.unlink()


def predicted(place: Path) -> list:
    """What the model of this place says now."""
    if place.name.startswith("language"):
        import torch

        model = loaded(place / "model")
        ids = model.tokenizer.encode("a fine story")
        with torch.no_grad():
            return model.decoder(torch.tensor([ids]))[0, -1].double().tolist()
    if place.name == "tuned":
        from smidgen.learn.tuned_folder import load_classifier

        return load_classifier(place / "model", encoder()).predict_proba(TEXTS).tolist()
    model = loaded(place / "model")
    new = place / "new" if (place / "new").is_dir() else place / "new.csv"
    return (model.predict_proba(new) if model.classes else model.predict(new)).tolist()


def loaded(folder: Path):
    if (folder / "config.json").exists():
        from smidgen.lm.model import load

        return load(folder)
    return smidgen.load(folder)


MAKERS = {
    name.removeprefix("make_").replace("_", "-"): made for name, made in globals().items() if name.startswith("make_")
}


def main(only: list[str]) -> None:
    base = HERE / smidgen.__version__
    for name in only or MAKERS:
        place = base / name
        if place.exists():
            print(f"{place} is there: kept as it is")
            continue
        place.mkdir(parents=True)
        MAKERS[name](place)
        (place / "said.json").write_text(json.dumps(predicted(place)) + "\n")
        print(place, sum(f.stat().st_size for f in place.rglob("*") if f.is_file()), "bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
