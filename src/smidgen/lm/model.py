"""A language model as people keep it: a decoder and its tokenizer in one folder that transformers opens."""

from dataclasses import dataclass
from pathlib import Path

from torch.optim import Optimizer

from smidgen.kit.errors import BadInput
from smidgen.kit.files import new_folder, read_json, write_json
from smidgen.lm import tokenizer as tokenizers
from smidgen.lm.tokenizer import Tokenizer
from smidgen.nets import folder as folders
from smidgen.nets.decoder import Decoder, DecoderConfig
from smidgen.train.sharding.saved import as_zero, model_state


@dataclass(frozen=True)
class LanguageModel:
    """Raises BadInput when the tokenizer has ids that the decoder has no embedding for."""

    decoder: Decoder
    tokenizer: Tokenizer

    def __post_init__(self) -> None:
        if self.tokenizer.words > self.decoder.config.vocab:
            raise BadInput(
                f"The tokenizer has {self.tokenizer.words:,} words, the model {self.decoder.config.vocab:,}: "
                "they do not belong together."
            )


def save(model: LanguageModel, folder: Path | str) -> None:
    """Writes config.json, generation_config.json, model.safetensors, tokenizer.json and tokenizer_config.json anew,
    all or nothing; replaces a folder of that name."""
    end = model.tokenizer.end
    with new_folder(Path(folder)) as made:
        folders.write(model.decoder, made, bos=end, eos=end, pad=end)
        config = read_json(made / folders.CONFIG)
        config["smidgen"]["vocabulary"] = model.tokenizer.vocabulary
        write_json(made / folders.CONFIG, config)
        model.tokenizer.write(made, model.decoder.config.max_len)


def load(folder: Path | str) -> LanguageModel:
    """The model of a folder, for use. Raises BadInput: what is missing, damaged, newer or does not match."""
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput(f"{folder}: there is no such model folder. Check the path.")
    decoder, tokenizer = folders.load(folder).eval(), tokenizers.load(folder)
    trained_with = (read_json(folder / folders.CONFIG).get("smidgen") or {}).get("vocabulary", tokenizer.vocabulary)
    if trained_with != tokenizer.vocabulary:
        raise BadInput(
            f"{folder / tokenizers.FILE} is not the tokenizer that this model was trained with: put that back."
        )
    return LanguageModel(decoder, tokenizer)


def whole_of(model: Decoder, optimizer: Optimizer, config: DecoderConfig) -> Decoder:
    """The model with all its weights, where they may be spread over processes; then on rank 0 alone."""
    zero = as_zero(optimizer)
    if zero is None:
        return model
    weights, made = model_state(zero), Decoder(config)
    if weights:
        made.load_state_dict(weights)
    return made
