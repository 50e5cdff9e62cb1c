"""From EFG tensors along a trajectory to correlation functions of ω_Q, C_Q and the echo, and their decay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.efg.isotopes import Isotope, get_isotope
from aiida_ufpnmr.engine.efg.tensors import asymmetry, quadrupolar_coupling, quadrupolar_frequency, to_irreps
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.md.trajectory import EfgSeries
from aiida_ufpnmr.engine.nmr.correlation import autocorrelation, binned_correlation
from aiida_ufpnmr.engine.nmr.decay import DECAY, DecayFit, fit_bin_nodes, fit_decay
from aiida_ufpnmr.engine.nmr.echo import (
    MICROSECOND,
    RAD_PER_S_PER_KHZ,
    powder_directions,
    powder_echo,
    spin_alignment_echo,
)
from aiida_ufpnmr.engine.nmr.lag_bins import LagBins
from aiida_ufpnmr.engine.progress import progress

FIELDS = {'x': (1.0, 0.0, 0.0), 'y': (0.0, 1.0, 0.0), 'z': (0.0, 0.0, 1.0)}
#: Resampled units (ions, or parts of an ion's trajectory) that a bootstrap should have at least.
UNITS = 16
#: Fewer frames than this make no correlation function worth the name.
FEWEST_FRAMES = 16
#: A first lag beyond this share of the trajectory leaves nothing to fit.
LONGEST_FIRST_LAG = 0.25
CHUNK_FRAMES = 4096


@dataclass(frozen=True)
class AcfSettings:
    """How correlation functions are made and fitted.

    Attributes:
        field: ``powder``, ``x``, ``y``, ``z``, or three numbers along which the magnetic field lies.
        isotope: nuclide; the common one of the species where empty.
        gamma: stretching exponent; fitted where ``None``.
        first_lag_ps: first lag of the fit; found where ``None``.
        pulse_us, decay_us: t_p and t_d of the echo, Harper 2024, eqn (3); no echo where ``None``.
        half: the phase of the echo runs with ½ ω_Q.
        subtract_mean: correlate deviations from the mean.
        bootstrap: number of resampled curves.
        tau_fraction: share of the trajectory above which a τ is refused.
        seed: of the resampling.
    """

    field: str | tuple[float, float, float] = 'powder'
    isotope: str = ''
    gamma: float | None = None
    first_lag_ps: float | None = None
    pulse_us: float | None = None
    decay_us: float | None = None
    half: bool = True
    subtract_mean: bool = False
    bootstrap: int = 200
    tau_fraction: float = 1 / 3
    seed: int = 0

    def __post_init__(self):
        if self.gamma is not None and not 0 < self.gamma <= 1:
            raise InputError(f'gamma must be above 0 and at most 1, not {self.gamma}')
        if self.first_lag_ps is not None and not 0 <= self.first_lag_ps < np.inf:
            raise InputError(f'first_lag_ps must not be negative, not {self.first_lag_ps}')
        if (self.pulse_us is None) != (self.decay_us is None):
            raise InputError('an echo needs both pulse_us and decay_us')
        if self.pulse_us is not None and not (0 < self.pulse_us < np.inf and 0 < self.decay_us < np.inf):
            raise InputError('pulse_us and decay_us must be above zero')
        if isinstance(self.field, str) and self.field != 'powder' and self.field not in FIELDS:
            raise InputError(f'field must be powder, x, y, z or three numbers, not {self.field!r}')
        if not isinstance(self.field, str) and not 0 < np.linalg.norm(self.field) < np.inf:
            raise InputError('the field direction must not be zero')
        if not 0 < self.tau_fraction <= 1:
            raise InputError(f'tau_fraction must be above 0 and at most 1, not {self.tau_fraction}')
        if self.bootstrap < 2:
            raise InputError(f'bootstrap must be at least 2, not {self.bootstrap}')

    @property
    def direction(self) -> tuple[float, float, float] | None:
        """Unit vector of the field; ``None`` for a powder."""
        if self.field == 'powder':
            return None
        vector = np.array(FIELDS[self.field] if isinstance(self.field, str) else self.field, float)
        return tuple(vector / np.linalg.norm(vector))

    @property
    def field_name(self) -> str:
        """``powder``, ``x``, ``y``, ``z`` or ``vector``."""
        return self.field if isinstance(self.field, str) else 'vector'


@dataclass(frozen=True)
class Curve:
    """A correlation function with its band and its fit; times in ps.

    Attributes:
        label: what is correlated, in words.
        lag, c: (n_lags,) the function.
        band_lag: (n_bins,) centres of the bins of lags for which a band is known.
        band: (n_bins, 2) 2.5 and 97.5 % points of the bootstrap.
        per_ion: (n_ions, n_bins) the function of each ion, in units of the mean at lag 0; empty for the echo.
        fit: the decay.
    """

    label: str
    lag: np.ndarray
    c: np.ndarray
    band_lag: np.ndarray
    band: np.ndarray
    per_ion: np.ndarray
    fit: DecayFit


def correlation_functions(series: EfgSeries, settings: AcfSettings = AcfSettings()) -> tuple[dict[str, Curve], dict]:
    """All correlation functions that the settings ask for, and their results as JSON-ready numbers.

    The powder average of ω_Q is exact: <(b·V1·b)(b·V2·b)> over directions b is (2/15) V1:V2, one correlation function
    of five components.

    Returns:
        Curves by name (``omega_q_powder``, ``c_q``, where asked ``omega_q_x`` … and ``sae``), and the results.

    Raises:
        InputError: fewer than 16 frames, no ion, or tensors that vanish.
    """
    n_frames, n_ions = series.tensors.shape[:2]
    if n_frames < FEWEST_FRAMES:
        raise InputError(f'{n_frames} frames with EFG tensors; a correlation function needs at least {FEWEST_FRAMES}')
    if n_ions == 0:
        raise InputError(f'no {series.species} ion with an EFG tensor')
    if not np.any(series.tensors):
        raise InputError(f'the EFG tensors of {series.species} are zero throughout')
    isotope = get_isotope(settings.isotope or series.species)
    step_ps = series.timestep_fs * 1e-3
    longest = LONGEST_FIRST_LAG * n_frames * step_ps
    if settings.first_lag_ps is not None and settings.first_lag_ps > longest:
        raise InputError(f'the first lag must not exceed {longest:g} ps, a quarter of the trajectory')
    # ω_Q = (eQ/h) b·V·b of the unit tensor along b gives the factor eQ/h
    khz_per_au = float(quadrupolar_frequency(np.diag([0.0, 0.0, 1.0]), isotope=isotope))
    powder = np.sqrt(2 / 15) * khz_per_au * to_irreps(series.tensors)
    coupling, eta = _couplings(series.tensors, isotope)

    curves = {
        'omega_q_powder': _curve('powder-averaged quadrupolar frequency', powder, step_ps, settings),
        'c_q': _curve('quadrupolar coupling |C_Q|', coupling, step_ps, settings),
    }
    results = {
        'c_q_mean_khz': coupling.mean(),
        'c_q_std_khz': coupling.std(),
        'eta_mean': float(np.nanmean(eta)),
        'omega_q_std_khz': float(np.sqrt((powder**2).sum(axis=2).mean())),
        'field': settings.field_name,
    }
    direction = settings.direction
    if direction is not None:
        omega = quadrupolar_frequency(series.tensors, direction, isotope)
        name = f'omega_q_{settings.field_name}'
        label = f'quadrupolar frequency, field along {settings.field_name}'
        curves[name] = _curve(label, omega, step_ps, settings)
        results['omega_q_mean_khz'], results['omega_q_std_khz'] = omega.mean(), omega.std()
        results['field_direction'] = direction
    if settings.pulse_us is not None:
        curves['sae'] = _echo_curve(series, isotope, powder, step_ps, settings)
        results['sae_pulse_us'], results['sae_decay_us'] = settings.pulse_us, settings.decay_us

    observables = {name: decay_results(curve.fit) for name, curve in curves.items()}
    results.update(observables['omega_q_powder'])
    results['observables'] = observables
    results.update(
        species=series.species,
        isotope=isotope.name,
        ions=n_ions,
        frames=n_frames,
        frame_spacing_ps=step_ps,
        trajectory_ps=(n_frames - 1) * step_ps,
        mean_subtracted=settings.subtract_mean,
        seed=settings.seed,
    )
    return curves, results


def decay_results(fit: DecayFit) -> dict:
    """A decay, fitted with lags in ps, as JSON-ready numbers."""
    found = fit.verdict == DECAY
    return {
        'verdict': fit.verdict,
        'reason': fit.reason,
        'tau_ns': fit.tau * 1e-3,
        'tau_ns_ci95': [tau * 1e-3 for tau in fit.tau_ci95] if found else None,
        'tau_ns_lower_bound': fit.tau_lower_bound * 1e-3,
        'decay_rate_per_s': 1e12 / fit.tau,
        'decay_rate_per_s_ci95': [1e12 / tau for tau in reversed(fit.tau_ci95)] if found else None,
        'gamma': fit.gamma,
        'plateau': fit.plateau,
        'amplitude': fit.amplitude,
        'first_lag_ps': fit.first_lag,
        'last_lag_ps': fit.last_lag,
        'independent_signals': fit.signals,
    }


def _couplings(tensors: np.ndarray, isotope: Isotope) -> tuple[np.ndarray, np.ndarray]:
    """|C_Q| in kHz and η, (n_frames, n_ions), in chunks of frames."""
    coupling, eta = np.empty(tensors.shape[:2]), np.empty(tensors.shape[:2])
    with progress(len(tensors), 'principal values', 'frame') as bar:
        for start in range(0, len(tensors), CHUNK_FRAMES):
            part = slice(start, start + CHUNK_FRAMES)
            coupling[part] = quadrupolar_coupling(tensors[part], isotope, signed=False)
            eta[part] = asymmetry(tensors[part])
            bar.update(len(tensors[part]))
    return coupling, eta


def _curve(label: str, x: np.ndarray, step_ps: float, settings: AcfSettings) -> Curve:
    n_frames, n_ions = x.shape[:2]
    lag, c = autocorrelation(x, step_ps, subtract_mean=settings.subtract_mean)
    nodes = fit_bin_nodes(n_frames, n_frames)
    blocks = int(np.clip(-(-UNITS // n_ions), 1, max(1, n_frames // FEWEST_FRAMES)))
    sums, counts = binned_correlation(x, nodes, blocks, subtract_mean=settings.subtract_mean)
    samples = _resampled(sums, counts, settings)
    fit = fit_decay(
        lag,
        c,
        gamma=settings.gamma,
        first_lag=settings.first_lag_ps,
        samples=samples,
        ions=n_ions,
        tau_fraction=settings.tau_fraction,
        seed=settings.seed,
    )
    ion_sums = sums.reshape(n_ions, blocks, -1).sum(axis=1)
    per_ion = ion_sums / counts.reshape(n_ions, blocks, -1).sum(axis=1)
    per_ion /= per_ion[:, 0].mean()
    centres = LagBins.of(nodes, n_frames).centre * step_ps
    band = np.quantile(samples, [0.025, 0.975], axis=0).T
    return Curve(label, lag, c, centres, band, per_ion, fit)


def _resampled(sums: np.ndarray, counts: np.ndarray, settings: AcfSettings) -> np.ndarray:
    """Binned curves of resampled units, each normalised at lag 0: (bootstrap, n_bins)."""
    rng = np.random.default_rng(settings.seed)
    units = len(sums)
    times = rng.multinomial(units, np.full(units, 1 / units), settings.bootstrap).astype(float)
    pairs = times @ counts
    # blocks at the end of the trajectory hold no pair of the longest lags; a resample of such blocks only knows nothing
    curves = np.divide(times @ sums, pairs, out=np.zeros_like(pairs), where=pairs > 0)
    return curves / curves[:, :1]


def _echo_curve(
    series: EfgSeries, isotope: Isotope, powder: np.ndarray, step_ps: float, settings: AcfSettings
) -> Curve:
    times = step_ps, settings.pulse_us, settings.decay_us
    direction = settings.direction
    if direction is not None:
        omega = quadrupolar_frequency(series.tensors, direction, isotope)
        lag, c = spin_alignment_echo(omega, *times, half=settings.half)
    else:
        # sines of a phase of up to φ rad need polynomials of a degree of about φ, and a little more
        largest = np.sqrt(15 / 2) * np.sqrt((powder**2).sum(axis=2).max())
        rate = RAD_PER_S_PER_KHZ * MICROSECOND * (0.5 if settings.half else 1.0)
        order = int(np.ceil(6 + rate * largest * max(settings.pulse_us, settings.decay_us)))
        directions, weight = powder_directions(min(order, 40))
        with progress(len(directions), 'powder average of the echo', 'direction') as bar:

            def khz(b):
                bar.update()
                return quadrupolar_frequency(series.tensors, b, isotope)

            lag, c = powder_echo(khz, directions, weight, *times, half=settings.half)
    fit = fit_decay(
        lag,
        c,
        gamma=settings.gamma,
        first_lag=settings.first_lag_ps,
        ions=series.tensors.shape[1],
        tau_fraction=settings.tau_fraction,
        seed=settings.seed,
    )
    label = f'spin-alignment echo, t_p = {settings.pulse_us:g} µs, t_d = {settings.decay_us:g} µs'
    return Curve(label, lag, c, np.empty(0), np.empty((0, 2)), np.empty((0, 0)), fit)
