"""Two processes, with 13 and 27 rows of one batch of 40: what `test_barlow_twins.py` starts.

python barlow_ranks.py FOLDER
"""

import os
import sys
import traceback

import torch
import torch.distributed as dist

from smidgen.learn.barlow_twins import barlow_twins_loss


def plain(z1, z2, lambd):
    """Equations 1 and 2, by autograd."""
    a, b = ((z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt() for z in (z1, z2))
    corr = a.T @ b / len(z1)
    agree = corr.diagonal()
    return (1 - agree).square().sum() + lambd * (corr.square().sum() - agree.square().sum())


def embeddings(rows=40, width=17, dtype=torch.float32):
    g = torch.Generator().manual_seed(0)
    z1 = torch.randn(rows, width, generator=g) * 3 + 5
    return z1.to(dtype), (z1 * 0.3 + torch.randn(rows, width, generator=g)).to(dtype)


def check(rank: int) -> None:
    whole = [z.double().requires_grad_() for z in embeddings()]
    expected = plain(*whole, 0.1)
    expected.backward()
    rows = slice(0, 13) if rank == 0 else slice(13, 40)
    mine = [z[rows].clone().requires_grad_() for z in embeddings()]
    loss = barlow_twins_loss(*mine, lambd=0.1)
    loss.backward()
    assert abs(float(loss.detach()) - float(expected.detach())) < 1e-4
    for a, b in zip(mine, whole, strict=True):  # of the sum over both processes of their equal losses
        assert a.grad is not None and b.grad is not None
        assert torch.allclose(a.grad.double() / 2, b.grad[rows], atol=1e-5 * float(b.grad.abs().max()))


def rank_of(rank: int, place: str) -> None:
    code = 1
    try:
        torch.set_num_threads(1)
        dist.init_process_group("gloo", init_method=f"file://{place}/.meet", rank=rank, world_size=2)
        check(rank)
        dist.destroy_process_group()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    children = [os.fork() or rank_of(r, sys.argv[1]) for r in range(2)]
    failed = [r for r, child in enumerate(children) if os.waitpid(child, 0)[1]]  # pyright: ignore
    sys.exit(f"ranks {failed} failed" if failed else 0)
