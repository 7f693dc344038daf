"""What is known beforehand of elements and space groups, as features for networks."""

import warnings
from collections.abc import Sequence

import gemmi
import torch
import torch.nn.functional as F
from pymatgen.core import Element
from torch import Tensor

from wyk.common import ELEMENTS

VOCABULARY = ELEMENTS[:103]  # H to Lr: no crystal structure of a heavier element is known
OXIDATION_STATES = (-4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 7)


def element_descriptors(elements: tuple[str, ...]) -> Tensor:
    """Standardised properties of elements, (elements, features): where they stand, how big, how greedy."""
    rows = []
    with warnings.catch_warnings(
        action="ignore"
    ):  # pymatgen announces every value it does not have
        for symbol in elements:
            e = Element(symbol)
            states = [float(q in e.common_oxidation_states) for q in OXIDATION_STATES]
            radius = e.atomic_radius or e.atomic_radius_calculated or 1.5
            electronegativity = e.X if e.X == e.X else 0.0  # NaN for most noble gases
            kinds = (e.is_lanthanoid, e.is_actinoid, e.is_transition_metal, e.is_halogen)
            kinds += (e.is_noble_gas, e.is_metalloid, *(e.block == block for block in "spdf"))
            rows.append(
                [e.group, e.row, electronegativity, float(radius), e.mendeleev_no]
                + [*states, *map(float, kinds)]
            )
    features = torch.tensor(rows, dtype=torch.float32).reshape(len(elements), -1)
    return (features - features.mean(0)) / (features.std(0, correction=0) + 1e-6)


def similar_elements(elements: Sequence[str], k: int = 4) -> Tensor:
    """The k nearest elements of each on Pettifor's chemical scale, (elements, k)."""
    scale = torch.tensor([float(Element(symbol).mendeleev_no) for symbol in elements])
    distance = (scale[:, None] - scale).abs().fill_diagonal_(torch.inf)
    return distance.argsort(dim=1, stable=True)[:, :k]


def group_descriptors() -> Tensor:
    """One-hot crystal system, point group and centring, and inversion, of each space group, (231, features)."""
    groups = [gemmi.find_spacegroup_by_number(number) for number in range(1, 231)]
    columns = []
    for names in (
        [g.crystal_system_str() for g in groups],
        [g.point_group_hm() for g in groups],
        [g.hm[0] for g in groups],
    ):
        columns += [[float(name == value) for name in names] for value in sorted(set(names))]
    columns.append([float(g.is_centrosymmetric()) for g in groups])
    columns.append([float(g.is_symmorphic()) for g in groups])
    return F.pad(torch.tensor(columns).T, (0, 0, 1, 0))
