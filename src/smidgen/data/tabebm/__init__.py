"""Synthetic rows for small tables from an energy for each class: TabEBM (Margeloiu et al., 2024, arXiv 2409.16118)."""

from smidgen.data.tabebm.model import Augmented, ClassEnergies, TabEBM
from smidgen.data.tabebm.sampler import SGLDSampler

__all__ = ["Augmented", "ClassEnergies", "SGLDSampler", "TabEBM"]
