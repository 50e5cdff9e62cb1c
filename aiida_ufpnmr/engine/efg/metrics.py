"""Errors of predicted EFG tensors, as NMR sees them: frequencies, couplings, asymmetries, orientations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.efg.coordination import site_names
from aiida_ufpnmr.engine.efg.labels import labelled_tensors
from aiida_ufpnmr.engine.efg.posterior import frequency_error_khz
from aiida_ufpnmr.engine.efg.tensors import (
    asymmetry,
    orientation_overlap,
    quadrupolar_coupling,
    quadrupolar_frequency,
    to_irreps,
    well_defined_frame,
)
from aiida_ufpnmr.engine.regression.calibration import coverage

#: Key and limit of the fractions of ions whose frame is met that well.
OVERLAPS = {'0_9': 0.9, '0_99': 0.99, '0_999': 0.999}
#: Points of the cumulative distribution of q·q'; no pair of frames has less than 1/2.
OVERLAP_GRID = np.round(np.concatenate([np.linspace(0.5, 0.98, 25), np.linspace(0.985, 1.0, 16)]), 6)
#: Ions are sorted by the extrapolation grade into these.
GRADE_LIMITS = (0.5, 0.75, 1.0, 1.5)
GRADES = ('0_0_to_0_5', '0_5_to_0_75', '0_75_to_1', '1_to_1_5', 'above_1_5')


def _mean(values: np.ndarray, weights: np.ndarray | None) -> float:
    """Mean over values (n, …), in which each of the n ions counts by its weight; NaN over no ions."""
    if not len(values):
        return float('nan')
    if weights is not None:
        values = values.reshape(len(values), -1).mean(axis=1)
    return float(np.average(values, weights=weights))


def _fractions(overlap: np.ndarray, weights: np.ndarray | None) -> dict[str, float]:
    return {
        f'quaternion_dot_fraction_above_{name}': _mean(overlap >= limit, weights) for name, limit in OVERLAPS.items()
    }


def efg_errors(
    predicted: np.ndarray, reference: np.ndarray, isotope: str, weights: np.ndarray | None = None
) -> dict[str, Any]:
    """Errors of predicted tensors, (n, 3, 3) in a.u., against reference ones.

    ω_Q is taken with the field along x, y and z of the Cartesian frame, all three counted alike. C_Q is |C_Q|.
    Components are the five orthonormal ones. The fractions of frames with q·q' above a limit are over all ions, as in
    Harper et al. (2024), and once more under ``well_defined_frames`` without ions whose frame is arbitrary, see
    :func:`~aiida_ufpnmr.engine.efg.tensors.well_defined_frame`. Random frames reach 0.9 in 14 % of cases.

    Args:
        weights: (n,) how much each ion counts; all alike where not given.
    """
    omega = np.stack([quadrupolar_frequency(predicted - reference, field, isotope) for field in np.eye(3)])
    coupling = quadrupolar_coupling(predicted, isotope, False) - quadrupolar_coupling(reference, isotope, False)
    component = to_irreps(predicted - reference)
    overlap = orientation_overlap(predicted, reference)
    eta = asymmetry(predicted) - asymmetry(reference)
    has_eta, defined = np.isfinite(eta), well_defined_frame(reference)
    root = 1.0 if weights is None else np.sqrt(weights)[:, None, None]
    size = np.linalg.norm(root * reference)

    def of(chosen: np.ndarray) -> np.ndarray | None:
        return None if weights is None else weights[chosen]

    def rms(errors: np.ndarray, weights: np.ndarray | None) -> float:
        return float(np.sqrt(_mean(errors**2, weights)))

    return {
        'omega_q_mae_khz': _mean(np.abs(omega).T, weights),
        'omega_q_rmse_khz': rms(omega.T, weights),
        'c_q_mae_khz': _mean(np.abs(coupling), weights),
        'c_q_rmse_khz': rms(coupling, weights),
        'eta_mae': _mean(np.abs(eta[has_eta]), of(has_eta)),
        'eta_rmse': rms(eta[has_eta], of(has_eta)),
        'efg_component_mae_au': _mean(np.abs(component), weights),
        'efg_component_rmse_au': rms(component, weights),
        'efg_relative_rmse': float(np.linalg.norm(root * (predicted - reference)) / size) if size else float('nan'),
        **_fractions(overlap, weights),
        'well_defined_frames': {'ions': int(defined.sum()), **_fractions(overlap[defined], of(defined))},
    }


def overlap_distribution(predicted: np.ndarray, reference: np.ndarray) -> dict[str, list[float]]:
    """Cumulative distribution of q·q': the fraction of ions up to each value of ``quaternion_dot``."""
    overlap = np.sort(orientation_overlap(predicted, reference))
    below = np.searchsorted(overlap, OVERLAP_GRID, side='right') / max(1, len(overlap))
    return {'quaternion_dot': OVERLAP_GRID.tolist(), 'fraction_up_to': below.tolist()}


