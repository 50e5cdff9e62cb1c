"""An EFG model as float32 arrays for a GPU, with the couplings that are not zero as lists of products."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aiida_ufpnmr.engine.efg.descriptors import coupled_pairs
from aiida_ufpnmr.engine.efg.harmonics import coupling, harmonic_constants
from aiida_ufpnmr.engine.efg.messages import RANK_MAX, coupling_table, message_pairs
from aiida_ufpnmr.engine.efg.model import EfgModel
from aiida_ufpnmr.engine.efg.terms import LinearTerms

#: Radial functions that a thread sums at the same time.
SUMMED = 6
#: Numbers of λ = 1 and λ = 2 that an atom tells, and components of a tensor.
TOLD, COMPONENTS = 8, 5


class EfgTables(NamedTuple):
    """A linear model for atoms of k elements (kinds), whose channels are padded to ``EfgShape.width`` a kind."""

    kind: np.ndarray  # (species of the potential,) int32 place among the kinds
    ion: np.ndarray  # (ions,) int32 atoms, sorted as those of a replica
    reach: np.ndarray  # (4,) square of the cut-off, Å²; where it begins to fade, Å; 1 / width, 1/Å; points per Å
    spline: np.ndarray  # (points + 2, l_max + 1, n_max)
    constant: np.ndarray  # (3, l_max + 1, l_max + 1) of the harmonics
    degree: np.ndarray  # ((l_max + 1)²,) int32 l of a harmonic
    mixing: np.ndarray  # (l_max + 1, k · width, mixed)
    linear: np.ndarray  # (mixed,) a.u.
    weight: np.ndarray  # (pairs, mixed, mixed) a.u.; the channel of the second factor first
    row: np.ndarray  # (rows, 2) int32 pair, and harmonic of the second factor
    product: np.ndarray  # (products, 2) int32 harmonic of the first factor, and row of the second
    coupling: np.ndarray  # (products,)
    first_product: np.ndarray  # (6,) int32 by component of the tensor
    tell: np.ndarray  # (2, k, k · width, message channels) by rank and kind of the atom
    listened: np.ndarray  # (pairs of messages,) int32 l of the direction
    message: np.ndarray  # (k, pairs of messages, n_max, message channels) a.u., by kind of the neighbour
    heard: np.ndarray  # (numbers, 2) int32 pair of messages, and which of the eight numbers of the neighbour
    term: np.ndarray  # (terms, 2) int32 harmonic of the direction, and number that is heard
    term_coupling: np.ndarray  # (terms,)
    first_term: np.ndarray  # (6,) int32 by component of the tensor


class EfgShape(NamedTuple):
    """Sizes that kernels are compiled for."""

    l_max: int
    n_max: int
    kinds: int
    mixed: int
    message_channels: int  # 0 without messages

    @property
    def width(self) -> int:
        """Channels of a kind with their padding."""
        return -(-self.n_max // SUMMED) * SUMMED

    @property
    def rows(self) -> int:
        """Second factors of all pairs."""
        return int(sum(2 * second + 1 for _, second in coupled_pairs(self.l_max)))

    @property
    def message_pairs(self) -> int:
        """Pairs of direction and rank in messages; 0 without messages."""
        return len(message_pairs(self.l_max)) if self.message_channels else 0

    @property
    def heard(self) -> int:
        """Numbers of a neighbour that are heard, over all pairs."""
        return sum(2 * rank + 1 for _, rank in message_pairs(self.l_max)) if self.message_channels else 0


def efg_tables(model: EfgModel, species: tuple[str, ...], types: np.ndarray) -> tuple[EfgTables, EfgShape]:
    """Arrays and sizes of a model.

    Args:
        model: with linear terms, without charges.
        species: of the potential.
        types: (n,) species of the atoms, sorted.
    """
    terms, expansion, representation = model.terms, model.representation.expansion, model.representation
    assert isinstance(terms, LinearTerms)
    present = np.unique(types)
    known = [model.known_species.index(species[t]) for t in present]
    kind = np.zeros(len(species), np.int32)
    kind[present] = np.arange(len(present))
    n_max, l_max = expansion.n_max, expansion.l_max
    shape = EfgShape(
        l_max=l_max,
        n_max=n_max,
        kinds=len(present),
        mixed=model.mixing.shape[2],
        message_channels=representation.message_channels,
    )

    def padded(array: np.ndarray) -> np.ndarray:
        """Channels (..., species · n_max, m) as those of the kinds, (..., kinds · width, m)."""
        split = array.reshape(*array.shape[:-2], len(model.known_species), n_max, array.shape[-1])[..., known, :, :]
        wide = np.zeros((*split.shape[:-2], shape.width, split.shape[-1]))
        wide[..., :n_max, :] = split
        return wide.reshape(*array.shape[:-2], -1, array.shape[-1])

    spline, spacing, _, width, _ = expansion.radial(l_max)
    begin = expansion.cutoff - width
    rows, products, couplings, first_product = _products(l_max)
    tables = EfgTables(
        kind=kind,
        ion=np.flatnonzero(types == species.index(model.species)),
        reach=np.array([expansion.cutoff**2, begin, 1 / width, 1 / spacing]),
        spline=spline,
        constant=harmonic_constants(l_max),
        degree=np.repeat(np.arange(l_max + 1), 2 * np.arange(l_max + 1) + 1),
        mixing=padded(model.mixing),
        linear=terms.linear_weights,
        weight=terms.pair_weights,
        row=rows,
        product=products,
        coupling=couplings,
        first_product=first_product,
        **_messages(model, shape, known, padded),
    )
    indices = {
        'kind', 'ion', 'degree', 'row', 'product', 'first_product', 'listened', 'heard', 'term', 'first_term',
    }  # fmt: skip
    single = {
        name: np.ascontiguousarray(array, np.int32 if name in indices else np.float32)
        for name, array in tables._asdict().items()
    }
    return EfgTables(**single), shape


def _products(l_max: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows, products of two harmonics that couple, sorted by component of the tensor, and their couplings."""
    rows: list[tuple[int, int]] = []
    found = []
    for pair, (l1, l2) in enumerate(coupled_pairs(l_max)):
        couplings = coupling(int(l1), int(l2))
        for component, m1, m2 in zip(*np.nonzero(couplings)):
            found.append((component, l1 * l1 + m1, len(rows) + m2, couplings[component, m1, m2]))
        rows += [(pair, l2 * l2 + m2) for m2 in range(2 * l2 + 1)]
    # the linear terms are products with a row of their own
    found += [(component, 4 + component, len(rows), 1.0) for component in range(COMPONENTS)]
    component, first, second, value = np.array(sorted(found)).T
    return np.array(rows), np.stack([first, second], axis=-1), value, _firsts(component)


