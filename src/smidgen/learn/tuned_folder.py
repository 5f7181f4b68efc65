"""A tuned text classifier as a folder: the adapter as PEFT has it, the head, and which encoder they belong to.

`adapter_config.json` and `adapter_model.safetensors` (of full tuning `model.safetensors`), `head.safetensors`,
`classifier.json`. The frozen encoder is not in it: it is named by its hash, and another one is refused. Nothing in a
folder is code.
"""

from pathlib import Path

import numpy as np
import torch

from smidgen.kit.errors import BadInput
from smidgen.kit.files import new_folder, read_json, read_tensors, tensor_bytes, write_bytes, write_json
from smidgen.learn.adapter_tuning import AdapterClassifier, TextNet
from smidgen.nets.adapters import load_adapter
from smidgen.nets.text_encoder import TextEncoder

SCHEMA = 1
HEAD, ABOUT, EMBEDDINGS = "head.safetensors", "classifier.json", "embeddings.safetensors"


def save_classifier(classifier: AdapterClassifier, folder: Path | str) -> None:
    """Writes the folder as a whole, or not at all."""
    net = classifier.net_
    with new_folder(Path(folder)) as place:
        net.body.save(place)
        _write(place / HEAD, net.head)
        if net.embeddings is not None:
            _write(place / EMBEDDINGS, net.embeddings)
        about = {"schema": SCHEMA, "classes": classifier.classes_.tolist(), "encoder": classifier.encoder.identity}
        write_json(place / ABOUT, about)


def load_classifier(folder: Path | str, encoder: TextEncoder) -> AdapterClassifier:
    """The classifier of a folder, to predict with.

    Raises:
        BadInput: another encoder, or cut elsewhere; a file that is damaged.
    """
    folder = Path(folder)
    about = read_json(folder / ABOUT)
    if not isinstance(about, dict) or about.get("schema") != SCHEMA or not isinstance(about.get("classes"), list):
        raise BadInput(f"{folder / ABOUT} is not of a tuned classifier that this version reads.")
    if about.get("encoder") != encoder.identity:
        raise BadInput(
            f"{folder} was tuned on another encoder, or one that was cut or pooled otherwise: give the same."
        )
    body = load_adapter(encoder.upper(), folder)
    out = AdapterClassifier(encoder, body.tuner)
    out.classes_ = np.array(about["classes"])
    out.net_ = TextNet(encoder, body, len(out.classes_))
    _read(folder / HEAD, out.net_.head)
    if out.net_.embeddings is not None:
        _read(folder / EMBEDDINGS, out.net_.embeddings)
    out.net_.eval()
    return out


def _write(path: Path, module: torch.nn.Module) -> None:
    write_bytes(path, tensor_bytes({k: v.detach().cpu().numpy() for k, v in module.state_dict().items()}))


def _read(path: Path, module: torch.nn.Module) -> None:
    given, own = read_tensors(path), module.state_dict()
    if {k: v.shape for k, v in given.items()} != {k: tuple(v.shape) for k, v in own.items()}:
        raise BadInput(f"{path} holds other arrays than this encoder and these classes have.")
    module.load_state_dict({k: torch.from_numpy(v) for k, v in given.items()})
