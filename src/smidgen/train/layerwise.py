"""Updates inside the backward pass: each parameter has its own optimizer, which steps as soon as its gradient is there.

Only about one gradient is alive at a time (GaLore, arXiv 2403.03507, section 4.3, after Lv et al., 2023). With
accumulation over micro-batches the gradients live until the last of them, and the update is that of the sum: one step
an update, not one a micro-batch.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from smidgen.kit.errors import BadInput, bad

Group = dict[str, Any]


class Layerwise:
    """What `attach_layerwise` gives. `optimizers` and `schedulers` are by parameter name.

    `count` is the number of updates done.
    """

    def __init__(self, accumulate: int) -> None:
        self.optimizers: dict[str, Optimizer] = {}
        self.schedulers: dict[str, Any] = {}
        self.accumulate = accumulate
        self._arrived: dict[str, int] = {}
        self._updates: dict[str, int] = {}
        self._hooks: list[Any] = []

    @property
    def count(self) -> int:
        return max(self._updates.values(), default=0)

    def _add(self, name: str, parameter: nn.Parameter, optimizer: Optimizer, scheduler: Any) -> None:
        self.optimizers[name] = optimizer
        if scheduler is not None:
            self.schedulers[name] = scheduler
        self._arrived[name] = self._updates[name] = 0

        def arrived(_: Tensor) -> None:
            self._arrived[name] += 1
            if self._arrived[name] >= self.accumulate:
                self._step(name)

        self._hooks.append(parameter.register_post_accumulate_grad_hook(arrived))

    def _step(self, name: str) -> None:
        self.optimizers[name].step()
        self.optimizers[name].zero_grad(set_to_none=True)
        self._arrived[name] = 0
        self._advance(name)

    def _advance(self, name: str) -> None:
        self._updates[name] += 1
        if name in self.schedulers:
            self.schedulers[name].step()

    def finish(self) -> None:
        """Ends an update: steps what waits because a micro-batch did not use it, and brings all schedules level.

        Needed only where some parameters get no gradient in some micro-batches (experts, early exits).
        """
        for name, arrived in self._arrived.items():
            if arrived:
                self._step(name)
        count = self.count
        with _no_order_warning():
            for name in self._updates:
                while self._updates[name] < count:
                    self._advance(name)

    def remove(self) -> None:
        """Takes the hooks off; the model trains as ever again."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def state_dict(self) -> dict[str, Any]:
        """All optimizers and schedules, between two updates. Raises BadInput within one."""
        if any(self._arrived.values()):
            raise BadInput("Some gradients wait for their micro-batches: save between two updates, or after finish().")
        parts = {"optimizers": self.optimizers, "schedulers": self.schedulers}
        saved: dict[str, Any] = {k: {n: v.state_dict() for n, v in part.items()} for k, part in parts.items()}
        return {**saved, "updates": dict(self._updates)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes what `state_dict` gave. Raises BadInput when it is of other parameters."""
        if state["optimizers"].keys() != self.optimizers.keys() or state["schedulers"].keys() != self.schedulers.keys():
            raise bad("layer-wise state", "the parameters of this model", sorted(state["optimizers"])[:5])
        for name, saved in state["optimizers"].items():
            self.optimizers[name].load_state_dict(saved)
        for name, saved in state["schedulers"].items():
            self.schedulers[name].load_state_dict(saved)
        self._updates = dict(state["updates"])


def attach_layerwise(
    model: nn.Module,
    make_optimizer: Callable[[Group], Optimizer],
    make_scheduler: Callable[[Optimizer], Any] | None = None,
    accumulate: int = 1,
    *,
    groups: list[Group] | None = None,
    max_grad_norm: float | None = None,
) -> Layerwise:
    """Lets every backward pass update the model; there is nothing to step or to zero afterwards.

    Args:
        make_optimizer: of a group with one named parameter: `lambda group: GaLoreAdamW([group], lr=1e-2)`.
        make_scheduler: of each optimizer, stepped once an update: `lambda o: LambdaLR(o, factor)`.
        accumulate: micro-batches an update; divide the loss by it, as ever.
        groups: as from `galore_param_groups`; default: all that is trained, without projection.
    Raises:
        BadInput: accumulate below 1; clipping by the norm of all gradients (`max_grad_norm`), which are never there
            at once; a model under data parallelism, where the hook would run before gradients are summed.
    """
    if accumulate < 1:
        raise bad("accumulate", "at least 1 micro-batch", accumulate)
    if max_grad_norm is not None:
        raise bad(
            "max_grad_norm", "None with layer-wise updates", max_grad_norm, "All gradients are never there at once."
        )
    if isinstance(model, nn.parallel.DistributedDataParallel) or any(
        hasattr(p, "device_mesh") for p in model.parameters()
    ):
        raise bad(
            "model", "one process and whole weights", type(model).__name__, "Hooks run before gradients are summed."
        )
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    handle = Layerwise(accumulate)
    for group in groups or [{"params": named}]:
        for place, (name, parameter) in enumerate(group["params"]):
            alone = {**group, "params": [(name, parameter)]}
            if isinstance(group.get("offset"), list):
                alone["offset"] = group["offset"][place]
            optimizer = make_optimizer(alone)
            handle._add(name, parameter, optimizer, make_scheduler(optimizer) if make_scheduler else None)
    return handle


@contextlib.contextmanager
def _no_order_warning() -> Iterator[None]:
    """torch warns of a schedule that steps before its optimizer; a parameter without a gradient does just that."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        yield
