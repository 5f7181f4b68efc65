"""What of an encoder is tuned: everything, a prefix at each layer, or a low-rank change of some matrices.

Parameters and files are PEFT's (`adapter_config.json`, `adapter_model.safetensors`), so that PEFT reads what is saved
here, and the other way round; files are read as tensors and a few known settings, never as code.

- `FullTuning`: all weights.
- `PrefixTuning`: P-tuning v2 (Liu et al., 2022, arXiv 2110.07602; Li and Liang, 2021, arXiv 2101.00190): m trained keys
  and values of each layer stand before those of the text. They enter where attention is computed, not as a cache of
  past tokens: so positions of the text stay what they were, and any encoder whose attention goes through transformers'
  `AttentionInterface` takes them. Masks are widened by the prefix.
- `LoRA`: W + (alpha / r) B A, B = 0 at first (Hu et al., 2021, arXiv 2106.09685, eq. 3).

Dims: B texts, H heads, S tokens, m tokens of the prefix, K head width, L layers, D = H K.
"""

import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.extras import need
from smidgen.kit.files import read_json, read_tensors
from smidgen.kit.seeds import derive_seed

WHY = "Tuning an adapter"
ATTENTION = "smidgen_prefix"
WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"
_MATRICES = {
    "q": ("query", "q_lin", "q_proj", "q"),
    "k": ("key", "k_lin", "k_proj", "k"),
    "v": ("value", "v_lin", "v_proj", "v"),
    "o": ("attention.output.dense", "out_lin", "o_proj", "o"),
}


@dataclass(frozen=True)
class FullTuning:
    """All weights of the tuned layers."""

    name: str = "full"


@dataclass(frozen=True, kw_only=True)
class PrefixTuning:
    """
    Attributes:
        n_prefix: m. reparameterize: train a small network that makes the prefix, and save what it makes.
        hidden: width of that network; default: D.
    """

    n_prefix: int = 20
    reparameterize: bool = False
    hidden: int | None = None
    name: str = "prefix"

    def __post_init__(self) -> None:
        if self.n_prefix < 1:
            raise bad("n_prefix", "at least 1", self.n_prefix)


@dataclass(frozen=True, kw_only=True)
class LoRA:
    """
    Attributes:
        r: rank. alpha: the change is scaled by alpha / r. targets: "q", "k", "v", "o" of attention, or names of linear
            layers as the encoder has them. dropout: of what enters A.
    """

    r: int = 8
    alpha: float = 16
    targets: tuple[str, ...] = ("q", "v")
    dropout: float = 0.0
    name: str = "lora"

    def __post_init__(self) -> None:
        if self.r < 1 or not self.alpha > 0 or not self.targets:
            raise bad("LoRA", "r of 1 or more, alpha above 0, a target or more", (self.r, self.alpha, self.targets))


Tuner = FullTuning | PrefixTuning | LoRA


