"""GSM8K's questions and answers as tokens: the text that small language models of several claims learn from."""

import functools
from typing import Any


@functools.cache
def tokens(vocab: int = 1024) -> tuple[Any, Any]:
    """Training and test part as int64 tensors, one stream each, in a byte-level BPE that the training part taught.

    Raises:
        BadInput: the data set is not at hand (`tasks.known.folder`).
    """
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    from smidgen.tasks import known

    texts = {p: [f"{r['question']}\n{r['answer']}\n\n" for r in known.lines("gsm8k", p)] for p in ("train", "test")}
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts["train"], trainer)
    train, test = ([i for e in tokenizer.encode_batch(texts[p]) for i in e.ids] for p in ("train", "test"))
    return torch.tensor(train), torch.tensor(test)
