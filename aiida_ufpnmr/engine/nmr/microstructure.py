"""From one crystal to a polycrystal and a glass ceramic: the decay that grains add, Harper 2024, Discussion and Fig. 7.

Within a grain the correlation function is that of the trajectory; what it leaves is averaged over the sites of the
grain while ions diffuse through a cell, and the residual coupling that then remains lasts as long as ions stay in their
grain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.constants import e as charge
from scipy.constants import k as boltzmann
from scipy.optimize import brentq

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.nmr.grain_walk import RESOLUTION, STRUCTURES, cubes, voronoi, walk
from aiida_ufpnmr.engine.nmr.grains import cube_time_to_e, same_cube, stretched_fit, time_to_e
from aiida_ufpnmr.engine.nmr.observables import Curve
from aiida_ufpnmr.engine.nmr.residual import ResidualCoupling
from aiida_ufpnmr.engine.records import Record, quantity
from aiida_ufpnmr.engine.settings import Settings, setting

#: nm²/(cm²/s) in ns.
NS_PER_NM2_S_CM2 = 1e-14 * 1e9
EV_PER_K = boltzmann / charge
#: Decay times of a polycrystal of β-Li3PS4 measured by the group of Granwehr (Harper 2024, ref. 63), ms.
MEASURED_MS = (30.0, 50.0)
ANALYTIC, MONTE_CARLO = 'analytic', 'Monte Carlo'
#: Times of a Monte Carlo run, in units of d²/D: the voxels show before, few ions are left after.
WALK_TIMES = np.geomspace(1.5e-2, 1.0, 51)


@dataclass(frozen=True)
class GrainSettings(Settings):
    """Shape of the grains and passage of ions from one to the next.

    The grains are cubes, or Voronoi cells around random points. The coupling of a glass averages to zero.
    """

    structure: Literal['cubes', 'voronoi'] = setting(
        'cubes', 'Shape of the grains: cubes (analytic), or Voronoi cells (Monte Carlo).'
    )
    boundary_nm: float = setting(0.0, 'A grain boundary resists as this thickness of grain, in nm.', least=0)
    size_spread: float = setting(
        0.0, 'Standard deviation of the logarithm of the grain size, over the volume.', least=0
    )
    glass_fraction: float = setting(0.0, 'Share of the volume that is glass, between the grains.', least=0, most=0.9)
    glass_diffusion_ratio: float = setting(
        1.0, 'Diffusion coefficient in the glass over that in grains (Monte Carlo where not 1).', above=0
    )
    glass_tau_ns: float = setting(46.0, 'Decay time of the correlation in the glass, in ns.', above=0)
    mixing_nm: float = setting(1.0, 'Distance over which an ion meets all sites of its crystal, in nm.', above=0)
    walkers: int = setting(8000, 'Ions of Monte Carlo.', least=STRUCTURES)
    seed: int = setting(0, 'Seed of resampling and Monte Carlo.', least=0)

    def __post_init__(self):
        super().__post_init__()
        if self.size_spread and not self.is_analytic:
            raise InputError('a spread of sizes is for cubes that fill space; Voronoi grains have one of their own')

    @property
    def is_analytic(self) -> bool:
        """True where no Monte Carlo is needed: cubes, with free diffusion or nothing but barriers between them."""
        plain_glass = self.glass_fraction == 0 or (self.glass_diffusion_ratio == 1 and self.boundary_nm == 0)
        return self.structure == 'cubes' and plain_glass


@dataclass(frozen=True)
class GrainExchange:
    """Exchange of ions between grains; times in units of d²/D.

    Attributes:
        s, chance, error: chance to be in the grain of the start, with its standard error (0 where analytic).
        tau: time to 1/e.
        fit_tau, fit_gamma: stretched exponential that an experiment would fit.
        method: ``analytic`` or ``Monte Carlo``.
    """

    s: np.ndarray
    chance: np.ndarray
    error: np.ndarray
    tau: float
    fit_tau: float
    fit_gamma: float
    method: str

    def at(self, s: np.ndarray) -> np.ndarray:
        """The chance at other times, interpolated in ln s; beyond the last it falls as that of free diffusion."""
        inside = np.interp(np.log(s), np.log(self.s), self.chance)
        tail = self.chance[-1] * (self.s[-1] / np.maximum(s, self.s[-1])) ** 1.5
        return np.where(s > self.s[-1], tail, inside)


def grain_exchange(grain_nm: float, settings: GrainSettings = GrainSettings()) -> GrainExchange:
    """Exchange of ions between grains of one size: by formula for cubes, by random walks otherwise.

    Args:
        grain_nm: d, the edge of a cube; of other grains the cube root of the mean volume.
        settings: of the grains.
    """
    permeability = grain_nm / settings.boundary_nm if settings.boundary_nm > 0 else np.inf
    if settings.is_analytic:
        slow = 1 + 2 / permeability
        s = np.geomspace(1e-7, 300 * slow, 400)
        chance = same_cube(s, permeability, settings.size_spread)
        tau = time_to_e(s, chance) if settings.size_spread else cube_time_to_e(permeability)
        return _exchange(s, chance, np.zeros_like(s), tau, ANALYTIC)
    rng = np.random.default_rng(settings.seed)
    if settings.structure == 'cubes':
        structures = [cubes(settings.glass_fraction)]
    else:
        structures = [voronoi(rng, settings.glass_fraction, resolution=RESOLUTION) for _ in range(STRUCTURES)]
    s = WALK_TIMES * (1 + 2 / permeability)
    chance, error = walk(
        structures,
        s,
        permeability=permeability,
        glass_ratio=settings.glass_diffusion_ratio,
        walkers=settings.walkers,
        seed=settings.seed,
    )
    tau = time_to_e(s, chance)
    return _exchange(*_with_onset(s, chance, error), tau, MONTE_CARLO)


def _exchange(s: np.ndarray, chance: np.ndarray, error: np.ndarray, tau: float, method: str) -> GrainExchange:
    fit_tau, fit_gamma = stretched_fit(s, chance)
    return GrainExchange(s=s, chance=chance, error=error, tau=tau, fit_tau=fit_tau, fit_gamma=fit_gamma, method=method)


def _with_onset(s: np.ndarray, chance: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chances with times before the first of a walk, during which those who left grow as a power ½ to 1 of time."""
    left = 1 - chance
    power = float(np.clip(np.log(left[6] / left[0]) / np.log(s[6] / s[0]), 0.5, 1.0)) if left[0] > 0 else 1.0
    before = np.geomspace(1e-6 * s[0], s[0], 60, endpoint=False)
    return (
        np.concatenate([before, s]),
        np.concatenate([1 - left[0] * (before / s[0]) ** power, chance]),
        np.concatenate([np.full(len(before), error[0]), error]),
    )


