"""Products of few shapes: what oneDNN makes ready for each shape stays in memory."""

import torch

from smidgen.nets.fused import _blocks, document_starts


def test_documents_bring_no_new_shapes_of_products():
    random = torch.Generator().manual_seed(0)
    shapes = set()
    for _ in range(50):
        starts_BT = document_starts((torch.rand(4, 200, generator=random) < 0.02).long().cumsum(1))
        for first, end, lowest in _blocks(200, starts_BT):
            assert lowest <= int(starts_BT[:, first:end].min())
            shapes.add((end - first, end - lowest))
    assert len(shapes) <= 4 + 3 + 2 + 1
