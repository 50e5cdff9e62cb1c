"""Errors of predicted EFG tensors, in the numbers that NMR reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.efg.tensors import (
    asymmetry,
    orientation_overlap,
    quadrupolar_coupling,
    quadrupolar_frequency,
    well_defined_frame,
)

#: Key and limit of the fractions of ions whose frame is met that well.
OVERLAPS = {'0_9': 0.9, '0_99': 0.99, '0_999': 0.999}


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float('nan')


def _fractions(overlap: np.ndarray) -> dict[str, float]:
    return {f'quaternion_dot_fraction_above_{name}': _mean(overlap >= limit) for name, limit in OVERLAPS.items()}


def efg_errors(predicted: np.ndarray, reference: np.ndarray, isotope: str) -> dict[str, Any]:
    """Errors of predicted tensors, (n, 3, 3) in a.u., against reference ones.

    ω_Q is taken with the field along x, y and z of the Cartesian frame, all three counted alike. C_Q is |C_Q|. The
    fractions of frames with q·q' above a limit are over all ions, as in Harper et al. (2024), and once more under
    ``well_defined_frames`` without ions whose frame is arbitrary, see
    :func:`~aiida_ufpnmr.engine.efg.tensors.well_defined_frame`. Random frames reach 0.9 in 14 % of cases.
    """
    omega = np.stack([quadrupolar_frequency(predicted - reference, field, isotope) for field in np.eye(3)])
    coupling = quadrupolar_coupling(predicted, isotope, False) - quadrupolar_coupling(reference, isotope, False)
    overlap = orientation_overlap(predicted, reference)
    eta = asymmetry(predicted) - asymmetry(reference)
    size = np.linalg.norm(reference)
    defined = well_defined_frame(reference)
    return {
        'omega_q_mae_khz': float(np.abs(omega).mean()),
        'omega_q_rmse_khz': float(np.sqrt((omega**2).mean())),
        'c_q_mae_khz': float(np.abs(coupling).mean()),
        'c_q_rmse_khz': float(np.sqrt((coupling**2).mean())),
        'eta_mae': _mean(np.abs(eta[np.isfinite(eta)])),
        'efg_relative_rmse': float(np.linalg.norm(predicted - reference) / size) if size else float('nan'),
        **_fractions(overlap),
        'well_defined_frames': {'ions': int(defined.sum()), **_fractions(overlap[defined])},
    }


def labelled_tensors(dataset: Dataset, species: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """For each structure: which of its ions of ``species`` have a label, and those labels as (n, 3, 3) in a.u.

    The first are booleans over the ions of the structure; they pick rows of a prediction.
    """
    masks, tensors = [], []
    for atoms in dataset:
        chosen = np.array(atoms.get_chemical_symbols()) == species
        efg = atoms.arrays['efg'][chosen] if 'efg' in atoms.arrays else np.full((chosen.sum(), 3, 3), np.nan)
        mask = ~np.isnan(efg).any(axis=(1, 2))
        masks.append(mask)
        tensors.append(efg[mask])
    return masks, tensors


def dataset_errors(predicted: Sequence[np.ndarray], dataset: Dataset, species: str, isotope: str) -> dict[str, Any]:
    """Errors over all labelled ions of a dataset, and under ``by_group`` for each of its groups.

    Args:
        predicted: for each structure the tensors of all its ions of ``species``, (n_ions, 3, 3) in a.u.
    """
    masks, reference = labelled_tensors(dataset, species)
    predicted = [tensors[mask] for tensors, mask in zip(predicted, masks)]
    group = np.repeat(dataset.groups, [len(tensors) for tensors in reference])
    predicted, reference = np.concatenate(predicted), np.concatenate(reference)
    by_group = {}
    for name in sorted(set(group)):
        chosen = group == name
        by_group[name.replace('.', '_')] = {
            'ions': int(chosen.sum()),
            **efg_errors(predicted[chosen], reference[chosen], isotope),
        }
    return {**efg_errors(predicted, reference, isotope), 'ions': len(reference), 'by_group': by_group}
