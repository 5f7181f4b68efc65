"""Training a network through d numbers: theta = theta_0 + P(x), with P a fixed random projection (DID), and one
learned scale for each layer (SAID); Aghajanyan et al., 2020, arXiv 2012.13255, section 3, equations 1 to 3.

What is saved of a task is a seed and d numbers. The base is never changed: any number of tuners may share one, and
tied weights count once. Weights are made anew in each forward pass and handed over by `torch.func.functional_call`.

Dims: d numbers that are trained, m groups with a scale, D weights of the base that they reach.
"""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.files import digest, new_folder, read_json, write_bytes, write_json
from smidgen.nets.projections import Kind, projection

SCHEMA = 1
SETTINGS, NUMBERS = "subspace.json", "subspace.safetensors"
Choose = Callable[[str], bool]
Per = Literal["layer", "tensor"]


class SubspaceTuner(nn.Module):
    """A module that trains in d directions; called like the one it wraps.

    Args:
        module: the base; the tuner reads it, gives its device and mode (train or eval) on to it, and changes no weight.
        dim: d, all scales included; what `free` takes is beside it.
        projection: "fastfood", "countsketch" (the fastest) or "dense" (small D only).
        structure_aware: SAID; else DID. per: what has a scale: each block of numbered blocks (and each other module)
            as in the paper, or each tensor as in its authors' code.
        seed: of P.
        include: which parameters move, by name; default: all that require a gradient.
        free: of these, the ones that are trained as they are, a new head for instance. In the paper there are none.

    Attributes:
        vector: float32 `[d - m]`, begins with zeros. scales: float32 `[m]`, begin with ones; None without.
        size: D. groups: names of what has a scale.

    Its own `parameters()` and `state_dict()` are only what is trained, and buffers (running means): the base's stay as
    they were. Weights are added up in float32, also under autocast and beside a base of half precision.

    Raises:
        BadInput: nothing to train; d below 1, above D, or not above m.
    """

    base: nn.Module
    vector: nn.Parameter
    scales: nn.Parameter | None

    def __init__(
        self,
        module: nn.Module,
        dim: int,
        projection: Kind = "fastfood",
        structure_aware: bool = True,
        seed: int = 0,
        include: Choose | None = None,
        free: Choose | None = None,
        per: Per = "layer",
    ) -> None:
        super().__init__()
        if per not in ("layer", "tensor"):
            raise bad("per", "layer or tensor", per)
        self.__dict__["base"] = module  # not a part: its weights are neither trained nor saved
        moving = [n for n, p in module.named_parameters() if _moves(n, p, include)]
        self.free_names = [n for n in moving if free and free(n)]
        self.names = [n for n in moving if n not in set(self.free_names)]
        self.dim, self.seed, self.per = dim, seed, per
        self.kind: Kind = projection
        self._set_up(structure_aware)
        self.train(module.training)

    def _set_up(self, structure_aware: bool) -> None:
        weights = dict(self.base.named_parameters())
        if not self.names:
            raise BadInput("There is no parameter to move: none requires a gradient, or include and free leave none.")
        self.sizes = [weights[n].numel() for n in self.names]
        self.size = sum(self.sizes)
        owners = [n if self.per == "tensor" else layer_of(n) for n in self.names]
        self.groups = list(dict.fromkeys(owners)) if structure_aware else []
        self._group_of = [self.groups.index(g) for g in owners] if structure_aware else []
        m = len(self.groups)
        if not m < self.dim <= self.size:
            why = f"above the {m} scales and at most {self.size:,}, the number of weights"
            raise bad("dim", why, self.dim, "Take per='layer' or no scales for fewer." if m else "")
        self.projection = projection(self.kind, self.dim - m, self.size, self.seed)
        device = weights[self.names[0]].device
        self.projection.to(device)
        self.vector = nn.Parameter(torch.zeros(self.dim - m, device=device))
        self.scales = nn.Parameter(torch.ones(m, device=device)) if m else None
        self.free = nn.ParameterList(
            nn.Parameter(weights[n].detach().to(torch.float32, copy=True)) for n in self.free_names
        )
        saved = self.base.state_dict().keys()
        self.buffer_names = [n for n, _ in self.base.named_buffers() if n in saved]
        for i, n in enumerate(self.buffer_names):
            self.register_buffer(f"buffer_{i}", self.base.get_buffer(n).detach().clone())

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        state = dict(self.weights()) | self._own_buffers()
        return torch.func.functional_call(self.base, state, args, kwargs)

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """(name, weight) of all parameters of the base as they are now, in the base's types; a tied one comes once."""
        own: dict[str, Tensor] = dict(zip(self.free_names, self.free, strict=True))
        with torch.autocast(self.vector.device.type, enabled=False):
            parts = dict(zip(self.names, self.projection(self.vector).split(self.sizes), strict=True))
            scale_of = dict(zip(self.names, self._group_of, strict=True)) if self.scales is not None else {}
            for name, start in self.base.named_parameters():
                start = start.detach()
                if name in parts:
                    move = parts[name].view(start.shape)
                    if self.scales is not None:
                        move = move * self.scales[scale_of[name]]
                    yield name, (start.float() + move).to(start.dtype)
                else:
                    yield name, own[name].to(start.dtype) if name in own else start

    def rate(self, full_rate: float) -> float:
        """The learning rate of Adam at which a step moves weights about as far as `full_rate` does when all are
        trained: sqrt(D / d) of it. A start for a sweep, from a third to three times this."""
        return full_rate * (self.size / self.vector.numel()) ** 0.5

    def optimizer_groups(self, lr: float, *, free_lr: float | None = None, weight_decay: float = 0.0) -> list[dict]:
        """Parameter groups: decay of the vector draws weights to theta_0, that of scales would shrink all moves, so
        there is none; the free parameters have a rate of their own."""
        groups: list[dict] = [{"params": [self.vector], "lr": lr, "weight_decay": weight_decay}]
        if self.scales is not None:
            groups.append({"params": [self.scales], "lr": lr, "weight_decay": 0.0})
        if len(self.free):
            groups.append({"params": list(self.free), "lr": free_lr or lr, "weight_decay": weight_decay})
        return groups

    @torch.no_grad()
    def merge(self) -> nn.Module:
        """A copy of the base with the trained weights in it; tied ones stay tied."""
        made = copy.deepcopy(self.base)
        targets = dict(made.named_parameters())
        for name, weight in self.weights():
            targets[name].copy_(weight)
        for name, buffer in self._own_buffers().items():
            made.get_buffer(name).copy_(buffer)
        return made

    def state_dict_small(self) -> dict[str, Any]:
        """What is saved: seed, dim, vector, scales; also free parameters and buffers that have changed, if any."""
        state: dict[str, Any] = {"seed": self.seed, "dim": self.dim, "vector": self.vector.detach()}
        if self.scales is not None:
            state["scales"] = self.scales.detach()
        state |= {f"free:{n}": p.detach() for n, p in zip(self.free_names, self.free, strict=True)}
        changed = {n: b for n, b in self._own_buffers().items() if not torch.equal(b, self.base.get_buffer(n))}
        return state | {f"buffer:{n}": b for n, b in changed.items()}

    def save(self, folder: Path | str) -> None:
        """Writes the folder anew, whole or not at all: settings as JSON, numbers as safetensors."""
        from safetensors.torch import save

        state = self.state_dict_small()
        tensors = {k: v.cpu().contiguous() for k, v in state.items() if isinstance(v, Tensor)}
        settings = {
            "schema": SCHEMA, "seed": self.seed, "dim": self.dim, "projection": self.kind,
            "structure_aware": self.scales is not None, "per": self.per, "names": self.names, "free": self.free_names,
            "base": self.base_digest(), "probe": self.projection.probe(),
        }  # fmt: skip
        with new_folder(Path(folder)) as made:
            write_json(made / SETTINGS, settings)
            write_bytes(made / NUMBERS, save(tensors))

    @classmethod
    def load(cls, folder: Path | str, module: nn.Module) -> "SubspaceTuner":
        """The tuner of a folder that `save` wrote, on the same base.

        Raises:
            BadInput: another base; a damaged folder; a seed that draws another P here than where it was saved.
        """
        folder = Path(folder)
        s = read_json(folder / SETTINGS)
        try:
            if s["schema"] != SCHEMA:
                raise bad(f"{folder / SETTINGS}: schema", str(SCHEMA), s["schema"], "A newer version wrote it.")
            names, free = set(s["names"]) | set(s["free"]), set(s["free"])
            missing = names - {n for n, _ in module.named_parameters()}
            if missing:
                raise BadInput(f"{folder}: this base has no parameter '{min(missing)}': give the one it was tuned on.")
            tuner = cls(
                module, s["dim"], s["projection"], s["structure_aware"], s["seed"],
                include=names.__contains__, free=free.__contains__, per=s["per"],
            )  # fmt: skip
            probe, base = torch.tensor(s["probe"]), s["base"]
        except (KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"{folder / SETTINGS} is damaged ({str(error)[:80]}): copy it again.") from None
        if base != tuner.base_digest():
            raise BadInput(f"{folder}: this base has other weights than the one that was tuned: give that one.")
        own = torch.tensor(tuner.projection.probe())
        if own.shape != probe.shape or not torch.allclose(own, probe, rtol=1e-3, atol=1e-5 * float(own.abs().max())):
            raise BadInput(f"{folder}: its seed draws another projection here: use the torch version that saved it.")
        tuner._take(folder / NUMBERS)
        return tuner

    @torch.no_grad()
    def _take(self, path: Path) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors = load_file(path)
        except (SafetensorError, OSError) as error:
            raise BadInput(f"{path} is damaged ({str(error)[:80]}): copy it again.") from None
        targets: dict[str, Tensor] = {"vector": self.vector} | self._own_buffers("buffer:")
        targets |= {f"free:{n}": p for n, p in zip(self.free_names, self.free, strict=True)}
        if self.scales is not None:
            targets["scales"] = self.scales
        needed = {k for k in targets if not k.startswith("buffer:")}
        known = needed <= tensors.keys() <= targets.keys()
        if not known or any(t.shape != targets[k].shape for k, t in tensors.items()):
            raise BadInput(f"{path}: its tensors are not those of {SETTINGS} beside it: copy the folder again.")
        for k, t in tensors.items():
            targets[k].copy_(t)

    def base_digest(self) -> str:
        """Of the starting weights that are moved: what a saved vector belongs to."""
        weights = dict(self.base.named_parameters())
        parts = []
        for n in self.names + self.free_names:
            w = weights[n].detach().cpu().contiguous()
            parts += [f"{n} {w.dtype} {tuple(w.shape)}", w.reshape(-1).view(torch.uint8).numpy().tobytes()]
        return digest(*parts)

    def train(self, mode: bool = True) -> "SubspaceTuner":
        self.base.train(mode)
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "SubspaceTuner":
        """Moves the base, and what is trained with it; that stays float32 when the base becomes half precision."""
        buffers = {id(b) for b in self.buffers()}
        self.base._apply(fn, recurse)
        super()._apply(lambda t: fn(t) if id(t) in buffers else t.to(fn(t).device), recurse)
        self.projection.to(self.vector.device)
        return self

    def _own_buffers(self, prefix: str = "") -> dict[str, Tensor]:
        return {prefix + n: self.get_buffer(f"buffer_{i}") for i, n in enumerate(self.buffer_names)}

    def extra_repr(self) -> str:
        return f"{self.dim} of {self.size:,} weights by {self.kind}, {len(self.groups)} scales, seed {self.seed}"


def layer_of(name: str) -> str:
    """The layer of a parameter: up to its first number where blocks are numbered, else the module that owns it."""
    parts = name.split(".")
    number = next((i for i, p in enumerate(parts) if p.isdecimal()), None)
    return ".".join(parts[:-1] if number is None else parts[: number + 1]) or name


def _moves(name: str, p: Tensor, include: Choose | None) -> bool:
    return p.is_floating_point() and (p.requires_grad if include is None else include(name))
