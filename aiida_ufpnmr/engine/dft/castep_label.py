"""From the files of a CASTEP run to a labelled structure with its sites in their own order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from aiida_ufpnmr.engine.dataset import bare
from aiida_ufpnmr.engine.dft.castep import CastepRun, Ions, require_labels
from aiida_ufpnmr.engine.dft.castep_sites import check_cell, site_of_each_ion
from aiida_ufpnmr.engine.dft.magres import Tensors


def castep_label(
    structure: Atoms,
    species: Sequence[str],
    run: CastepRun,
    tensors: Tensors | None = None,
    stress: bool = True,
    source: str = '.castep file',
    tensor_source: str = '.magres file',
) -> Atoms:
    """The structure with the labels of one run, in the order of its sites.

    Args:
        structure: what CASTEP was asked to compute.
        species: CASTEP's name of the species of each site.
        run: energy, forces and stress.
        tensors: EFG tensors; ``None`` leaves them out.
        stress: whether there must be a stress.
        source, tensor_source: what to call the files in messages.

    Returns:
        atoms with energy and free energy (eV), forces (eV/Å) and stress (eV/Å³, ASE sign) in their calculator, and
        ``arrays['efg']`` in a.u. where ``tensors`` are given.

    Raises:
        WrongStructure: a file speaks of another structure.
        MissingLabel: energy, forces or, where asked for, stress are not there.
    """
    require_labels(run, stress, source)
    check_cell(structure, run.cell, source)
    site_of_each_ion(structure, species, run.ions, run.fractional @ structure.cell.array, source)
    labelled = bare(structure)
    site = site_of_each_ion(structure, species, run.force_ions, None, source)
    forces = _at_sites(np.asarray(run.forces), site)
    results = {'energy': run.energy, 'free_energy': run.free_energy, 'forces': forces}
    if run.stress is not None:
        results['stress'] = full_3x3_to_voigt_6_stress(run.stress)
    labelled.calc = SinglePointCalculator(labelled, **results)
    if tensors is not None:
        ions = Ions(tensors.labels, tensors.numbers)
        check_cell(structure, tensors.cell, tensor_source)
        site = site_of_each_ion(structure, species, ions, tensors.positions, tensor_source)
        labelled.new_array('efg', _at_sites(tensors.efg, site))
    return labelled


def _at_sites(rows: np.ndarray, site: np.ndarray) -> np.ndarray:
    ordered = np.empty_like(rows)
    ordered[site] = rows
    return ordered
