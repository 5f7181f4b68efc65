"""`compress` on folders of transformers: exact sizes, packed folders that open again, clear errors for bad input."""

import json
from pathlib import Path

import pytest
import torch

from smidgen.cli.main import main
from smidgen.compress.allocate import Infeasible
from smidgen.kit.errors import BadInput
from smidgen.nets.packed_pretrained import from_pretrained
from smidgen.studies.compress_texts import split, texts_of
from smidgen.studies.compressing import compress

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal model whose head shares the embedding's weight."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        num_hidden_layers=1, hidden_size=64, intermediate_size=192, num_attention_heads=4, vocab_size=200,
        tie_word_embeddings=True, max_position_embeddings=48, bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3 if p.dim() > 1 else 1)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model.save_pretrained(folder)
    return folder


def on_disk(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def test_the_folder_is_as_small_as_asked_and_opens_again(tiny: Path, tmp_path: Path) -> None:
    state = torch.get_rng_state()
    found = compress(tiny, size="40KB", steps=6, out=tmp_path / "small")
    assert torch.equal(torch.get_rng_state(), state)  # the person's own random numbers go on as they would have
    assert found["bytes"] == on_disk(tmp_path / "small")
    assert 39_600 <= found["bytes"] <= 40_000  # within 1 % below
    assert found["loss_after"] >= found["loss_before"] > 0 and found["own_calibration"]
    assert any("--calibration" in note for note in found["notes"])
    shared = [layer for layer in found["layers"] if layer["shared_with"]]
    assert [layer["shared_with"] for layer in shared] == [["lm_head"]]

    ids = torch.randint(200, (3, 20), generator=torch.Generator().manual_seed(1))
    small = from_pretrained(tmp_path / "small")
    with torch.no_grad():
        said, was = small(ids).logits, from_pretrained(tiny)(ids).logits
    assert 0.5 < torch.nn.functional.cosine_similarity(said.flatten(), was.flatten(), dim=0) < 1
    held = {id(b): b.numel() * b.element_size() for b in [*small.parameters(), *small.buffers()]}
    assert sum(held.values()) < 1.15 * (tmp_path / "small" / "model.safetensors").stat().st_size
    assert small.lm_head.weight is small.model.embed_tokens.weight


def test_bits_and_a_dry_run(tiny: Path, tmp_path: Path) -> None:
    planned = compress(tiny, bits=3.5, dry_run=True, out=tmp_path / "none")
    assert not (tmp_path / "none").exists() and planned["smallest"] < planned["would_be"]
    found = compress(tiny, bits=3.5, steps=0, out=tmp_path / "b")
    assert found["bytes"] == planned["would_be"] == on_disk(tmp_path / "b")
    assert 3.3 < found["bits_per_weight"] <= 3.5


def test_a_shared_weight_that_is_kept_is_shared_again(tiny: Path, tmp_path: Path) -> None:
    found = compress(tiny, bits=16, steps=0, out=tmp_path / "whole")
    assert {layer["format"] for layer in found["layers"] if layer["shared_with"]} == {"float16"}
    whole, ids = from_pretrained(tmp_path / "whole"), torch.arange(20)[None]
    with torch.no_grad():
        torch.testing.assert_close(whole(ids).logits, from_pretrained(tiny)(ids).logits, rtol=1e-2, atol=1e-2)
    assert whole.lm_head.weight is whole.model.embed_tokens.weight


def test_what_cannot_be_is_said(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(Infeasible, match="smallest reachable is [0-9,]+ bytes"):
        compress(tiny, size="9KB", out=tmp_path / "x")
    with pytest.raises(BadInput, match="one limit"):
        compress(tiny, size="1MB", bits=3)
    with pytest.raises(BadInput, match="the model itself"):
        compress(tiny, size="1MB", out=tiny)
    with pytest.raises(BadInput, match="no such model folder"):
        compress(tmp_path / "nothing", bits=4)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with pytest.raises(BadInput, match="no compression wrote"):
        compress(tiny, bits=4, out=tmp_path / "full")
    (tmp_path / "full" / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')  # another model, say
    with pytest.raises(BadInput, match="no compression wrote"):
        compress(tiny, bits=4, out=tmp_path / "full")
    with pytest.raises(BadInput, match="no compression wrote"):
        compress(torch.nn.Linear(64, 64), bits=4, out=tmp_path / "full")
    assert (tmp_path / "full" / "letter.txt").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full"]


def test_damaged_models_end_in_one_sentence(tiny: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    cut = tmp_path / "cut"
    shutil.copytree(tiny, cut)
    data = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(BadInput, match="damaged or not whole"):
        compress(cut, bits=4, out=tmp_path / "x")

    nan = tmp_path / "nan"
    shutil.copytree(tiny, nan)
    state = load_file(nan / "model.safetensors")
    state["model.layers.0.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(state, nan / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadInput, match="layers.0.mlp.up_proj holds NaN"):
        compress(nan, bits=4, out=tmp_path / "x")

    del state["model.layers.0.mlp.up_proj.weight"]
    save_file(state, nan / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadInput, match="lack 1 of the weights .* model.layers.0.mlp.up_proj.weight"):
        compress(nan, bits=4, out=tmp_path / "x")

    compress(tiny, bits=4, steps=0, out=tmp_path / "packed")
    with pytest.raises(BadInput, match="quantized already"):
        compress(tmp_path / "packed", bits=3, out=tmp_path / "x")
    config = json.loads((tmp_path / "packed" / "config.json").read_text())
    config["quantization_config"]["layers"]["model.layers.0.mlp.up_proj"]["format"] = "int3/64"
    (tmp_path / "packed" / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput):
        from_pretrained(tmp_path / "packed")


def test_the_command_prints_one_object_and_writes_a_report(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small"
    assert main(["compress", str(tiny), "--bits", "4", "--steps", "2", "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found)[:3] == ["model", "bytes", "bits_per_weight"]
    assert {"loss_before", "loss_after", "layers", "seconds"} <= set(found)
    assert {"name", "format", "bits"} <= set(found["layers"][0])
    page = Path(found["report"]).read_text()
    assert "Size against loss" in page and "model.layers.0.mlp.up_proj" in page and len(page) < 200_000


def test_texts_are_found_in_files(tmp_path: Path) -> None:
    lines = [f"text number {i}" for i in range(12)]
    (tmp_path / "a.txt").write_text("\n".join([*lines, "", lines[0]]))
    assert texts_of(tmp_path / "a.txt") == lines
    (tmp_path / "b.csv").write_text("label,review\n" + "\n".join(f"good,{t}" for t in lines))
    assert texts_of(tmp_path / "b.csv") == lines
    with pytest.raises(BadInput, match="at least 8"):
        texts_of(lines[:3])
    with pytest.raises(BadInput, match="no such file"):
        texts_of(tmp_path / "c.txt")
    with pytest.raises(BadInput, match="one of label, review"):
        texts_of(tmp_path / "b.csv", "text")
    learn, choose, check = split(lines, (100, 100, 3))
    assert len(check) == 3 and not set(learn) & {*choose, *check} and not set(choose) & set(check)
