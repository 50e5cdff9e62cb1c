"""From EFG tensors along a trajectory to correlation functions of ω_Q, C_Q and the echo, and their decay."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from aiida_ufpnmr.engine.efg.isotopes import Isotope, get_isotope
from aiida_ufpnmr.engine.efg.tensors import to_irreps
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.nmr.echo import PREFACTOR, echo_signals, powder_directions, rad_per_khz_us
from aiida_ufpnmr.engine.nmr.runs import COMPONENTS, COUPLING, POWDER, EfgRuns, IonBlock, TensorSettings
from aiida_ufpnmr.engine.records import Record, quantity
from aiida_ufpnmr.engine.settings import numbers, setting
from aiida_ufpnmr.engine.timeseries.decay import DECAY, DecayFit, fit_bin_nodes, fit_decay
from aiida_ufpnmr.engine.timeseries.lag_bins import LagBins
from aiida_ufpnmr.engine.timeseries.sums import CorrelationSums, Group, resampled_averages, with_all_ions
from aiida_ufpnmr.engine.trajectories.trajectory import EfgSeries

FIELDS = {'x': (1.0, 0.0, 0.0), 'y': (0.0, 1.0, 0.0), 'z': (0.0, 0.0, 1.0)}
#: Resampled units (ions, or parts of an ion's trajectory) that a bootstrap should have at least.
UNITS = 16
#: Fewer frames than this make no correlation function worth the name.
FEWEST_FRAMES = 16
#: A first lag beyond this share of the trajectory leaves nothing to fit.
LONGEST_FIRST_LAG = 0.25
#: Upper limit on the signals that are made of series at a time.
SIGNAL_BYTES = 256e6


def field_direction(value: str | Sequence[float]) -> str | tuple[float, float, float]:
    """The direction of a magnetic field: ``powder``, ``x``, ``y``, ``z``, or three numbers.

    Raises:
        ValueError: none of these.
    """
    if value == 'powder' or (isinstance(value, str) and value in FIELDS):
        return value
    try:
        vector = numbers(value)
    except ValueError:
        vector = ()
    if len(vector) != 3 or not 0 < np.linalg.norm(vector) < np.inf:
        raise ValueError(f'{value!r} is none of powder, x, y, z, nor a vector such as 1,1,0')
    return vector


def number_of_decays(value: str | int) -> str | int:
    """One or two decays, or ``auto``, also where the number is written as text."""
    return int(value) if str(value) in ('1', '2') else value


@dataclass(frozen=True)
class AcfSettings(TensorSettings):
    """Choices in making correlation functions and fitting them; t_p and t_d of the echo as in Harper 2024, eqn (3)."""

    field: str | tuple[float, float, float] = setting(
        'powder',
        'Direction of the magnetic field; the powder average is always given, too.',
        parse=field_direction,
        metavar='powder|x|y|z|bx,by,bz',
    )
    gamma: float | None = setting(None, 'Fix the stretching exponent; fitted where not given.', above=0, most=1)
    decays: Literal[1, 2, 'auto'] = setting(
        'auto',
        'Decays in the fit; auto takes two where one does not describe the curve; τ is then the slow one.',
        parse=number_of_decays,
    )
    first_lag_ps: float | None = setting(
        None, 'First lag of the fit in ps; default where white noise and vibrations are over.', least=0
    )
    max_tau_fraction: float = setting(1 / 3, 'Refuse a decay time above this share of the trajectory.', above=0, most=1)
    pulse_us: float | None = setting(None, 'Pulse time t_p of the echo in µs.', above=0)
    decay_us: float | None = setting(None, 'Detection time t_d of the echo in µs.', above=0)
    full_frequency: bool = setting(False, 'Let the phase of the echo run with ω_Q instead of ω_Q/2.')
    subtract_mean: bool = setting(False, 'Correlate deviations from the mean: a plateau is lost.')
    bootstrap: int = setting(200, 'Resampled curves.', least=2)
    seed: int = setting(0, 'Seed of the resampling.', least=0)

    def __post_init__(self):
        super().__post_init__()
        if (self.pulse_us is None) != (self.decay_us is None):
            raise InputError('an echo needs both pulse_us and decay_us')

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
        per_ion: (n_ions, n_bins) the function of each ion, in units of the mean at lag 0; NaN for ions that do not
            count.
        fit: the decay.
    """

    label: str
    lag: np.ndarray
    c: np.ndarray
    band_lag: np.ndarray
    band: np.ndarray
    per_ion: np.ndarray
    fit: DecayFit


