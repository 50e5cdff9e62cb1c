"""Combinations of channels that a model keeps: those that carry most of what its training structures hold.

Uncentred principal components (Goscinski, Musil, Pozdnyakov, Nigam & Ceriotti, J. Chem. Phys. 155, 104106 (2021)). They
see structures only, never labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from ase.data import atomic_numbers

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.efg.descriptors import Expansion
from aiida_ufpnmr.engine.efg.environments import Environments, Representation, centres
from aiida_ufpnmr.engine.efg.messages import RANK_MAX, RANKS, message_pairs
from aiida_ufpnmr.engine.neighbours import Surroundings, surroundings
from aiida_ufpnmr.engine.progress import progress

#: Surroundings, index of each atom's species, and indices of the labelled ions, structure by structure.
Views = Callable[[str], Iterator[tuple[Surroundings, np.ndarray, np.ndarray]]]


def represent(
    expansion: Expansion,
    dataset: Dataset,
    species: str,
    masks: list[np.ndarray],
    weights: np.ndarray,
    mixed: int,
    message_channels: int,
) -> tuple[Representation, list[Environments]]:
    """The representation that suits a training set, and its labelled ions in it.

    Args:
        masks: for each structure, which of its ions of ``species`` have a label.
        weights: of the structures.
        mixed: combinations of channels for each l.
        message_channels: those that a neighbour tells, of each rank; 0 for none.
    """
    number = atomic_numbers[species]

    def views(description: str) -> Iterator[tuple[Surroundings, np.ndarray, np.ndarray]]:
        with progress(len(dataset), description, 'structure') as bar:
            for atoms, mask in zip(dataset, masks):
                ions = np.flatnonzero(atoms.numbers == number)[mask]
                seen = centres(ions, len(atoms), message_channels)
                around = surroundings(atoms.positions, atoms.cell.array, atoms.pbc, expansion.cutoff, seen)
                yield around, expansion.species_indices(atoms.numbers), ions
                bar.update()

    found = principal_channels(expansion, views, weights, mixed, message_channels)
    return normalised(found, [found.environments(*view) for view in views('features')], weights)


def principal_channels(
    expansion: Expansion, views: Views, weights: np.ndarray, mixed: int, message_channels: int
) -> Representation:
    """The representation by the combinations of channels that carry most of the density, around ions and all atoms."""
    n_species, n = len(expansion.known_species), expansion.channels
    own = np.zeros((expansion.l_max + 1, n, n))
    told = np.zeros((len(RANKS), n_species, n, n))
    for (around, species, ions), weight in zip(views('channels'), weights):
        if message_channels:
            found = expansion.coefficients_from(around, species, RANK_MAX)
            for k, rank in enumerate(RANKS):
                for s in range(n_species):
                    _add(told[k, s], found[species == s], rank, weight)
            around = around.of(ions)
        found = expansion.coefficients_from(around, species)
        for l, target in enumerate(own):
            _add(target, found, l, weight)
    own = np.linalg.eigh(own)[1]
    values, told = np.linalg.eigh(told)
    # the first combination of each neighbour species has unit variance
    largest = values[..., -1, None, None]
    told = told / np.sqrt(np.where(largest > 0, largest, 1.0))
    first = lambda vectors, count: np.ascontiguousarray(vectors[..., ::-1][..., : min(count, n)])  # noqa: E731
    return Representation(expansion, first(own, mixed), first(told, message_channels))


def _add(target: np.ndarray, coefficients: np.ndarray, l: int, weight: float) -> None:
    block = coefficients[:, l * l : (l + 1) ** 2].reshape(-1, len(target))
    target += weight * (block.T @ block)


def normalised(
    representation: Representation, environments: list[Environments], weights: np.ndarray
) -> tuple[Representation, list[Environments]]:
    """A representation and its environments with messages scaled to mean square norm 1, in equal shares of the ranks.

    The other features have that norm as well.
    """
    ions = sum(weight * len(x) for weight, x in zip(weights, environments))
    if not representation.message_channels or not ions:
        return representation, environments
    expansion = representation.expansion
    ranks = np.array([rank for _, rank in message_pairs(expansion.l_max)])
    shape = len(expansion.known_species), len(ranks), expansion.n_max, representation.message_channels
    squares = sum(w * np.einsum('icf,icf->f', x.messages, x.messages) for w, x in zip(weights, environments))
    norms = np.array([len(RANKS) * squares.reshape(shape)[:, ranks == rank].sum() / (5 * ions) for rank in RANKS])
    factors = np.where(norms > 0, norms, 1.0) ** -0.5
    columns = np.broadcast_to(factors[ranks - RANKS[0]][:, None, None], shape).reshape(-1)
    return (
        Representation(expansion, representation.mixing, representation.message_mixing * factors[:, None, None, None]),
        [Environments(x.density, x.messages * columns) for x in environments],
    )
