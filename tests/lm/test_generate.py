"""Generation against transformers', stop texts, whole characters, and what is refused."""

from dataclasses import replace

import pytest
import torch

from smidgen.cli.main import main
from smidgen.kit.errors import BadInput
from smidgen.lm import model as models
from smidgen.lm import tokenizer
from smidgen.lm.cpu_study import in_dtype
from smidgen.lm.generate import Said, Sampling, chances, complete, next_tokens, stream
from smidgen.lm.model import LanguageModel
from smidgen.nets.decoder import Decoder, DecoderConfig

TOKENIZER = tokenizer.train(["the cat sat on the mat and the rat ☃ é \n" * 20], 290)
CONFIG = DecoderConfig(TOKENIZER.words + 3, 48, 2, 6, 2, 80, 40, init_std=0.3)
MODEL = LanguageModel(Decoder(CONFIG, seed=1), TOKENIZER)
GREEDY = Sampling(temperature=0, max_tokens=12)


def scripted(text: str) -> LanguageModel:
    """A model that says the text after any prompt and then ends: each token's embedding makes its successor certain."""
    ids = [TOKENIZER.end, *TOKENIZER.encode(text), TOKENIZER.end]
    config = DecoderConfig(TOKENIZER.words, 2 * len(ids), 1, 1, 1, 2, 200, tie_embeddings=False)
    model = Decoder(config)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        model.model.norm.weight.fill_(1.0)
        seen = set()
        for place, (now, then) in enumerate(zip(ids, ids[1:], strict=False)):
            assert now not in seen, "every token once"
            seen.add(now)
            model.model.embed_tokens.weight[now, place] = 1.0
            model.output_weight_VD[then, place] = 50.0
    return LanguageModel(model, TOKENIZER)