class Adapted(nn.Module):
    """An encoder under a tuner: what it trains has `requires_grad`, nothing else does.

    Args:
        model: encoder of transformers, as `TextEncoder.upper` gives it; it is changed.
        seed: of the weights that the tuner adds.

    Raises:
        BadInput: an encoder that has no such matrices, or takes no prefix.
    """

    def __init__(self, model: Any, tuner: Tuner, seed: int = 0) -> None:
        super().__init__()
        self.tuner, self.settings = tuner, model.config
        if isinstance(tuner, FullTuning):
            self.body: Any = model.requires_grad_(True)
            return
        peft = need("peft", extra="tune", why=WHY)
        if isinstance(tuner, PrefixTuning):
            if model.config._attn_implementation != ATTENTION:
                _register()
                model.set_attn_implementation(ATTENTION)
            config = _prefix_config(peft, tuner, model.config)
        else:
            config = peft.LoraConfig(
                task_type="FEATURE_EXTRACTION",
                r=tuner.r,
                lora_alpha=tuner.alpha,
                lora_dropout=tuner.dropout,
                target_modules=_targets(model, tuner.targets),
            )
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of PEFT's calls into transformers
            torch.manual_seed(derive_seed(seed, "adapter", tuner.name))
            self.body = peft.get_peft_model(model, config)
        if isinstance(tuner, PrefixTuning) and not tuner.reparameterize:
            generator = torch.Generator().manual_seed(derive_seed(seed, "prefix"))
            nn.init.normal_(self._prompts.embedding.weight, std=0.02, generator=generator)

    @property
    def _prompts(self) -> Any:
        return self.body.prompt_encoder[self.body.active_adapter]

    def trained(self) -> list[nn.Parameter]:
        """What the tuner trains."""
        return [p for p in self.body.parameters() if p.requires_grad]

    def prefixes(self) -> list[tuple[Tensor, Tensor]]:
        """Keys and values `[1, H, m, K]` of each layer."""
        assert isinstance(self.tuner, PrefixTuning)
        c, m = self.settings, self.tuner.n_prefix
        flat = self._prompts(torch.arange(m)[None].to(self._prompts.embedding.weight.device))
        both = flat.view(1, m, c.num_hidden_layers, 2, c.num_attention_heads, -1)
        kv_LKV1HmK = both.permute(2, 3, 0, 4, 1, 5)
        return [(layer[0], layer[1]) for layer in kv_LKV1HmK]

    def forward(self, x_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        """Hidden states `[B, S, D]` after the tuned layers, of those before them."""
        given = {"inputs_embeds": x_BSD, "attention_mask": mask_BS}
        if not isinstance(self.tuner, PrefixTuning):
            return self.body(**given).last_hidden_state
        prefixes = self.prefixes()
        with _entering(prefixes) as left:
            out = self.body.base_model(**given).last_hidden_state
            if left():
                raise BadInput(
                    f"{left()} of {len(prefixes)} layers of this encoder took no prefix: its attention is its own. Use "
                    "LoRA, or another encoder."
                )
        return out

    def save(self, folder: Path) -> None:
        """Writes PEFT's two files into a folder; of full tuning all weights, as safetensors."""
        if isinstance(self.tuner, FullTuning):
            from safetensors.torch import save_file

            whole = {k: v.detach().contiguous().clone() for k, v in self.body.state_dict().items()}
            save_file(whole, str(folder / "model.safetensors"))
        else:
            self.body.save_pretrained(str(folder), safe_serialization=True)
            (folder / "README.md").unlink(missing_ok=True)  # a form to fill in


def load_adapter(model: Any, folder: Path) -> Adapted:
    """The encoder with the adapter of a folder that `Adapted.save`, or PEFT, wrote.

    Raises:
        BadInput: another kind of adapter, one of another encoder, or weights that are not safetensors.
    """
    folder = Path(folder)
    if (folder / "model.safetensors").is_file():
        whole = {k: torch.from_numpy(v) for k, v in read_tensors(folder / "model.safetensors").items()}
        adapted = Adapted(model, FullTuning())
        _fit(adapted.body.state_dict(), whole, folder)
        adapted.body.load_state_dict(whole)
        return adapted
    if not (folder / WEIGHTS).is_file():
        raise BadInput(f"{folder} holds no {WEIGHTS}: weights of an adapter are read as safetensors only.")
    tuner = _tuner(read_json(folder / SETTINGS), folder)
    adapted = Adapted(model, tuner)
    peft = need("peft", extra="tune", why=WHY)
    weights = {k: torch.from_numpy(v) for k, v in read_tensors(folder / WEIGHTS).items()}
    _fit(peft.get_peft_model_state_dict(adapted.body), weights, folder)
    peft.set_peft_model_state_dict(adapted.body, weights)
    return adapted


def _tuner(settings: dict[str, Any], folder: Path) -> Tuner:
    try:
        kind = settings["peft_type"]
        if kind == "PREFIX_TUNING":  # what a network made is saved as the prefix that it made
            return PrefixTuning(n_prefix=int(settings["num_virtual_tokens"]))
        if kind == "LORA":
            unknown = [k for k in ("use_dora", "use_rslora", "alpha_pattern", "rank_pattern") if settings.get(k)]
            if unknown or settings.get("bias", "none") != "none":
                raise BadInput(f"{folder}: this LoRA has {', '.join(unknown) or 'biases'}, which is not read here.")
            targets = settings["target_modules"]
            if not isinstance(targets, list):
                raise BadInput(f"{folder}: target_modules must be a list of names of layers.")
            return LoRA(r=int(settings["r"]), alpha=float(settings["lora_alpha"]), targets=tuple(map(str, targets)))
    except (KeyError, TypeError):
        raise BadInput(
            f"{folder / SETTINGS} lacks settings of an adapter: the file is damaged or was edited."
        ) from None
    raise bad(f"{folder}: peft_type", "LORA or PREFIX_TUNING", str(kind))


def _fit(own: dict[str, Tensor], given: dict[str, Tensor], folder: Path) -> None:
    if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in given.items()}:
        raise BadInput(f"{folder} holds weights of other names or shapes than this encoder has: give the same encoder.")


