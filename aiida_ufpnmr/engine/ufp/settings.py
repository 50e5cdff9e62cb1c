"""Settings of a fit of an ultra-fast potential."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class PotentialSettings:
    """Settings of a fit.

    The errors are what one is ready to live with; they weigh energies, forces and stresses against each other. Penalties
    are inverse variances (eV⁻²) of the coefficients and of their second differences, as a Gaussian prior has them.

    Attributes:
        pair_cutoff: Å.
        trio_cutoff: Å, of the two legs; the third side reaches twice as far.
        pair_intervals: intervals of each pair spline.
        leg_intervals: intervals along a leg; chosen by the amount of data if not given.
        third_intervals: intervals along the third side; one and a half times ``leg_intervals`` if not given.
        energy_error_meV_per_atom, forces_error_meV_per_angstrom, stress_error_GPa: weights.
        ridge_pair, curvature_pair, ridge_trio, curvature_trio: penalties.
        folds: number of parts for withheld errors; whole groups are kept together.
        seed: for the choice of the parts.
    """

    pair_cutoff: float = 7.0
    trio_cutoff: float = 4.0
    pair_intervals: int = 22
    leg_intervals: int | None = None
    third_intervals: int | None = None
    energy_error_meV_per_atom: float = 3.0
    forces_error_meV_per_angstrom: float = 100.0
    stress_error_GPa: float = 0.5
    ridge_pair: float = 1e-2
    curvature_pair: float = 30.0
    ridge_trio: float = 1.0
    curvature_trio: float = 2.0
    folds: int = 5
    seed: int = 0

    def __post_init__(self):
        for name in ('pair_cutoff', 'trio_cutoff'):
            if not 1.0 < getattr(self, name) <= 20.0:
                raise ValueError(f'{name} must lie between 1 and 20 Å, not {getattr(self, name)}')
        for name in ('pair_intervals', 'leg_intervals', 'third_intervals'):
            value = getattr(self, name)
            if value is not None and not 4 <= value <= 100:
                raise ValueError(f'{name} must lie between 4 and 100, not {value}')
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if ('error' in field.name and not value > 0) or ('ridge' in field.name and not value > 0):
                raise ValueError(f'{field.name} must be positive, not {value}')
            if 'curvature' in field.name and not value >= 0:
                raise ValueError(f'{field.name} must not be negative, not {value}')
        if self.folds < 2:
            raise ValueError(f'folds must be 2 or more, not {self.folds}')
        if self.seed < 0:
            raise ValueError(f'seed must not be negative, not {self.seed}')