@dataclass(frozen=True)
class Polycrystal(Record):
    """The correlation function of ω_Q in a polycrystal of one grain size and diffusion coefficient."""

    lag_ns: np.ndarray = quantity('ns', 'lags', 'lags')
    c: np.ndarray = quantity('', 'powder-averaged function, one at the first lag', 'lags')
    grain_nm: float = quantity('nm', 'grain size')
    diffusion_coefficient_cm2_per_s: float = quantity('cm²/s', 'diffusion coefficient within grains')
    temperature_K: float = quantity('K', 'its temperature; NaN where it is not told')
    residual_share: float = quantity('', 'share that only the exchange of grains takes away')
    tau_ms: float = quantity('ms', 'time after which that share is down to 1/e')
    fit_tau_ms: float = quantity('ms', 'stretched exponential through that share', default=np.nan)
    fit_gamma: float = quantity('', 'its exponent', default=np.nan)
    mixing_ns: float = quantity('ns', 'decay time of the memory of a site, until all sites are met', default=np.nan)
    method: str = quantity('', 'analytic or Monte Carlo', default='')


def diffusion_at(
    diffusion_cm2_per_s: float, temperature_K: float, activation_energy_eV: float, other_K: float
) -> float:
    """Diffusion coefficient at another temperature, by the law of Arrhenius."""
    return float(diffusion_cm2_per_s * np.exp(-activation_energy_eV / EV_PER_K * (1 / other_K - 1 / temperature_K)))


def grains_of_decay(tau_ms: float, diffusion_cm2_per_s: float, settings: GrainSettings = GrainSettings()) -> float:
    """Grain size in nm that makes a decay time; by scaling, or by a search where boundaries resist."""
    unit = 1e-6 * NS_PER_NM2_S_CM2 / diffusion_cm2_per_s  # ms per nm²
    free = grain_exchange(1.0, replace(settings, boundary_nm=0.0)).tau
    largest = np.sqrt(tau_ms / (free * unit))
    if settings.boundary_nm == 0:
        return float(largest)

    def excess(log_size: float) -> float:
        size = np.exp(log_size)
        return np.log(grain_exchange(size, settings).tau * size**2 * unit / tau_ms)

    # behind boundaries τ is at least that of barriers alone, d ℓ/6D
    smallest = min(tau_ms / (settings.boundary_nm * unit), 0.1 * largest)
    accuracy = 1e-5 if settings.is_analytic else 1e-2
    return float(np.exp(brentq(excess, np.log(smallest), np.log(1.2 * largest), xtol=accuracy)))


