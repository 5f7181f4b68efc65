"""Operations whose file calls fail, each in turn, in a process that was started with the library of `calls`."""

import contextlib
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from calls import FAULTS, Calls
from forks import say

from smidgen.kit.files import write_bytes


class Operation:
    """`run` does it to the folder, which `begin` made ready; `state` says what lies there: "old" or "new", and raises
    where that is not whole. `free`: names that may come and go."""

    free: tuple[str, ...] = ()

    def begin(self, folder: Path) -> None: ...
    def run(self, folder: Path) -> None: ...
    def state(self, folder: Path) -> str: ...


class SaveModel(Operation):
    def __init__(self, model: str) -> None:
        from smidgen.learn.model import Model

        self.model = Model.load(model)

    def save(self, folder: Path, text: str) -> None:
        self.model.about = {"method": text}
        self.model.save(folder / "model", {"report.html": text})

    def begin(self, folder: Path) -> None:
        self.save(folder, "old")

    def run(self, folder: Path) -> None:
        self.save(folder, "new")

    def state(self, folder: Path) -> str:
        from smidgen.learn.model import Model

        found = Model.load(folder / "model").about["method"]
        assert (folder / "model" / "report.html").read_text() == found
        return found


class FirstModel(SaveModel):
    """Where there is none yet."""

    def begin(self, folder: Path) -> None: ...

    def state(self, folder: Path) -> str:
        return super().state(folder) if (folder / "model").exists() else "old"


class WriteReport(Operation):
    def begin(self, folder: Path) -> None:
        write_bytes(folder / "small-report.html", b"old" * 9999)

    def run(self, folder: Path) -> None:
        from smidgen.studies.compressing import _reported

        _reported({}, folder / "small", lambda result: "new" * 9999, 0.0)

    def state(self, folder: Path) -> str:
        data = (folder / "small-report.html").read_bytes()
        assert data in (b"old" * 9999, b"new" * 9999)
        return data[:3].decode()


class FinishTrial(Operation):
    """`again`: whether a process that had an error goes on with what it has open."""

    free = ("runs.db", "runs.db-wal", "runs.db-shm", "runs.db-journal")

    def begin(self, folder: Path) -> None:
        from smidgen.studies.store import RunStore

        self.store = RunStore(folder / "runs.db")
        self.store.finish("kept", self.store.claim("kept", "{}"), self.result())
        self.fence = self.store.claim("k", "{}")

    def result(self):
        from smidgen.studies.result import Result

        return Result(np.full((500, 3), 0.5), 1.0)

    def run(self, folder: Path) -> None:
        assert self.store.finish("k", self.fence, self.result())

    def state(self, folder: Path) -> str:
        from smidgen.studies.store import RunStore

        with RunStore(folder / "runs.db") as other:
            found = other.get(["kept", "k"])
            assert (found["kept"].predictions == 0.5).all()
            with other._db.read() as c:
                assert c.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        if "k" in found:
            assert found["k"].predictions.shape == (500, 3)
        else:
            self.run(folder)  # the process goes on where the disk lets it
        self.store.close()
        return "new" if "k" in found else "old"


class NewStore(FinishTrial):
    """The same from the making of the file on."""

    def begin(self, folder: Path) -> None: ...

    def run(self, folder: Path) -> None:
        from smidgen.studies.store import RunStore

        with RunStore(folder / "runs.db") as store:
            store.finish("k", store.claim("k", "{}"), self.result())

    def state(self, folder: Path) -> str:
        from smidgen.studies.store import RunStore

        with RunStore(folder / "runs.db") as store:
            found = store.get(["k"])
        if not found:
            self.run(folder)
        return "new" if found else "old"


class Compress(Operation):
    free = (".small.compress",)  # what was worked out, for the same command when it is run again

    def __init__(self, model: str) -> None:
        self.model = model

    def begin(self, folder: Path) -> None:
        self.compress(folder, 8)

    def compress(self, folder: Path, bits: float) -> None:
        from smidgen.studies.compressing import compress

        compress(self.model, bits=bits, steps=0, out=folder / "small", render=lambda result: f"{bits}")

    def run(self, folder: Path) -> None:
        self.compress(folder, 6)

    def state(self, folder: Path) -> str:
        from smidgen.learn.model import read_parts

        said = (folder / "small-report.html").read_text()
        read_parts(folder / "small")
        return {"8": "old", "6": "new"}[said]


