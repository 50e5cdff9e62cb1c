"""Potentials drawn from what a fit leaves open."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.regression.sampling import draw, widening
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential
from aiida_ufpnmr.engine.ufp.repulsion import extend_wall
from aiida_ufpnmr.engine.ufp.uncertainty import posterior_of, uncertainty


def sampled_potentials(
    potential: UltraFastPotential, structures: Sequence[Atoms], seeds: Sequence[int]
) -> Iterator[UltraFastPotential]:
    """Potentials that differ from the fitted one, in the forces on structures, by as much as that is expected to err.

    They hold no posterior. See :mod:`~aiida_ufpnmr.engine.regression.sampling`.

    Raises:
        InputError: the potential has no posterior, or does not know an element.
    """
    posterior = posterior_of(potential)
    along = [uncertainty(potential, atoms) for atoms in structures]
    expected, variances = (np.concatenate(part) for part in zip(*((one.forces, one.forces_variance) for one in along)))
    factor = widening(expected, variances)
    for seed in seeds:
        yield _moved(potential, draw(posterior.whitening, factor, seed))


def _moved(potential: UltraFastPotential, change: np.ndarray) -> UltraFastPotential:
    """The potential with coefficients changed by (n_columns,), and its wall below the data made anew."""
    energies, pairs, triplets = potential.basis.expand(change)
    moments = potential.basis.expand_moments(change)

    def plus(term, other):
        return dataclasses.replace(term, coefficients=term.coefficients + other.coefficients)

    return extend_wall(
        dataclasses.replace(
            potential,
            one_body=potential.one_body + energies,
            pairs={name: plus(term, pairs[name]) for name, term in potential.pairs.items()},
            triplets={name: plus(term, triplets[name]) for name, term in potential.triplets.items()},
            moments=None if moments is None else plus(potential.moments, moments),
            posterior=None,
        )
    )
