"""Predictions of a potential beside labels, and their errors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.dataset import Dataset, energy, forces, stress
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.ufp.equations import GPA
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential
from aiida_ufpnmr.engine.weights import weight_of


@dataclass(frozen=True)
class Predictions:
    """Predictions of a potential beside the labels, over many structures.

    Attributes:
        energy, energy_label: (m,) eV/atom, of the structures with an energy.
        energy_group: (m,) group of each.
        forces, forces_label: (n, 3) eV/Å, of all atoms with forces.
        species, forces_group: (n,) element and group of each.
        stress, stress_label: (k, 6) GPa, of the structures with a stress; upper triangle row by row.
        stress_group: (k,) group of each.
        energy_weight, forces_weight, stress_weight: (m,), (n,), (k,) weight of the structure of each in a fit.
    """

    energy: np.ndarray
    energy_label: np.ndarray
    energy_group: np.ndarray
    forces: np.ndarray
    forces_label: np.ndarray
    species: np.ndarray
    forces_group: np.ndarray
    stress: np.ndarray
    stress_label: np.ndarray
    stress_group: np.ndarray
    energy_weight: np.ndarray
    forces_weight: np.ndarray
    stress_weight: np.ndarray

    def errors_with_weighted(self) -> dict:
        """:meth:`errors`, with those by weight under ``weighted`` where structures have other weights than 1."""
        differ = (self.energy_weight != 1).any() or (self.forces_weight != 1).any()
        return {**self.errors(), **({'weighted': self.errors(weighted=True)} if differ else {})}

    def errors(self, weighted: bool = False) -> dict:
        """RMSE and MAE; ``None`` where nothing is labelled.

        Energy in meV/atom, also after the mean offset is taken off, since a constant has no bearing on the dynamics;
        forces in meV/Å, also by species; stress in GPa; all by group.

        Args:
            weighted: count structures by their weights instead of all alike.
        """
        energy_weight, forces_weight, stress_weight = (
            weights if weighted else None for weights in (self.energy_weight, self.forces_weight, self.stress_weight)
        )
        by_energy = 1000 * (self.energy - self.energy_label)
        by_force = 1000 * (self.forces - self.forces_label)
        by_stress = self.stress - self.stress_label
        after_offset = by_energy - np.average(by_energy, weights=energy_weight) if len(by_energy) else by_energy
        return {
            'energy_rmse_meV_per_atom': _rmse(by_energy, energy_weight),
            'energy_mae_meV_per_atom': _mae(by_energy, energy_weight),
            'energy_rmse_after_offset_meV_per_atom': _rmse(after_offset, energy_weight),
            'energy_rmse_meV_per_atom_by_group': _by(self.energy_group, by_energy, energy_weight),
            'forces_rmse_meV_per_angstrom': _rmse(by_force, forces_weight),
            'forces_mae_meV_per_angstrom': _mae(by_force, forces_weight),
            'forces_rmse_meV_per_angstrom_by_species': _by(self.species, by_force, forces_weight),
            'forces_rmse_meV_per_angstrom_by_group': _by(self.forces_group, by_force, forces_weight),
            'stress_rmse_GPa': _rmse(by_stress, stress_weight),
            'stress_rmse_GPa_by_group': _by(self.stress_group, by_stress, stress_weight),
        }


def _mean(values: np.ndarray, weights: np.ndarray | None) -> float:
    """Mean over values (m, …), in which each of the m counts by its weight."""
    if weights is not None:
        values = values.reshape(len(values), -1).mean(axis=1)
    return float(np.average(values, weights=weights))


def _rmse(errors: np.ndarray, weights: np.ndarray | None) -> float | None:
    return float(np.sqrt(_mean(errors**2, weights))) if errors.size else None


def _mae(errors: np.ndarray, weights: np.ndarray | None) -> float | None:
    return _mean(np.abs(errors), weights) if errors.size else None


def _by(kinds: np.ndarray, errors: np.ndarray, weights: np.ndarray | None) -> dict[str, float | None]:
    chosen = {str(kind): kinds == kind for kind in np.unique(kinds)}
    return {kind: _rmse(errors[own], None if weights is None else weights[own]) for kind, own in chosen.items()}


def predict(predictions: Iterable[tuple[UltraFastPotential, Dataset]]) -> Predictions:
    """Predictions over one or more pairs of a potential and the structures that it is to predict.

    Raises:
        InputError: a structure that a potential cannot compute; the message names it.
    """
    predictions = list(predictions)
    energies, all_forces, stresses = [], [], []
    energy_groups: list[str] = []
    species: list[str] = []
    forces_groups: list[str] = []
    stress_groups: list[str] = []
    weights: dict[str, list[float]] = {'energy': [], 'forces': [], 'stress': []}
    with progress(sum(len(dataset) for _, dataset in predictions), 'prediction', 'structure') as bar:
        for potential, dataset in predictions:
            rule = None if potential.settings is None else potential.settings.weights
            for number, (atoms, group) in enumerate(zip(dataset, dataset.groups)):
                try:
                    found = potential.compute(atoms)
                except InputError as error:
                    raise InputError(f'{dataset.source}, structure {number}: {error}') from None
                weight = weight_of(atoms, group, rule)
                if (energy_label := energy(atoms)) is not None:
                    weights['energy'].append(weight)
                    energies.append((found.energy / len(atoms), energy_label / len(atoms)))
                    energy_groups.append(group)
                if forces(atoms) is not None:
                    weights['forces'] += [weight] * len(atoms)
                    all_forces.append((found.forces, forces(atoms)))
                    species += atoms.get_chemical_symbols()
                    forces_groups += [group] * len(atoms)
                if (stress_label := stress(atoms)) is not None and found.stress is not None:
                    weights['stress'].append(weight)
                    upper = np.triu_indices(3)
                    stresses.append((found.stress[upper] / GPA, stress_label[upper] / GPA))
                    stress_groups.append(group)
                bar.update()
    force_pairs = [np.concatenate(side) for side in zip(*all_forces)] if all_forces else [np.zeros((0, 3))] * 2
    energy_pairs = np.array(energies).reshape(-1, 2)
    stress_pairs = np.array(stresses).reshape(-1, 2, 6)
    return Predictions(
        energy=energy_pairs[:, 0],
        energy_label=energy_pairs[:, 1],
        energy_group=np.array(energy_groups),
        forces=force_pairs[0],
        forces_label=force_pairs[1],
        species=np.array(species),
        forces_group=np.array(forces_groups),
        stress=stress_pairs[:, 0],
        stress_label=stress_pairs[:, 1],
        stress_group=np.array(stress_groups),
        energy_weight=np.array(weights['energy']),
        forces_weight=np.array(weights['forces']),
        stress_weight=np.array(weights['stress']),
    )


def potential_errors(predictions: Iterable[tuple[UltraFastPotential, Dataset]]) -> dict:
    """Errors of :func:`predict`; see :meth:`Predictions.errors_with_weighted`."""
    return predict(predictions).errors_with_weighted()
