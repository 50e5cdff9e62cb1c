"""EFG labels of a data set, checked for what a fit should not learn from."""

from __future__ import annotations

import numpy as np

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.errors import InputError

#: A trace, or an antisymmetric part, above this share of a tensor is no rounding.
TOLERANCE = 1e-2
#: Below this (a.u.) it is, whatever the tensor: some 0.1 kHz in 7Li.
ROUNDING = 1e-5
#: A structure whose tensors are so many times larger than those of most others was written in another unit: one atomic
#: unit is 97 V/Å² and 9.7·10²¹ V/m². Less would also be met by an ion on a site of near cubic symmetry among others.
OTHER_UNIT = 40.0


def labelled_tensors(dataset: Dataset, species: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """For each structure: which of its ions of ``species`` have a label, and those labels as (n, 3, 3) in a.u.

    The first are booleans over the ions of the structure; they pick rows of a prediction.

    Raises:
        InputError: a tensor that is no EFG (with a trace, or not symmetric), or structures in different units.
    """
    masks, tensors = [], []
    for row, atoms in enumerate(dataset):
        chosen = np.array(atoms.get_chemical_symbols()) == species
        efg = atoms.arrays['efg'][chosen] if 'efg' in atoms.arrays else np.full((chosen.sum(), 3, 3), np.nan)
        mask = ~np.isnan(efg).any(axis=(1, 2))
        _check(efg[mask], np.flatnonzero(chosen)[mask], f'{dataset.source}, structure {row}')
        masks.append(mask)
        tensors.append(efg[mask])
    _check_units(tensors, species, dataset.source)
    return masks, tensors


def _check(tensors: np.ndarray, atoms: np.ndarray, where: str) -> None:
    limit = np.maximum(TOLERANCE * np.linalg.norm(tensors, axis=(1, 2)), ROUNDING)
    trace = np.abs(np.trace(tensors, axis1=1, axis2=2))
    skew = np.linalg.norm(tensors - tensors.swapaxes(1, 2), axis=(1, 2))
    for excess, words in (
        (trace > limit, 'has a trace, which no EFG has; take a third of it off the diagonal, or relabel'),
        (skew > limit, 'is not symmetric, which every EFG is; check the order of the nine numbers, or relabel'),
    ):
        if excess.any():
            raise InputError(f'{where}, atom {int(atoms[np.argmax(excess)])}: its efg {words}')


def _check_units(tensors: list[np.ndarray], species: str, source: str) -> None:
    sizes = np.array([np.sqrt(np.mean(np.sum(t**2, axis=(1, 2)))) if len(t) else np.nan for t in tensors])
    if not (sizes > 0).any():
        return
    typical = np.median(sizes[sizes > 0])
    for row in np.flatnonzero(sizes > OTHER_UNIT * typical):
        raise InputError(
            f'{source}, structure {row}: efg of {species} {sizes[row] / typical:.0f} times as large as in most '
            'structures, as if in another unit; give all in atomic units (1 a.u. = 97.17 V/Å² = 9.717e21 V/m²)'
        )