@dataclass(frozen=True)
class WeightedTime(Record):
    """A decay or relaxation time, and how much of the correlation goes with it."""

    tau_ns: float = quantity('ns', 'decay or relaxation time')
    tau_ns_ci95: tuple[float, float] = quantity('ns', 'its 95 % interval')
    weight: float = quantity('', 'its share or area; negative where the correlation grows')
    weight_ci95: tuple[float, float] = quantity('', 'its 95 % interval')


#: Quantity to correlate: from the series of some ions (n_ions, 6, n_frames) to the shares with which autocorrelations
#: add up, and signals (n_frames, n_ions, k).
Signals = Callable[[np.ndarray], Iterator[tuple[float, np.ndarray]]]


@dataclass
class _Moments:
    """Running sums over all frames and ions: of the five components, of |C_Q|, and of their squares."""

    count: int = 0
    first: np.ndarray = field(default_factory=lambda: np.zeros(6))
    second: np.ndarray = field(default_factory=lambda: np.zeros((6, 6)))
    largest: float = 0.0
    eta_sum: float = 0.0
    eta_count: int = 0

    def add(self, block: IonBlock) -> None:
        for series in block.series:
            self.count += series.shape[0] * series.shape[2]
            self.first = self.first + series.sum(axis=(0, 2), dtype=float)
            for ion in series:
                self.second = self.second + (ion @ ion.T.astype(float))
                self.largest = max(self.largest, float((ion[COMPONENTS] ** 2).sum(axis=0).max()))
        self.eta_sum += block.eta_sum
        self.eta_count += block.eta_count

    @property
    def mean(self) -> np.ndarray:
        """(6,) means."""
        return self.first / self.count


def correlation_functions(
    series: EfgSeries | EfgRuns, settings: AcfSettings = AcfSettings(), groups: Sequence[Group] = ()
) -> tuple[dict[str, Curve], dict]:
    """All correlation functions that the settings ask for, and their results as JSON-ready numbers.

    The powder average of ω_Q is exact: <(b·V1·b)(b·V2·b)> over directions b is (2/15) V1:V2, one correlation function
    of five components.

    Args:
        series: tensors of one run, or of several, read block by block: averages run over all of them.
        settings: what to compute and how to fit.
        groups: ions, or sites at the origin of time, over which ω_Q and C_Q are averaged by themselves.

    Returns:
        Curves by name (``omega_q_powder``, ``c_q``, where asked ``omega_q_x`` … and ``sae``; with ``_`` and the name of
        a group for the groups), and the results.

    Raises:
        InputError: fewer than 16 frames, no ion, or tensors that vanish.
    """
    runs = series if isinstance(series, EfgRuns) else EfgRuns.of(series)
    n_frames, n_ions, step_ps = max(runs.lengths), runs.n_ions, runs.step_ps
    if n_frames < FEWEST_FRAMES:
        raise InputError(f'{n_frames} frames with EFG tensors; a correlation function needs at least {FEWEST_FRAMES}')
    if n_ions == 0:
        raise InputError(f'no {runs.species} ion with an EFG tensor')
    isotope = get_isotope(settings.isotope or runs.species)
    longest = LONGEST_FIRST_LAG * n_frames * step_ps
    if settings.first_lag_ps is not None and settings.first_lag_ps > longest:
        raise InputError(f'the first lag must not exceed {longest:g} ps, a quarter of the trajectory')

    moments, blocks = _moments(runs, isotope, settings)
    observables = _observables(settings, moments)
    sums = _correlate(runs, blocks, observables, with_all_ions(groups, runs.lengths, n_ions))
    if not moments.largest > 0:
        raise InputError(f'the EFG tensors of {runs.species} are zero throughout')
    curves = {name: _curve(label, found, group, step_ps, settings) for name, (label, found, group) in sums.items()}

    mean, square = moments.mean, np.diag(moments.second) / moments.count
    results = {
        'c_q_mean_khz': mean[COUPLING],
        'c_q_std_khz': np.sqrt(max(square[COUPLING] - mean[COUPLING] ** 2, 0.0)),
        'eta_mean': moments.eta_sum / max(moments.eta_count, 1),
        'omega_q_std_khz': np.sqrt(POWDER * square[COMPONENTS].sum()),
        'field': settings.field_name,
    }
    direction = settings.direction
    if direction is not None:
        b = _along(direction)
        omega = b @ mean[COMPONENTS]
        results['omega_q_mean_khz'] = omega
        second = b @ moments.second[COMPONENTS, COMPONENTS] @ b / moments.count
        results['omega_q_std_khz'] = np.sqrt(max(second - omega**2, 0.0))
        results['field_direction'] = direction
    if settings.pulse_us is not None:
        results['sae_pulse_us'], results['sae_decay_us'] = settings.pulse_us, settings.decay_us
    fits = {name: decay_results(curve.fit) for name, curve in curves.items()}
    for name, (_, _, group) in sums.items():
        if group.name:
            fits[name]['origins_share'] = group.origins() / sum(member.size for member in group.members)
    results.update(fits['omega_q_powder'])
    results['observables'] = fits
    results.update(
        species=runs.species,
        isotope=isotope.name,
        ions=n_ions,
        frames=sum(runs.lengths),
        runs=len(runs.lengths),
        frame_spacing_ps=step_ps,
        trajectory_ps=(n_frames - 1) * step_ps,
        mean_subtracted=settings.subtract_mean,
        seed=settings.seed,
        decays_asked=settings.decays,
    )
    return curves, results


