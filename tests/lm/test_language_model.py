"""From a corpus on disk to a model that has learnt from it."""

import gzip
import itertools

import torch

from smidgen.lm import shards, tokenizer
from smidgen.lm.corpus import open_corpus
from smidgen.nets import presets
from smidgen.nets.decoder import Decoder, mean_loss
from smidgen.train.order import Order


def test_a_little_training_lowers_the_loss_of_unseen_text(data_folder, tmp_path):
    with gzip.open(data_folder / "tiny_shakespeare" / "train.txt.gz", "rt") as file:
        text = file.read(250_000)
    (tmp_path / "a.txt").write_text("<|endoftext|>".join(text[i : i + 100] for i in range(0, 200_000, 100)))
    (tmp_path / "b.txt").write_text(text[200_000:])
    words = tokenizer.train((d.text for d in open_corpus([tmp_path / "a.txt"])), 400)
    read = [
        shards.write(
            tmp_path / name,
            (words.encode_document(d.text) for d in open_corpus([tmp_path / f"{name}.txt"])),
            words.words,
            words.identity,
        )
        for name in ("a", "b")
    ]
    assert read[0].documents == 2000
    model = Decoder(presets.geb_mini(2, 64, vocab=words.words, max_len=64))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, betas=(0.9, 0.95))
    held = Order(read[1], 64, 32).at(0)

    def unseen() -> float:
        with torch.no_grad():
            return mean_loss(model, held.ids_BT, held.targets_BT, documents_BT=held.documents_BT).item()

    before = unseen()
    for batch in itertools.islice(Order(read[0], 64, 16).batches(), 60):
        assert batch.documents_BT is not None
        mean_loss(model, batch.ids_BT, batch.targets_BT, documents_BT=batch.documents_BT).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert before > 5.9  # log 400 = 5.99
    assert unseen() < 4.7
