"""Settings of an EFG model."""

from __future__ import annotations

from dataclasses import dataclass

from aiida_ufpnmr.engine.efg.radial import RADIAL_BASES
from aiida_ufpnmr.engine.regression.penalties import FIRST_PENALTIES, PENALTY_FLOOR
from aiida_ufpnmr.engine.settings import later_setting
from aiida_ufpnmr.engine.weights import check_rule

#: What makes sense, and what fits into memory: the radial integrals are tabulated on a grid as fine as ``sigma``.
LIMITS = {
    'cutoff': (1.0, 20.0),
    'cutoff_width': (1e-3, 20.0),
    'n_max': (1, 12),
    'l_max': (2, 12),
    'sigma': (0.05, 5.0),
    'scale': (0.1, 100.0),
    'exponent': (0.0, 20.0),
    'mixed_channels': (1, 200),
    'message_channels': (0, 50),
    'zeta': (1, 6),
    'sparse_points': (2, 5000),
    'folds': (2, 1000),
}


@dataclass(frozen=True)
class EfgSettings:
    """Settings of :func:`~aiida_ufpnmr.engine.efg.fitting.fit_efg_model`; the defaults were chosen on Li3PS4.

    Attributes:
        cutoff: neighbours up to here are seen, Å.
        cutoff_width: the last stretch over which they fade, Å.
        radial_basis: ``gto``, Gaussian-type functions, or ``laplacian``, spherical Bessel functions.
        n_max: radial functions.
        l_max: largest angular momentum, at least 2. Errors fall markedly up to 8.
        sigma: width of the Gaussian that stands for an atom, Å.
        scale: distance beyond which neighbours weigh less, Å.
        exponent: how fast they do; 0 for not at all.
        mixed_channels: combinations of (species, radial function) that are kept for each l, by principal components.
        message_channels: combinations of channels of each rank that every neighbour tells of its own surroundings;
            0 for none. They bring twice the cut-off into reach.
        charges: point charges by element, in elementary charges, whose EFG (Ewald) is taken off the labels before the
            fit and added to predictions: a baseline for what lies beyond the cut-off. ``null`` for none.
        zeta: power of the kernel: 1 for a model that is linear in the features, more for SA-GPR on sparse points.
        sparse_points: environments whose kernels make the model where ``zeta`` is above 1.
        penalty: of the ridge, for features of mean square norm 1; ``null`` chooses by cross-validation.
        folds: groups are dealt into this many folds.
        seed: of the order in which groups are dealt.
        isotope: whose frequencies are reported; ``null`` for the usual one of the species. ``7Li:-40.8`` takes another
            moment (mb) than the table, ``8Li:31.4:2`` a spin, too.
        weights: of structures, by name of their group or a pattern of it, and of those with ``foreign bonds``; see
            :mod:`~aiida_ufpnmr.engine.weights`. All count alike if not given.
    """

    cutoff: float = 6.0
    cutoff_width: float = 0.5
    radial_basis: str = 'gto'
    n_max: int = 6
    l_max: int = 8
    sigma: float = 0.4
    scale: float = 2.0
    exponent: float = 3.0
    mixed_channels: int = 11
    message_channels: int = 8
    charges: dict[str, float] | None = None
    zeta: int = 1
    sparse_points: int = 300
    penalty: float | None = None
    folds: int = 5
    seed: int = 0
    isotope: str | None = None
    weights: dict[str, float] | None = later_setting()

    def __post_init__(self):
        check_rule(self.weights)
        for name, (least, most) in LIMITS.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(f'{name} must lie between {least:g} and {most:g}, not {getattr(self, name):g}')
        if self.radial_basis not in RADIAL_BASES:
            raise ValueError(f'radial_basis must be one of {", ".join(RADIAL_BASES)}, not {self.radial_basis!r}')
        if self.cutoff_width > self.cutoff:
            raise ValueError('cutoff_width must not exceed cutoff')
        if self.seed < 0:
            raise ValueError(f'seed must not be negative, not {self.seed}')
        if self.penalty is not None and not self.penalty >= PENALTY_FLOOR:
            raise ValueError(f'penalty must be at least {PENALTY_FLOOR:g}')


def penalties_of(settings: EfgSettings) -> tuple[float, ...]:
    """The penalties with which cross-validation begins; one alone is given, and not searched around."""
    return FIRST_PENALTIES if settings.penalty is None else (settings.penalty,)
