"""Checkpoints of torch.distributed: written and taken up again, also by its own tools, and refused when damaged."""

import pytest
import torch
import torch.distributed.checkpoint as dcp

from smidgen.kit.errors import BadInput
from smidgen.train.sharding.dcp import read, write


def begun(seed, width=5):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.Tanh(), torch.nn.Linear(width, 1))
    return model, torch.optim.AdamW(model.parameters(), lr=0.1)


def step(model, optimizer):
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_another_run_goes_on_with_it(tmp_path):
    one, other = begun(0), begun(1)
    step(*one)
    write(*one, tmp_path / "saved")
    read(*other, tmp_path / "saved")
    for pair in (one, other):
        step(*pair)  # with the same moments
    assert all(torch.equal(a, b) for a, b in zip(one[0].parameters(), other[0].parameters(), strict=True))
    plain = {"model": {name: torch.zeros_like(p) for name, p in one[0].state_dict().items()}}
    dcp.load(plain, checkpoint_id=str(tmp_path / "saved"), no_dist=True)  # pytorch's own
    again = begun(2)
    read(*again, tmp_path / "saved")
    assert all(torch.equal(plain["model"][n], p) for n, p in again[0].state_dict().items())


def test_what_cannot_be_read_is_said(tmp_path):
    one = begun(0)
    step(*one)
    write(*one, tmp_path / "saved")
    with pytest.raises(BadInput, match="no checkpoint of torch.distributed"):
        read(*one, tmp_path)
    with pytest.raises(BadInput, match="of another model"):
        read(*begun(0, width=6), tmp_path / "saved")
    (data,) = (tmp_path / "saved").glob("*.distcp")
    data.write_bytes(data.read_bytes()[:100])
    other = begun(3)
    before = [p.clone() for p in other[0].parameters()]
    with pytest.raises(BadInput, match="is damaged"):
        read(*other, tmp_path / "saved")
    assert all(torch.equal(a, b) for a, b in zip(before, other[0].parameters(), strict=True))