def _moments(
    runs: EfgRuns, isotope: Isotope, settings: AcfSettings
) -> tuple[_Moments, Callable[[], Iterator[IonBlock]]]:
    """Sums over everything, and the blocks to go through.

    Where the signals need the sums, all is read beforehand, and kept where one block holds it; otherwise the sums fill
    while the blocks are gone through.
    """
    moments = _Moments()

    def blocks():
        for block in runs.blocks(isotope):
            moments.add(block)
            yield block

    if not settings.subtract_mean and (settings.pulse_us is None or settings.direction is not None):
        return moments, blocks
    kept = None
    for block in blocks():
        kept = block if block.ions == slice(0, runs.n_ions) else None
    return moments, (lambda: iter([kept])) if kept is not None else (lambda: runs.blocks(isotope))


def _along(direction) -> np.ndarray:
    """Components with which those of ω_Q give ω_Q along a unit vector."""
    return to_irreps(np.outer(direction, direction))


def _observables(settings: AcfSettings, moments: _Moments) -> dict[str, tuple[str, Signals]]:
    """Quantities to correlate, by name: the label in words, and the signals."""
    mean = moments.mean if settings.subtract_mean else np.zeros(6)

    def powder(series):
        yield POWDER, np.moveaxis(series[:, COMPONENTS] - mean[COMPONENTS, None], -1, 0)

    def coupling(series):
        yield 1.0, (series[:, COUPLING] - mean[COUPLING]).T[..., None]

    found: dict[str, tuple[str, Signals]] = {
        'omega_q_powder': ('powder-averaged quadrupolar frequency', powder),
        'c_q': ('quadrupolar coupling |C_Q|', coupling),
    }
    direction = settings.direction
    if direction is not None:
        along = _along(direction)

        def single(series):
            yield 1.0, (along @ (series[:, COMPONENTS] - mean[COMPONENTS, None])).T[..., None]

        label = f'quadrupolar frequency, field along {settings.field_name}'
        found[f'omega_q_{settings.field_name}'] = label, single
    if settings.pulse_us is not None and settings.decay_us is not None:
        label = f'spin-alignment echo, t_p = {settings.pulse_us:g} µs, t_d = {settings.decay_us:g} µs'
        found['sae'] = label, _echo(settings, settings.pulse_us, settings.decay_us, moments)
    return found


def _echo(settings: AcfSettings, pulse_us: float, decay_us: float, moments: _Moments) -> Signals:
    """The echo at finite times: averaged over directions first, normalised last."""
    rate = rad_per_khz_us(half=not settings.full_frequency)
    directions, weight = np.array([settings.direction]), np.ones(1)
    if settings.direction is None:
        # sines of a phase of up to φ rad need polynomials of a degree of about φ, and a little more
        phase = rate * np.sqrt(moments.largest) * max(pulse_us, decay_us)
        directions, weight = powder_directions(min(int(np.ceil(6 + phase)), 40))

    def signals(series):
        for b, share in zip(directions, weight):
            omega = (_along(b) @ series[:, COMPONENTS]).T[..., None]
            for sign, signal in echo_signals(omega, rate * pulse_us, rate * decay_us):
                yield sign * PREFACTOR * share / 4, signal

    return signals


