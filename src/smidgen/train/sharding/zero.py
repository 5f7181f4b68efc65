"""ZeRO: data parallelism in which no rank keeps what another one has (Rajbhandari et al., 2019, arXiv 1910.02054).

    zero = ZeroOptimizer(model, torch.optim.AdamW, stage=2, lr=1e-3)
    for batch in batches:                    # each rank its own rows
        zero.backward(loss(model, batch))    # instead of loss.backward()
        zero.clip_grad_norm_(1.0)            # of all ranks; torch's own would see no gradient
        zero.step()
        zero.zero_grad()

Bytes of a rank and volumes: `budget.memory`. A stage moves what a rank keeps, never what is computed: gradients are
summed in the order of ranks, so that stages 2 and 3 give, to the bit, what one process gives that takes the ranks'
batches one after another (clipping apart: its norm adds up other parts first).
"""

import contextlib
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from smidgen.kit.errors import bad
from smidgen.train.sharding import saved
from smidgen.train.sharding.elementwise import needs_whole
from smidgen.train.sharding.flat import FlatPartition
from smidgen.train.sharding.fsdp import FsdpPartition
from smidgen.train.sharding.partition import Own, Partition, storage_bytes
from smidgen.train.sharding.ranks import Ranks

BUCKET_BYTES = 8 << 20
Backend = Literal["native", "fsdp"]


class ZeroOptimizer(Optimizer):
    """An optimizer over a model that all ranks train together.

    Its parameter groups hold this rank's ranges of elements (whole tensors, where those cannot be cut), with the
    settings of the groups that were given; schedules that set `lr` there work as ever. Call `zero_grad` after `step`.

    Args:
        model: on all ranks; rank 0's weights count. Its parameters become views of flat buffers.
        optimizer_cls: its settings follow as `optim_kwargs`.
        stage: what is spread: 0 nothing, 1 optimizer states, 2 gradients too, 3 weights too.
        groups: of parameters of the model, as torch takes them; default: all that need a gradient.
        master_dtype: weights of another type are updated in exact copies of this one; None: as they are.
        bucket_bytes: of a message. offload: exact copies, gradients and states live on the host.
        backend: of stage 3: "native", or "fsdp" (torch's fully_shard).
        modules, outside: of stage 3, see `FlatPartition`.

    Raises:
        BadInput: no process group, an unknown stage or backend, an optimizer whose tensors cannot be cut (see
            `needs_whole`).
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer_cls: type[Optimizer],
        stage: int,
        process_group: Any = None,
        *,
        groups: list[dict[str, Any]] | None = None,
        master_dtype: torch.dtype | None = torch.float32,
        bucket_bytes: int = BUCKET_BYTES,
        offload: bool = False,
        backend: Backend = "native",
        modules: Sequence[nn.Module] | None = None,
        outside: Sequence[str] = (),
        **optim_kwargs: Any,
    ) -> None:
        if stage not in (0, 1, 2, 3):
            raise bad("stage", "0, 1, 2 or 3", stage)
        if bucket_bytes < 1:
            raise bad("bucket_bytes", "at least 1", bucket_bytes)
        self.model, self.stage, self.ranks = model, stage, Ranks(process_group)
        given = groups or [{"params": [p for p in model.parameters() if p.requires_grad]}]
        self.names, trained = _named_groups(model, given)
        whole = [stage > 0 and needs_whole(optimizer_cls, group) for group in given]
        uncut = {name for names, keep in zip(self.names, whole, strict=True) if keep for name in names}
        flat = {"master_dtype": master_dtype, "bucket_bytes": bucket_bytes, "offload": offload, "uncut": uncut}
        self.partition = (
            shard_parameters(model, self.ranks, trained, backend=backend, modules=modules, outside=outside, **flat)
            if stage == 3
            else FlatPartition(model, self.ranks, stage, trained, **flat)
        )
        owns = {name: [own for own in self.partition.owns if own.name == name] for name in trained}
        self.owns: list[list[Own]] = [[o for n in names for o in owns.get(n, ())] for names in self.names]
        settings = [{k: v for k, v in g.items() if k not in ("params", "param_names")} for g in given]
        mine = [{**s, "params": [own.tensor for own in group]} for s, group in zip(settings, self.owns, strict=True)]
        self._finished = True
        super().__init__([dict(group) for group in mine], _defaults(optimizer_cls, optim_kwargs))
        self.inner = optimizer_cls(mine, **optim_kwargs)
        self._adopt()

    @classmethod
    def of(cls, model: nn.Module, optimizer: Optimizer, stage: int, **settings: Any) -> "ZeroOptimizer":
        """In place of an optimizer of this model that has not stepped yet, with its class, groups and settings."""
        known = inspect.signature(type(optimizer)).parameters
        defaults = {k: v for k, v in optimizer.defaults.items() if k in known}
        groups = [dict(group) for group in optimizer.param_groups]
        return cls(model, type(optimizer), stage, groups=groups, **settings, **defaults)

    def backward(self, loss: Tensor, last: bool = False) -> None:
        """Adds the gradients of this rank's loss; stages 2 and 3 bring them to their owners at once.

        Args:
            last: no other micro-batch follows before the step: then stages 0 and 1 do so too, while gradients are made.
        """
        self._finished = False
        self.partition.backward(loss, last)

    @torch.no_grad()
    def finish(self, count: float | None = None) -> None:
        """Gradients of all ranks together, in what each rank owns; once an update (`step` and clipping do it too).

        Args:
            count: they are sums, and this is what to divide by, such as targets of all ranks (`totals`); default: the
                number of ranks, as each loss was a mean over equally many samples.
        Raises:
            UnevenGradients: a parameter has a gradient on some ranks only.
        """
        if self._finished:
            return
        self._finished = True
        self.partition.finish()
        divisor = self.ranks.size if count is None else count
        for own in self.partition.owns:
            if own.tensor.grad is not None and divisor != 1:
                own.tensor.grad.div_(divisor)

    @torch.no_grad()
    def clip_grad_norm_(self, limit: float | None) -> float:
        """The norm of all gradients of all ranks; they are scaled down to the limit where it is larger."""
        self.finish()
        owned = [own.tensor for group in self.owns for own in group if own.tensor.grad is not None]
        norm = float(torch.nn.utils.get_total_norm([t.grad for t in owned if t.grad is not None])) if owned else 0.0
        if self.stage:
            norm = math.sqrt(self.ranks.totals(norm**2)[0])
        if limit is not None and limit < norm < math.inf:
            torch.nn.utils.clip_grads_with_norm_(owned, limit, torch.tensor(norm))
        return norm

    def overflow(self) -> bool:
        """Whether a gradient of any rank is not finite: the same answer on all."""
        return not math.isfinite(self.clip_grad_norm_(None))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Each rank updates what it owns, and all get it. Raises BadInput for a closure, UnevenGradients."""
        if closure is not None:
            raise bad("closure", "none", "one", "Gradients come by `backward`.")
        self.finish()
        self.inner.step()
        self.partition.publish()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets all gradients, which are never kept as zeros."""
        self.partition.drop()
        self._finished = True

    def totals(self, *values: float) -> list[float]:
        """Sums of numbers over the ranks, such as losses and counts."""
        return self.ranks.totals(*values)

    def whole(self) -> contextlib.AbstractContextManager[None]:
        """Inside, the model has all weights (stage 3), to be read; all ranks must go in together."""
        return self.partition.whole()

    def refresh(self) -> None:
        """Takes note of weights that were set in the model from outside (stages 0 to 2)."""
        self.partition.refresh()

    def nbytes(self) -> dict[str, int]:
        """Bytes in the memory of this rank now: "weights" (with exact copies), "grads", "optimizer", "buffers"."""
        states = (t for s in self.inner.state.values() for t in s.values() if isinstance(t, Tensor) and t.dim())
        return {**self.partition.nbytes(), "optimizer": storage_bytes(states)}

    def state_dict(self, consolidate: bool = False) -> dict[str, Any]:  # type: ignore[override]
        """This rank's weights and states as pieces (`saved`), to be stored by each rank.

        Args:
            consolidate: the states whole instead, as the optimizer of one process would have them; on rank 0, and
                nothing on the others. All ranks must call it.
        """
        return saved.consolidated(self) if consolidate else saved.pieces(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes its part of a state of any number of ranks: what `reading.read` gives, or whole states of one process
        (without weights: those come by `saved.load_weights`). Raises BadInput: another model or other groups; parts
        are missing."""
        saved.load(self, state_dict)

    def _adopt(self) -> None:
        """One set of groups and states for both, so that a schedule that changes `lr` is seen by both."""
        self.param_groups, self.state = self.inner.param_groups, self.inner.state


