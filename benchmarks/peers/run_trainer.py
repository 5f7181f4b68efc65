"""A transformers Llama trained by the Trainer or by a plain loop, in the peers' own environment.

    run_trainer.py plain|trainer SPEC         # SPEC is JSON; prints JSON with tokens_per_second
    run_trainer.py defaults SPEC              # trains on tokens for so many seconds and saves

Speed: `rows` windows of random tokens, two updates to warm up, then `updates`; the fastest counts. "defaults": the
Trainer as it comes (AdamW 5e-5, linear fall, batch 8, clipping 1), with as many updates as `seconds` allow at the speed
of its first ones.
"""

import json
import os
import sys
import tempfile
import time

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments


def model_of(spec):
    config = LlamaConfig(
        vocab_size=spec["vocab"],
        hidden_size=spec["hidden"],
        intermediate_size=spec["ffn"],
        num_hidden_layers=spec["layers"],
        num_attention_heads=spec["heads"],
        num_key_value_heads=spec["kv_heads"],
        max_position_embeddings=spec["max_len"],
        tie_word_embeddings=spec["tie_embeddings"],
        attn_implementation="sdpa",
        bos_token_id=0,
        eos_token_id=0,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config)


class Rows(torch.utils.data.Dataset):
    """Windows of a stream of tokens, in order."""

    def __init__(self, tokens, length):
        self.tokens, self.length = tokens, length

    def __len__(self):
        return len(self.tokens) // self.length

    def __getitem__(self, i):
        ids = torch.from_numpy(self.tokens[i * self.length : (i + 1) * self.length].astype(np.int64))
        return {"input_ids": ids, "labels": ids}


class Times(TrainerCallback):
    def __init__(self):
        self.at = [time.perf_counter()]

    def on_step_end(self, args, state, control, **kwargs):
        self.at.append(time.perf_counter())

    def seconds(self):
        return [b - a for a, b in zip(self.at, self.at[1:], strict=False)]


def plain(spec):
    model = model_of(spec)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    ids = torch.randint(spec["vocab"], (spec["rows"], spec["max_len"]))
    seconds = []
    for _ in range(2 + spec["updates"]):
        start = time.perf_counter()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        seconds.append(time.perf_counter() - start)
    return {"tokens_per_second": ids.numel() / min(seconds[2:])}


def arguments(folder, **more):
    return TrainingArguments(
        output_dir=folder,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        logging_strategy="no",
        **more,
    )


def trainer(spec):
    steps = 2 + spec["updates"]
    tokens = np.random.default_rng(0).integers(0, spec["vocab"], steps * spec["rows"] * spec["max_len"])
    times = Times()
    with tempfile.TemporaryDirectory() as folder:
        args = arguments(folder, per_device_train_batch_size=spec["rows"], max_steps=steps)
        Trainer(model_of(spec), args, train_dataset=Rows(tokens, spec["max_len"]), callbacks=[times]).train()
    return {"tokens_per_second": spec["rows"] * spec["max_len"] / min(times.seconds()[2:])}


def defaults(spec):
    torch.set_num_threads(spec["threads"])
    begun = time.perf_counter()
    rows, times = Rows(np.load(spec["tokens"]), spec["max_len"]), Times()
    with tempfile.TemporaryDirectory() as folder:
        Trainer(model_of(spec), arguments(folder, max_steps=12), train_dataset=rows, callbacks=[times]).train()
        update = sorted(times.seconds()[2:])[5]
        steps = int((spec["seconds"] - (time.perf_counter() - begun)) / update)
        made = Trainer(model_of(spec), arguments(folder, max_steps=steps), train_dataset=rows)
        made.train()
    made.model.save_pretrained(spec["out"])
    return {"updates": steps, "seconds": time.perf_counter() - begun}


if __name__ == "__main__":
    print(json.dumps({"plain": plain, "trainer": trainer, "defaults": defaults}[sys.argv[1]](json.loads(sys.argv[2]))))
