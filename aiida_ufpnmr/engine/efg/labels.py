"""EFG labels of a data set, and checks of what a fit should not learn from."""

from __future__ import annotations

import numpy as np

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.errors import InputError

#: A trace, or an antisymmetric part, above this share of a tensor is no rounding.
TOLERANCE = 1e-2
#: Below this (a.u.) it is, whatever the tensor: some 0.1 kHz in 7Li.
ROUNDING = 1e-5
#: Tensors so many times larger than any others were written in another unit: one atomic unit is 97 V/Å² and 9.7·10²¹
#: V/m².
OTHER_UNIT = 30.0
#: Correlation with a prediction below which labels have the other sign; right ones have +0.9, of a bad model +0.5.
OPPOSITE = -0.5
#: Tensors below this (a.u.), 1 kHz in 7Li, may be as small as they like: those of a site of cubic symmetry.
SMALL = 1e-4
#: No nucleus in a solid has a larger element than this (a.u.); what has is in V/m².
LARGEST = 1e3
_UNITS = 'give all in atomic units (1 a.u. = 97.17 V/Å² = 9.717e21 V/m²)'


def labelled_tensors(dataset: Dataset, species: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Masks of the ions that have a label, and the labels, (n, 3, 3) in a.u., structure by structure.

    A mask is over the ions of ``species`` in its structure, so it picks rows of a prediction.

    Raises:
        InputError: a tensor that is no EFG (with a trace, or not symmetric), or tensors in other units than atomic
            ones as far as that can be told: some unlike the others, or too large for any nucleus.
    """
    masks: list[np.ndarray] = []
    tensors: list[np.ndarray] = []
    for row, atoms in enumerate(dataset):
        chosen = np.array(atoms.get_chemical_symbols()) == species
        efg = atoms.arrays['efg'][chosen] if 'efg' in atoms.arrays else np.full((chosen.sum(), 3, 3), np.nan)
        mask = np.logical_not(np.isnan(efg).any(axis=(1, 2)))
        _check(efg[mask], np.flatnonzero(chosen)[mask], f'{dataset.source}, structure {row}')
        masks.append(mask)
        tensors.append(efg[mask])
    _check_units(tensors, species, dataset.source)
    return masks, tensors


def check_same_unit(tensors: list[np.ndarray], others: list[np.ndarray], source: str, whose: str) -> None:
    """Refuse labels of one file that are in another unit than tensors from elsewhere.

    Args:
        tensors: the labels, a list of (n, 3, 3).
        others: tensors of the size that labels should have, likewise.
        source: the file of the labels.
        whose: what the others are, in words.
    """
    sizes = [np.sqrt(np.mean(np.concatenate(part) ** 2)) for part in (tensors, others)]
    ratio = sizes[0] / sizes[1] if min(sizes) > SMALL else 1.0
    if not 1 / OTHER_UNIT < ratio < OTHER_UNIT:
        raise InputError(f'{source}: efg is {ratio:.3g} times as large as {whose}, as if in another unit; {_UNITS}')


def check_sign(tensors: list[np.ndarray], predicted: list[np.ndarray], source: str) -> None:
    """Refuse labels, (n, 3, 3) each, that are zero throughout or the opposite of what a model predicts for them."""
    labels, found = (np.concatenate(part).ravel() for part in (tensors, predicted))
    if len(labels) and not labels.any():
        raise InputError(f'{source}: efg is zero throughout; leave it out where it was not computed (nine NaN)')
    size = np.linalg.norm(labels) * np.linalg.norm(found)
    if size > 0 and labels @ found < OPPOSITE * size:
        raise InputError(
            f'{source}: efg is the opposite of what the model predicts, as if of the other sign convention; turn the '
            'sign of all of it'
        )


def _check(tensors: np.ndarray, atoms: np.ndarray, where: str) -> None:
    large = np.abs(tensors).max(axis=(1, 2), initial=0) > LARGEST
    if large.any():
        raise InputError(
            f'{where}, atom {int(atoms[np.argmax(large)])}: its efg is larger than that of any nucleus, as if in '
            f'another unit; {_UNITS}'
        )
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
    """Refuse structures, or single ions, that are far larger than all others."""
    norms = [np.linalg.norm(part, axis=(1, 2)) for part in tensors]
    every = np.concatenate(norms)
    if not len(every):
        return
    sizes = np.array([np.sqrt(np.mean(part**2)) if len(part) else 0.0 for part in norms])
    rows = np.argsort(sizes, kind='stable')[np.count_nonzero(sizes <= SMALL) :]
    steps = sizes[rows][1:] / sizes[rows][:-1]
    if len(steps) and steps.max() > OTHER_UNIT:
        below, above = rows[np.argmax(steps)], rows[np.argmax(steps) + 1]
        raise InputError(
            f'{source}, structure {above}: efg of {species} {steps.max():.0f} times as large as in structure {below}, '
            f'as if one of them were in another unit; {_UNITS}'
        )
    most = np.quantile(every[every > SMALL], 0.9) if (every > SMALL).any() else SMALL
    for row, part in enumerate(norms):
        if len(part) and part.max() > OTHER_UNIT * most:
            raise InputError(
                f'{source}, structure {row}: efg of the labelled {species} number {int(np.argmax(part))} is '
                f'{part.max() / most:.0f} times as large as of most others, as if in another unit; {_UNITS}'
            )