def _targets(model: Any, targets: tuple[str, ...]) -> list[str]:
    """Names of linear layers, as this encoder calls them."""
    names = [n for n, module in model.named_modules() if isinstance(module, nn.Linear)]
    out = []
    for target in targets:
        known = _MATRICES.get(target, (target,))
        found = next((k for k in known if any(n == k or n.endswith(f".{k}") for n in names)), None)
        if found is None:
            last = sorted({n.rsplit(".", 1)[-1] for n in names})
            raise bad("targets of LoRA", f"q, k, v, o or {', '.join(last)}", target)
        out.append(found)
    return out


def _prefix_config(peft: Any, tuner: PrefixTuning, config: Any) -> Any:
    return peft.PrefixTuningConfig(
        task_type="FEATURE_EXTRACTION",
        num_virtual_tokens=tuner.n_prefix,
        prefix_projection=tuner.reparameterize,
        encoder_hidden_size=tuner.hidden or config.hidden_size,
        token_dim=config.hidden_size,
        num_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        num_transformer_submodules=1,
    )


_now = threading.local()


class _entering:
    """While it lasts, each attention that is computed takes the next of the prefixes."""

    def __init__(self, prefixes: list[tuple[Tensor, Tensor]]) -> None:
        self.prefixes = list(prefixes)

    def __enter__(self) -> Any:
        self.before, _now.prefixes = getattr(_now, "prefixes", None), self.prefixes
        return lambda: len(self.prefixes)

    def __exit__(self, *_: object) -> None:
        _now.prefixes = self.before


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **given: Any
) -> tuple[Tensor, None]:
    """Attention of transformers, over the prefix as well. Masks are `[B, 1, S, S]`: true, or 0, where one may look."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    prefixes = getattr(_now, "prefixes", None)
    if prefixes is not None:
        if not prefixes:
            raise BadInput("This encoder computes attention more often than it has layers: it takes no prefix.")
        k_1HmK, v_1HmK = prefixes.pop(0)
        key = torch.cat([k_1HmK.expand(len(key), -1, -1, -1).to(key.dtype), key], 2)
        value = torch.cat([v_1HmK.expand(len(value), -1, -1, -1).to(value.dtype), value], 2)
        if attention_mask is not None:
            shape = (*attention_mask.shape[:-1], k_1HmK.shape[2])
            open_ = (
                attention_mask.new_ones(shape)
                if attention_mask.dtype == torch.bool
                else attention_mask.new_zeros(shape)
            )
            attention_mask = torch.cat([open_, attention_mask], -1)
    return sdpa_attention_forward(module, query, key, value, attention_mask, **given)


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
