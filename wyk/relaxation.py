"""CHGNet energies and symmetry-keeping relaxation (paper, §3.4 and Appendix E)."""

import contextlib
import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import spglib
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.stress import full_3x3_to_voigt_6_stress
from chgnet.model.model import BatchedGraph, CHGNet
from pymatgen.core import Structure

from wyk.representation import from_structure

POTENTIAL = "CHGNet 0.3.0"  # trained on MP2020-corrected energies: no correction is added
UNTRAINED = frozenset({"Po", "At", "Rn", "Fr", "Ra"})  # of the first 94, not in its training set
FMAX = 0.1  # eV/Å, ASE's criterion over atoms and cell
MAX_STEPS = 500
# Å³ per atom; diamond has 5.7, caesium 116. Outside, a cell has collapsed or blown up.
VOLUMES = (3.0, 200.0)
# Å. pyXtal places atoms exactly; a looser search could take a chance likeness for symmetry.
SYMPREC = 1e-3
# Said on every call, of every start far from its minimum:
warnings.filterwarnings("ignore", "Converting a tensor", module="chgnet")
warnings.filterwarnings("ignore", "FixSymmetry adjust_cell may be ill behaved")
warnings.filterwarnings("ignore", "logm result may be inaccurate")


@dataclass(frozen=True)
class Relaxed:
    """What became of one crystal.

    Attributes:
        structure: relaxed primitive cell; None when there is none to speak of.
        energy_per_atom: eV; NaN without a structure.
        calls: evaluations of the potential; 0 without a structure.
        converged: largest force below FMAX.
        reason: why there is no structure, None when there is one.
    """

    structure: Structure | None
    energy_per_atom: float
    calls: int
    converged: bool
    reason: str | None


class Potential(Calculator):
    """CHGNet as an ASE calculator: energy, forces and stress from one backward pass.

    CHGNet's own calculator differentiates twice with `create_graph=True`, which only training needs.
    """

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """ASE's hook: energy in eV, forces in eV/Å, stress in eV/Å³ (Voigt).

        Raises:
            ValueError: for a volume per atom outside VOLUMES, atoms without a neighbour within CHGNet's 6 Å,
                and energies or forces that are not finite.
        """
        super().calculate(atoms, properties, system_changes)
        volume = atoms.get_volume() / len(atoms)
        # Before the neighbour list of a collapsed cell fills the memory:
        if not VOLUMES[0] < volume < VOLUMES[1]:
            raise ValueError(f"the cell has {volume:.3g} Å³ per atom, outside {VOLUMES}")
        model = chgnet()
        structure = Structure(atoms.cell[:], atoms.numbers, atoms.get_scaled_positions())
        graph = model.graph_converter(structure)
        batch = BatchedGraph.from_graphs(
            [graph], model.bond_basis_expansion, model.angle_basis_expansion, compute_stress=True
        )
        per_atom = model._compute(batch)["e"] + model.composition_model([graph])
        energy = per_atom.sum() * len(atoms)
        (positions,), (strain,) = batch.atom_positions, batch.strains
        gradient, virial = torch.autograd.grad(energy, [positions, strain])
        stress = full_3x3_to_voigt_6_stress(virial.numpy() / atoms.get_volume())
        self.results = {
            "energy": energy.item(),
            "free_energy": energy.item(),
            "forces": -gradient.numpy().astype(float),
            "stress": stress.astype(float),
        }
        if not all(np.isfinite(value).all() for value in self.results.values()):
            raise ValueError("energy or forces are not finite")


@cache
def chgnet() -> CHGNet:
    """The potential on one CPU thread, loaded once per process; isolated atoms are an error to it."""
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()):  # it greets on stdout
        model = CHGNet.load(model_name="0.3.0", use_device="cpu", verbose=False)
    model.graph_converter.set_isolated_atom_response("error")
    return model.eval().requires_grad_(False)


def energy_per_atom(structure: Structure) -> float:
    """CHGNet energy of a crystal as it stands, in eV/atom.

    Raises:
        ValueError: as `Potential.calculate` and `from_structure`, and for elements that CHGNet was not trained on.
    """
    atoms = _primitive(structure)
    atoms.calc = Potential()
    return atoms.get_potential_energy() / len(atoms)


def relax(structure: Structure, max_steps: int = MAX_STEPS) -> Relaxed:
    """Relax positions and cell of a crystal in CHGNet, keeping its space group.

    BFGS on the primitive cell; forces, stress and steps are projected on what the symmetry operations of the
    start leave invariant, so a symmetry can be gained on the way but never lost. Whatever goes wrong ends in
    `reason`, never in an exception.
    """
    try:
        atoms = _primitive(structure)
        atoms.calc = Potential()
        atoms.set_constraint(FixSymmetry(atoms, symprec=SYMPREC))
        optimizer = BFGS(FrechetCellFilter(atoms), logfile=None)
        converged = bool(optimizer.run(fmax=FMAX, steps=max_steps))
        energy = atoms.get_potential_energy() / len(atoms)
        relaxed = Structure(atoms.cell[:], atoms.numbers, atoms.get_scaled_positions())
        from_structure(relaxed)  # refuses atoms that fell on each other
    except Exception as error:
        return Relaxed(None, math.nan, 0, False, str(error) or type(error).__name__)
    return Relaxed(relaxed, energy, optimizer.nsteps + 1, converged, None)


def relax_all(structures: Sequence[Structure]) -> list[Relaxed]:
    """`relax` of each."""
    return [relax(structure) for structure in structures]


def finish(structure: Structure, seed) -> Relaxed:
    """Relaxation without symmetry, from atoms rattled by 0.05 Å; `reason` as for `relax`."""
    try:
        atoms = _primitive(structure)
        atoms.rattle(0.05, rng=np.random.default_rng(seed))
        atoms.calc = Potential()
        optimizer = BFGS(FrechetCellFilter(atoms), logfile=None)
        converged = bool(optimizer.run(fmax=FMAX, steps=MAX_STEPS))
        energy = atoms.get_potential_energy() / len(atoms)
        relaxed = Structure(atoms.cell[:], atoms.numbers, atoms.get_scaled_positions())
    except Exception as error:
        return Relaxed(None, math.nan, 0, False, str(error) or type(error).__name__)
    return Relaxed(relaxed, energy, optimizer.nsteps + 1, converged, None)


def _primitive(structure: Structure) -> Atoms:
    """The primitive cell of an ordered crystal, symmetrised within SYMPREC."""
    from_structure(
        structure
    )  # refuses overlaps, partial occupancy, and NaN, on which spglib crashes
    unknown = {e.symbol for e in structure.elements if e.Z > 94 or e.symbol in UNTRAINED}
    if unknown:
        raise ValueError(f"CHGNet does not know {', '.join(sorted(unknown))}")
    cell = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    lattice, fractional, numbers = spglib.standardize_cell(cell, to_primitive=True, symprec=SYMPREC)
    return Atoms(numbers, cell=lattice, scaled_positions=fractional, pbc=True)