def polycrystals(
    curve: Curve,
    residual: ResidualCoupling,
    grains_nm: Sequence[float],
    diffusion_cm2_per_s: Sequence[float],
    settings: GrainSettings = GrainSettings(),
    temperatures_K: Sequence[float] = (),
) -> list[Polycrystal]:
    """Correlation functions for each grain size and diffusion coefficient, from the first lag to beyond the last decay.

    Args:
        curve: powder-averaged correlation function of ω_Q along the trajectory, with its fit.
        residual: partially averaged tensors of the same trajectory.
        grains_nm: grain sizes.
        diffusion_cm2_per_s: diffusion coefficients within grains.
        settings: of the grains.
        temperatures_K: of the diffusion coefficients, where they are told.

    Raises:
        InputError: no sizes or coefficients, some that are not above zero, or a curve that is too short for a fit.
    """
    if not (len(grains_nm) and len(diffusion_cm2_per_s)):
        raise InputError('a polycrystal needs a grain size and a diffusion coefficient')
    for value in (*grains_nm, *diffusion_cm2_per_s):
        if not 0 < value < np.inf:
            raise InputError(f'grain sizes and diffusion coefficients must be above zero, not {value}')
    if settings.boundary_nm > 0:
        exchanges = {size: grain_exchange(size, settings) for size in grains_nm}
    else:  # without a boundary, grains of all sizes are alike
        exchanges = dict.fromkeys(grains_nm, grain_exchange(1.0, settings))
    temperatures = temperatures_K if len(temperatures_K) else [np.nan] * len(diffusion_cm2_per_s)
    units_ns = {(size, d): NS_PER_NM2_S_CM2 * size**2 / d for size in grains_nm for d in diffusion_cm2_per_s}
    slowest = max(exchanges[size].tau * unit for (size, _), unit in units_ns.items())
    first = max(curve.fit.first_lag if np.isfinite(curve.fit.first_lag) else curve.lag[1], curve.lag[1]) * 1e-3
    lag = np.geomspace(first, max(100 * slowest, 1e3 * first), 600)
    inside, plateau = _within_grains(curve, lag * 1e3)
    kept = float(np.clip(residual.share_of_cell_mean, 0.0, plateau))
    found = []
    for d, temperature in zip(diffusion_cm2_per_s, temperatures):
        mixing = NS_PER_NM2_S_CM2 * settings.mixing_nm**2 / (6 * d)
        mixed = (plateau - kept) * np.exp(-lag / mixing)
        for size in grains_nm:
            exchange, unit = exchanges[size], units_ns[size, d]
            crystal = inside + mixed + kept * exchange.at(lag / unit)
            glass = inside + plateau * np.exp(-lag / settings.glass_tau_ns)
            c = (1 - settings.glass_fraction) * crystal + settings.glass_fraction * glass
            found.append(
                Polycrystal(
                    lag_ns=lag,
                    c=c / c[0],
                    grain_nm=size,
                    diffusion_coefficient_cm2_per_s=d,
                    temperature_K=float(temperature),
                    residual_share=(1 - settings.glass_fraction) * kept / c[0],
                    tau_ms=exchange.tau * unit * 1e-6,
                    fit_tau_ms=exchange.fit_tau * unit * 1e-6,
                    fit_gamma=exchange.fit_gamma,
                    mixing_ns=mixing,
                    method=exchange.method,
                )
            )
    return found


def _within_grains(curve: Curve, lag_ps: np.ndarray) -> tuple[np.ndarray, float]:
    """Decaying part of the curve at each lag, by the fit beyond the fitted lags, and the part that stays."""
    fit = curve.fit
    if not np.isfinite(fit.amplitude):
        raise InputError(f'the trajectory is too short for a correlation function within grains: {fit.reason}')
    plateau = fit.amplitude * (fit.plateau if np.isfinite(fit.plateau) else 1.0)
    known = (curve.band_lag > 0) & (curve.band_lag <= fit.last_lag)
    seen = np.interp(np.log(lag_ps), np.log(curve.band_lag[known]), np.nanmean(curve.per_ion, axis=0)[known])
    c = np.where(lag_ps <= fit.last_lag, seen, fit.curve(lag_ps))
    return c - plateau, float(plateau)