def _correlate(
    runs: EfgRuns,
    blocks: Callable[[], Iterator[IonBlock]],
    observables: dict[str, tuple[str, Signals]],
    groups: Sequence[Group],
) -> dict[str, tuple[str, CorrelationSums, Group]]:
    """The sums behind each observable and group."""
    n_frames = max(runs.lengths)
    nodes = fit_bin_nodes(n_frames, n_frames)
    found = {}
    for group in groups:
        units = sum(int(np.atleast_2d(member).any(axis=0).sum()) for member in group.members)
        parts = int(np.clip(-(-UNITS // units), 1, max(1, min(runs.lengths) // FEWEST_FRAMES)))
        for name, (label, _) in observables.items():
            sums = CorrelationSums(runs.lengths, runs.n_ions, nodes, parts)
            found[_name(name, group)] = (f'{label}, {group.words}' if group.name else label, sums, group)
    for block in blocks():
        for run, series in enumerate(block.series):
            size = max(1, int(SIGNAL_BYTES // (8 * series.shape[1] * series.shape[2])))
            for start in range(0, len(series), size):
                part = series[start : start + size]
                ions = slice(block.ions.start + start, block.ions.start + start + len(part))
                _add_products(run, ions, part, observables, groups, found)
    return found


def _add_products(run, ions, series, observables, groups, found) -> None:
    """Add the products of some ions to the sums of each observable and group."""
    index = np.arange(ions.start, ions.stop)
    chosen = [(group, *_members(group, run, ions)) for group in groups]
    for name, (_, signals) in observables.items():
        wanted = [(inside, origins, found[_name(name, group)][1]) for group, inside, origins in chosen if inside.any()]
        for inside, origins, sums in wanted:
            sums.count(run, index[inside], origins)
        for share, x in signals(series):
            for inside, origins, sums in wanted:
                sums.add(run, index[inside], share, x if inside.all() else x[:, inside], origins)


def _name(observable: str, group: Group) -> str:
    return f'{observable}_{group.name}' if group.name else observable


def _members(group: Group, run: int, ions: slice) -> tuple[np.ndarray, np.ndarray | None]:
    """Ions of a block that count (booleans), and those of their frames that are origins; all where ``None``."""
    member = group.members[run][..., ions]
    if member.ndim == 1:
        return member, None
    inside = np.any(member, axis=0)
    return np.asarray(inside), member[:, inside].astype(float)


def decay_results(fit: DecayFit) -> dict:
    """A decay, fitted with lags in ps, by the names that results have."""
    found = fit.verdict == DECAY
    return {
        'verdict': fit.verdict,
        'reason': fit.reason,
        'tau_ns': fit.tau * 1e-3,
        'tau_ns_ci95': _ns(fit.tau_ci95) if found else None,
        'tau_ns_lower_bound': fit.tau_lower_bound * 1e-3,
        'decay_rate_per_s': 1e12 / fit.tau,
        'decay_rate_per_s_ci95': tuple(1e12 / tau for tau in reversed(fit.tau_ci95)) if found else None,
        'gamma': fit.gamma,
        'plateau': fit.plateau,
        'amplitude': fit.amplitude,
        'first_lag_ps': fit.first_lag,
        'follows_from_ps': fit.follows_from,
        'last_lag_ps': fit.last_lag,
        'independent_signals': fit.signals,
        'misfit': fit.misfit,
        'integral_time_ns': fit.integral_time * 1e-3,
        'integral_time_ns_ci95': _ns(fit.integral_time_ci95),
        'time_to_1_over_e_ns': fit.time_to_1_e * 1e-3,
        'time_to_1_over_e_ns_ci95': _ns(fit.time_to_1_e_ci95),
        'decays': max(1, len(fit.components)) if found else 0,
        'components': tuple(
            WeightedTime(part.tau * 1e-3, _ns(part.tau_ci95), part.weight, part.weight_ci95) for part in fit.components
        ),
    }


def _ns(limits_ps: tuple[float, float]) -> tuple[float, float]:
    return limits_ps[0] * 1e-3, limits_ps[1] * 1e-3


def _curve(label: str, sums: CorrelationSums, group: Group, step_ps: float, settings: AcfSettings) -> Curve:
    c = sums.curve()
    lag = np.arange(len(c)) * step_ps
    n_frames = max(sums.lengths)
    counted = [
        member.sum() * (1 if member.ndim == 2 else length) for member, length in zip(group.members, sums.lengths)
    ]
    samples = resampled_averages(*sums.units(), settings.bootstrap, settings.seed)
    # blocks at the end of the trajectory hold no pair of the longest lags; a resample of such blocks only knows nothing
    samples = np.nan_to_num(samples)
    samples = samples / samples[:, :1]
    fit = fit_decay(
        lag,
        c,
        gamma=settings.gamma,
        first_lag=settings.first_lag_ps,
        samples=samples[:, : len(fit_bin_nodes(len(c), n_frames))],
        ions=max(1, round(sum(counted) / n_frames)),
        length=n_frames * step_ps,
        tau_fraction=settings.max_tau_fraction,
        seed=settings.seed,
        decays=settings.decays,
    )
    centres = LagBins.of(sums.nodes, n_frames).centre * step_ps
    band = np.quantile(samples, [0.025, 0.975], axis=0).T
    return Curve(label=label, lag=lag, c=c, band_lag=centres, band=band, per_ion=sums.per_ion(), fit=fit)
