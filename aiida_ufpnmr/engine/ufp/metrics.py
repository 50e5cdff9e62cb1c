"""Errors of a potential on labelled structures."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from aiida_ufpnmr.engine.dataset import Dataset, energy, forces, stress
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.ufp.equations import GPA
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential


def _rmse(errors) -> float | None:
    return float(np.sqrt(np.mean(np.square(errors)))) if len(errors) else None


def _mae(errors) -> float | None:
    return float(np.mean(np.abs(errors))) if len(errors) else None


def potential_errors(predictions: Iterable[tuple[UltraFastPotential, Dataset]]) -> dict:
    """Errors over one or more pairs of a potential and the structures that it is to predict.

    Returns:
        RMSE and MAE of energy (meV/atom; also after the mean offset is taken off, since a constant has no bearing on the
        dynamics), forces (meV/Å; also by species and by group) and stress (GPa). ``None`` where nothing is labelled.
    """
    by_energy, by_stress = [], []
    by_force: list[np.ndarray] = []
    symbols: list[str] = []
    energy_groups: list[str] = []
    groups: list[str] = []
    for potential, dataset in predictions:
        for number, (atoms, group) in enumerate(zip(dataset, dataset.groups)):
            try:
                found = potential.compute(atoms)
            except InputError as error:
                raise InputError(f'{dataset.source}, structure {number}: {error}') from None
            if energy(atoms) is not None:
                by_energy.append(1000 * (found.energy - energy(atoms)) / len(atoms))
                energy_groups.append(group)
            if forces(atoms) is not None:
                by_force.append(1000 * (found.forces - forces(atoms)))
                symbols += atoms.get_chemical_symbols()
                groups += [group] * len(atoms)
            if stress(atoms) is not None and found.stress is not None:
                difference = found.stress - stress(atoms)
                by_stress.append(difference[np.triu_indices(3)] / GPA)
    force_errors = np.concatenate(by_force) if by_force else np.zeros((0, 3))
    symbol, group = np.array(symbols), np.array(groups)
    energy_error, energy_group = np.array(by_energy), np.array(energy_groups)
    return {
        'energy_rmse_meV_per_atom': _rmse(by_energy),
        'energy_mae_meV_per_atom': _mae(by_energy),
        'energy_rmse_after_offset_meV_per_atom': _rmse(np.array(by_energy) - np.mean(by_energy)) if by_energy else None,
        'energy_rmse_meV_per_atom_by_group': {
            str(g): _rmse(energy_error[energy_group == g]) for g in np.unique(energy_group)
        },
        'forces_rmse_meV_per_angstrom': _rmse(force_errors.ravel()),
        'forces_mae_meV_per_angstrom': _mae(force_errors.ravel()),
        'forces_rmse_meV_per_angstrom_by_species': {
            str(s): _rmse(force_errors[symbol == s].ravel()) for s in np.unique(symbol)
        },
        'forces_rmse_meV_per_angstrom_by_group': {
            str(g): _rmse(force_errors[group == g].ravel()) for g in np.unique(group)
        },
        'stress_rmse_GPa': _rmse(np.concatenate(by_stress)) if by_stress else None,
    }