def test_greedy_is_what_transformers_generates(tmp_path):
    transformers = pytest.importorskip("transformers")
    models.save(MODEL, tmp_path / "m")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    words = transformers.AutoTokenizer.from_pretrained(tmp_path / "m")
    prompt = words("the cat", return_tensors="pt")
    assert prompt["input_ids"][0].tolist() == [TOKENIZER.end, *TOKENIZER.encode("the cat")]
    for penalty in (1.0, 1.5):
        out = theirs.generate(**prompt, max_new_tokens=12, do_sample=False, repetition_penalty=penalty)
        ours = list(
            next_tokens(MODEL.decoder, prompt["input_ids"][0].tolist(), replace(GREEDY, repetition_penalty=penalty))
        )
        assert out[0, prompt["input_ids"].shape[1] :].tolist() == ours and len(ours) == 12
    again = models.load(tmp_path / "m")
    assert complete(again, "the cat", GREEDY) == complete(MODEL, "the cat", GREEDY)
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == [
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip


def test_chances_are_those_of_transformers():
    transformers = pytest.importorskip("transformers")
    logits = torch.randn(50, generator=torch.Generator().manual_seed(0))
    seen = torch.tensor([3, 3, 7, 20])
    steps = [
        transformers.RepetitionPenaltyLogitsProcessor(1.3),
        transformers.TemperatureLogitsWarper(0.7),
        transformers.TopKLogitsWarper(9),
        transformers.TopPLogitsWarper(0.8),
    ]
    expected = logits[None]
    for step in steps:
        expected = step(seen[None], expected)
    got = chances(logits, seen, Sampling(0.7, top_k=9, top_p=0.8, repetition_penalty=1.3))
    torch.testing.assert_close(got, expected[0].softmax(0))
    assert 1 < (got > 0).sum() < 9
    torch.testing.assert_close(chances(logits, seen, Sampling(1.0)), logits.softmax(0))


def test_draws_follow_the_seed_and_stay_among_the_words():
    random = Sampling(5.0, max_tokens=30, seed=4)
    ids = [TOKENIZER.end]
    one, same, other = (
        list(next_tokens(MODEL.decoder, ids, s, words=TOKENIZER.words))
        for s in (random, random, replace(random, seed=5))
    )
    assert one == same != other
    free = [t for seed in range(9) for t in next_tokens(MODEL.decoder, ids, replace(random, seed=seed))]
    kept = [
        t
        for seed in range(40)
        for t in next_tokens(MODEL.decoder, ids, replace(random, seed=seed), words=TOKENIZER.words)
    ]
    assert max(free) >= TOKENIZER.words > max(kept)


def test_the_end_of_a_document_ends_the_text():
    said = Said()
    pieces = list(stream(scripted("a bé☃d"), "", Sampling(0), said))
    assert "".join(pieces) == said.text == "a bé☃d" and said.reason == "end"
    assert "é" in pieces or any("é" in p for p in pieces)
    assert all("\ufffd" not in p for p in pieces)
    assert complete(scripted("a bé☃d"), "", Sampling(0, max_tokens=2)).reason == "length"


@pytest.mark.parametrize(
    ("stop", "text"),
    [(("g",), "abcdef"), (("efx", "cde"), "ab"), (("ij",), "abcdefghijk"[:8]), (("kx",), "abcdefghijk")],
)
def test_nothing_of_a_stop_text_is_given(stop, text):
    said, so_far = Said(), ""
    for piece in stream(scripted("abcdefghijk"), "", Sampling(0, stop=stop), said):
        so_far += piece
        assert not any(s in so_far for s in stop)
    assert so_far == text == said.text
    assert said.reason == ("end" if stop == ("kx",) else "stop")


def test_a_full_context_ends_the_text_and_longer_prompts_are_refused():
    said = complete(MODEL, "the cat", replace(GREEDY, max_tokens=500))
    assert said.reason in ("context", "end")
    ids = [5] * 39
    assert len(list(next_tokens(MODEL.decoder, ids, GREEDY))) == 1
    for prompt, says in (
        (ids + [5], "1 to 39 tokens, got 40"),
        ([], "1 to 39"),
        ([5, CONFIG.vocab], f"got {CONFIG.vocab}"),
    ):
        with pytest.raises(BadInput, match=says):
            next_tokens(MODEL.decoder, prompt, GREEDY)  # at once, not with the first token
    with pytest.raises(BadInput, match="39 tokens"):
        stream(MODEL, "the cat " * 40, GREEDY)


def test_broken_models_and_settings_are_named(tmp_path):
    broken = Decoder(CONFIG)
    with torch.no_grad():
        broken.model.norm.weight[0] = torch.nan
    with pytest.raises(BadInput, match="no numbers"):
        complete(LanguageModel(broken, TOKENIZER), "a", GREEDY)
    with pytest.raises(BadInput, match="do not belong together"):
        LanguageModel(Decoder(replace(CONFIG, vocab=TOKENIZER.words - 1)), TOKENIZER)
    with pytest.raises(BadInput, match="no such model folder"):
        models.load(tmp_path / "no")
    for wrong in (
        {"temperature": -1},
        {"top_p": 0},
        {"top_k": -1},
        {"max_tokens": 0},
        {"stop": ("",)},
        {"temperature": float("nan")},
    ):
        with pytest.raises(BadInput, match=next(iter(wrong))):
            Sampling(**wrong)


def test_the_command_line_takes_all_that_chooses_a_token(tmp_path, capsys):
    models.save(scripted("abcdefghijk"), tmp_path / "m")
    command = ["lm", "generate", str(tmp_path / "m"), "", "--seed", "1"]
    for options, text in (
        (["--temperature", "0"], "abcdefghijk"),
        (["--temperature", "0", "--stop", "x", "--stop", "ef"], "abcd"),
        (["--temperature", "100", "--top-k", "1"], "abcdefghijk"),
        (["--temperature", "100", "--top-p", "0.001"], "abcdefghijk"),
    ):
        assert main([*command, *options]) == 0
        assert capsys.readouterr().out == text + "\n"
    assert main([*command, "--temperature", "100"]) == 0 and capsys.readouterr().out != "abcdefghijk\n"
    assert main([*command, "--repetition-penalty", "0"]) == 2 and "above 0" in capsys.readouterr().err


def test_bfloat16_goes_on_as_float32_does():
    half = LanguageModel(in_dtype(scripted("abcdefghijk").decoder, torch.bfloat16), TOKENIZER)
    assert complete(half, "", Sampling(0)).text == "abcdefghijk"
    assert half.decoder.new_cache(1, 9).bytes * 2 == scripted("abcdefghijk").decoder.new_cache(1, 9).bytes