def _messages(model: EfgModel, shape: EfgShape, known: list[int], padded) -> dict[str, np.ndarray]:
    """The arrays of messages; of one element each where there are none."""
    names = ('tell', 'listened', 'message', 'heard', 'term', 'term_coupling', 'first_term')
    if not shape.message_channels:
        return {name: np.zeros((1,) * (4 if name in ('tell', 'message') else 2)) for name in names}
    pairs = message_pairs(shape.l_max)
    heard = [(p, rank * rank - 1 + m) for p, (_, rank) in enumerate(pairs) for m in range(2 * rank + 1)]
    # beyond λ + 2 no direction couples
    _, index, value = coupling_table(min(shape.l_max, RANK_MAX + 2))
    found = sorted((row[1], row[2], heard.index((row[0], row[3])), v) for row, v in zip(index.tolist(), value))
    component, harmonic, number, couplings = np.array(found).T
    weights = model.terms.arrays[2].reshape(len(model.known_species), len(pairs), shape.n_max, shape.message_channels)
    arrays = (
        padded(model.message_mixing[:, known]),
        np.array([l for l, _ in pairs]),
        weights[known],
        np.array(heard),
        np.stack([harmonic, number], axis=-1),
        couplings,
        _firsts(component),
    )
    return dict(zip(names, arrays))


def _firsts(component: np.ndarray) -> np.ndarray:
    """(6,) where each component begins in a sorted list of them."""
    return np.searchsorted(component, np.arange(COMPONENTS + 1))
