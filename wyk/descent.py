"""Two relaxers from the same starts: ours, and the one that CHGNet brings."""

from ase.filters import FrechetCellFilter
from chgnet.model import StructOptimizer
from pymatgen.core import Structure

from wyk import relaxation
from wyk.potential import chgnet

STOCK_STEPS = 500


def stock(structure: Structure) -> relaxation.Relaxed:
    """Relax the primitive cell as `chgnet.model.StructOptimizer` does: FIRE, FrechetCellFilter, the same criterion."""
    cell = structure.get_primitive_structure()
    optimizer = StructOptimizer(model=chgnet(), optimizer_class="FIRE", use_device="cpu")
    result = optimizer.relax(
        cell, fmax=relaxation.FMAX, steps=STOCK_STEPS, ase_filter=FrechetCellFilter, verbose=False
    )
    energies = [energy / len(cell) for energy in result["trajectory"].energies]
    return relaxation.Relaxed(
        result["final_structure"], energies, len(energies) <= STOCK_STEPS, None
    )
