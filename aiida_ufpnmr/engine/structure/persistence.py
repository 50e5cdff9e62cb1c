"""Persistent homology of alpha complexes: births and deaths of components, rings and cavities; through GUDHI."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.structure.alpha_complex import AlphaComplex


@dataclass(frozen=True)
class HomologyClasses:
    """Classes of one dimension that are born and die.

    Attributes:
        birth, death: (n_classes,) in Å, the radius of equal spheres and with weights √α, negative where α is.
        born: (n_classes,) row of the simplex, of the dimension of the class, that makes each.
    """

    birth: np.ndarray
    death: np.ndarray
    born: np.ndarray

    def lasting(self, least_persistence: float) -> HomologyClasses:
        """Those whose death follows their birth by at least so many Å, the most persistent first."""
        persistence = self.death - self.birth
        kept = np.argsort(-persistence, kind='stable')
        kept = kept[persistence[kept] >= least_persistence]
        return HomologyClasses(self.birth[kept], self.death[kept], self.born[kept])


def homology_classes(complex_: AlphaComplex) -> tuple[HomologyClasses, HomologyClasses, HomologyClasses]:
    """Components (H0), rings (H1) and cavities (H2), with coefficients in ℤ/2.

    Classes that never die are left out: the last component and, in a periodic cell, rings and sheets around it.

    Raises:
        InputError: GUDHI is not installed.
    """
    try:
        from gudhi.simplex_tree import SimplexTree
    except ImportError as error:
        raise InputError('rings need GUDHI; pip install "aiida-ufpnmr[rings]"') from error
    tree = SimplexTree()
    for simplices, alpha in zip(complex_.simplices, complex_.alpha):
        tree.insert_batch(np.ascontiguousarray(simplices.T), alpha)
    tree.make_filtration_non_decreasing()  # a facet may be later than its simplex by rounding
    tree.compute_persistence(homology_coeff_field=2)
    pairs = tree.persistence_pairs()
    components, rings, cavities = (_classes(complex_, pairs, dimension) for dimension in range(3))
    return components, rings, cavities


def _classes(complex_: AlphaComplex, pairs: list[tuple[list[int], list[int]]], dimension: int) -> HomologyClasses:
    """Classes of one dimension among pairs of the simplices that make and end them."""
    births = [first for first, last in pairs if len(first) == dimension + 1 and last]
    deaths = [last for first, last in pairs if len(first) == dimension + 1 and last]
    born = complex_.rows(np.array(births, int).reshape(-1, dimension + 1))
    died = complex_.rows(np.array(deaths, int).reshape(-1, dimension + 2))
    return HomologyClasses(
        birth=_radius(complex_.alpha[dimension][born]), death=_radius(complex_.alpha[dimension + 1][died]), born=born
    )


def _radius(alpha: np.ndarray) -> np.ndarray:
    """√α with the sign of α."""
    return np.sign(alpha) * np.sqrt(np.abs(alpha))