def dataset_errors(
    predicted: Sequence[np.ndarray],
    dataset: Dataset,
    species: str,
    isotope: str,
    grades: Sequence[np.ndarray] | None = None,
    weights: np.ndarray | None = None,
) -> dict[str, Any]:
    """Errors over all labelled ions of a dataset, and under ``by_group``, ``by_site`` and so on for its parts.

    Those by weight stand under ``weighted``, over all ions and by group, where structures have other weights than 1.

    Args:
        predicted: for each structure the tensors of its labelled ions of ``species``, (n, 3, 3) in a.u.
        grades: for each structure the extrapolation grades (n,) of those ions, for ``by_grade``.
        weights: (structures,) of each structure; all 1 where not given.
    """
    masks, labels = labelled_tensors(dataset, species)
    counts = [len(tensors) for tensors in labels]
    sites = [names[mask] for names, mask in zip(site_names(dataset, species), masks)]
    found, reference = np.concatenate(list(predicted)), np.concatenate(labels)
    parts = {
        'by_group': np.repeat([name.replace('.', '_') for name in dataset.groups], counts),
        'by_site': np.concatenate(sites),
        'by_atoms': np.repeat([str(len(atoms)) for atoms in dataset], counts),
    }
    if grades is not None:
        parts['by_grade'] = np.array(GRADES)[np.digitize(np.concatenate(list(grades)), GRADE_LIMITS)]

    def by(names: np.ndarray, of_ions: np.ndarray | None = None) -> dict[str, Any]:
        errors = {}
        for name in sorted(set(names)):
            own = names == name
            own_weights = None if of_ions is None else of_ions[own]
            errors[str(name)] = {'ions': int(own.sum()), **efg_errors(found[own], reference[own], isotope, own_weights)}
        return errors

    errors = {
        **efg_errors(found, reference, isotope),
        'ions': len(reference),
        'quaternion_dot_distribution': overlap_distribution(found, reference),
        **{key: by(names) for key, names in parts.items()},
    }
    if weights is not None and (weights != 1).any():
        of_ions = np.repeat(weights, counts)
        by_weight = efg_errors(found, reference, isotope, of_ions)
        errors['weighted'] = {**by_weight, 'by_group': by(parts['by_group'], of_ions)}
    return errors


def expected_and_real(
    predicted: np.ndarray, reference: np.ndarray, error: np.ndarray, groups: np.ndarray, isotope: str
) -> dict[str, Any]:
    """Comparison of expected with real errors of ω_Q in kHz, see
    :func:`~aiida_ufpnmr.engine.regression.calibration.coverage`.

    Args:
        predicted, reference: (n, 3, 3) in a.u.
        error: (n,) expected error of a component, a.u.
        groups: (n,) group of each ion.
    """
    omega = np.stack([quadrupolar_frequency(predicted - reference, field, isotope) for field in np.eye(3)], axis=1)
    return coverage(omega.ravel(), np.repeat(frequency_error_khz(error, isotope), 3), np.repeat(groups, 3))