class Language(Operation):
    """A language model's folder, and its export as one file."""

    def __init__(self, folder: Path) -> None:
        import torch

        from smidgen.lm.model import LanguageModel
        from smidgen.lm.tokenizer import train
        from smidgen.nets.decoder import Decoder, DecoderConfig

        made = train(["a b c d " * 50], 300)
        config = DecoderConfig(vocab=made.words, hidden=16, layers=1, heads=2, kv_heads=2, ffn=32, max_len=16)
        self.models = [LanguageModel(Decoder(config), made) for _ in range(2)]
        with torch.no_grad():
            for weights in self.models[1].decoder.parameters():
                weights += 1.0

    def begin(self, folder: Path) -> None:
        self.write(folder, 0)

    def run(self, folder: Path) -> None:
        self.write(folder, 1)

    def write(self, folder: Path, which: int) -> None:
        from smidgen.lm.model import save

        save(self.models[which], folder / "lm")

    def state(self, folder: Path) -> str:
        from smidgen.lm.model import load

        weights = load(folder / "lm").decoder.state_dict()
        return self.which(lambda own: all((weights[k] == v).all() for k, v in own.decoder.state_dict().items()))

    def which(self, same: Callable) -> str:
        (found,) = [name for name, own in zip(("old", "new"), self.models, strict=True) if same(own)]
        return found


class Export(Language):
    def write(self, folder: Path, which: int) -> None:
        from smidgen.lm.gguf import export

        export(self.models[which], folder / "lm.gguf")

    def state(self, folder: Path) -> str:
        import gguf

        tensors = {t.name: np.array(t.data) for t in gguf.GGUFReader(folder / "lm.gguf").tensors}
        embedding = tensors["token_embd.weight"]
        return self.which(lambda own: (embedding == own.decoder.model.embed_tokens.weight.detach().numpy()).all())


class Adapter(Language):
    """A tuned encoder, whose files PEFT and safetensors write by themselves."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import BertConfig, BertModel

        from smidgen.nets.adapters import Adapted, LoRA

        sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
        self.encoder = lambda: BertModel(BertConfig(vocab_size=9, max_position_embeddings=8, **sizes))
        self.models = [Adapted(self.encoder(), LoRA(r=1), seed) for seed in (0, 1)]
        self.heads = [torch.nn.Linear(8, 2), torch.nn.Linear(8, 2)]

    def write(self, folder: Path, which: int) -> None:
        from smidgen.learn.tuned_folder import save_classifier

        net = SimpleNamespace(body=self.models[which], head=self.heads[which], embeddings=None)
        about = {"classes_": np.array(["a", "b"]), "encoder": SimpleNamespace(identity="e")}
        save_classifier(SimpleNamespace(net_=net, **about), folder / "tuned")

    def state(self, folder: Path) -> str:
        from smidgen.kit.files import read_tensors
        from smidgen.nets.adapters import load_adapter

        head = read_tensors(folder / "tuned" / "head.safetensors")["weight"]
        given = load_adapter(self.encoder(), folder / "tuned").trained()
        found = {
            (head == own.weight.detach().numpy()).all(): name
            for name, own in zip(("old", "new"), self.heads, strict=True)
        }
        own = self.models[("old", "new").index(found[True])].trained()
        assert all((a == b).all() for a, b in zip(given, own, strict=True))
        return found[True]


def fail_each(operation: str, folder: str, model: str, step: int) -> int:
    """Says one JSON line for each fault at each `step`-th call: what was said, what lay there."""
    kind = globals()[operation]
    if issubclass(kind, SaveModel | Compress):
        made = kind(model)
    else:
        made = kind(Path(folder)) if issubclass(kind, Language) else kind()
    for fault in FAULTS:
        for nth in itertools.count(1, step):
            place = Path(folder) / f"{fault}-{nth}".replace(" ", "_").replace(",", "")
            place.mkdir()
            row = fail(made, place, fault, nth)
            say(json.dumps({"fault": fault, "nth": nth, **row}))
            if row["clean"]:
                break
    return 0


def fail(made: Operation, place: Path, fault: str, nth: int) -> dict[str, Any]:
    from smidgen.cli import main as cli

    made.begin(place)
    before = {p.name for p in place.iterdir()}
    calls, error, met = Calls(), io.StringIO(), []

    def run(args, **_) -> int:
        calls.arm(place, nth, *FAULTS[fault])
        try:
            made.run(place)
        finally:
            met.append(calls.disarm()[1])
        return 0

    cli.app = run
    with contextlib.redirect_stderr(error):
        try:
            status = cli.main([])
        except BaseException as other:
            status = f"{type(other).__name__}: {other}"
    left = sorted((before ^ {p.name for p in place.iterdir()}) - set(made.free))
    try:
        state = made.state(place)
    except BaseException as other:
        state = f"{type(other).__name__}: {other}"
    said = error.getvalue().splitlines()
    return {"status": status, "said": said, "state": state, "left": left, "clean": not met[0]}