def shard_parameters(
    model: nn.Module,
    group: Any = None,
    trained: set[str] | None = None,
    *,
    backend: Backend = "native",
    modules: Sequence[nn.Module] | None = None,
    outside: Sequence[str] = (),
    **settings: Any,
) -> Partition:
    """Spreads the weights of a model: each module gathers its own before it computes and drops them after.

    Args:
        group: process group, or `Ranks`. trained: names of parameters that get gradients; default: all that need one.
        modules, outside: see `FlatPartition`; settings: master_dtype, bucket_bytes, offload, uncut, of "native" only.
    Raises:
        BadInput: unknown backend; "fsdp" with exact copies of another type, off the device, or with whole tensors.
    """
    ranks = group if isinstance(group, Ranks) else Ranks(group)
    trained = {n for n, p in model.named_parameters() if p.requires_grad} if trained is None else trained
    if backend == "native":
        settings.setdefault("bucket_bytes", BUCKET_BYTES)
        return FlatPartition(model, ranks, 3, trained, modules=modules, outside=outside, **settings)
    if backend != "fsdp":
        raise bad("backend", "native or fsdp", backend)
    wanted = settings.get("master_dtype")
    copies = settings.get("offload") or (wanted and any(p.dtype != wanted for p in model.parameters()))
    if copies or settings.get("uncut"):
        raise bad("backend", f"native, for {'exact copies' if copies else 'tensors that stay whole'}", "fsdp")
    return FsdpPartition(model, ranks, trained, modules=modules, outside=outside)


def _named_groups(model: nn.Module, groups: list[dict[str, Any]]) -> tuple[list[list[str]], set[str]]:
    """Names of the parameters of each group, and of all that are trained. Raises BadInput: one is not the model's."""
    names = {id(p): name for name, p in model.named_parameters()}
    found: list[list[str]] = []
    for group in groups:
        inside = [p[1] if isinstance(p, tuple) else p for p in group["params"]]
        if any(id(p) not in names for p in inside):
            raise bad("groups", "parameters of the model", "another tensor")
        found.append([names[id(p)] for p in inside])
    parameters = dict(model.named_parameters())
    return found, {n for group in found for n in group if parameters[n].requires_grad}


def _defaults(optimizer_cls: type[Optimizer], settings: dict[str, Any]) -> dict[str, Any]:
    return optimizer_cls([nn.Parameter(torch.zeros(1, 1))], **settings).defaults
