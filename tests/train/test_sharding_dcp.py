"""What is written for torch.distributed is what its own tools take up."""

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

from smidgen.train.sharding.dcp import write


def begun(seed):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))
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
    weights, state = get_state_dict(*other)
    found = {"model": weights, "optimizer": state}
    dcp.load(found, checkpoint_id=str(tmp_path / "saved"), no_dist=True)
    set_state_dict(*other, model_state_dict=found["model"], optim_state_dict=found["optimizer"])
    for pair in (one, other):
        step(*pair)  # with the same moments
    assert all(torch.equal(a, b) for a, b in zip(one[0].parameters(), other[0].parameters(), strict=True))
