"""Angles within tetrahedra and their angular velocities; Miyagawa 2024, Figs. 3 and 7."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from scipy.integrate import trapezoid
from scipy.signal import welch

from aiida_ufpnmr.engine.analyses.base import Result, SnapshotSource, Table, analysis
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.records import Record, quantity
from aiida_ufpnmr.engine.settings import setting
from aiida_ufpnmr.engine.structure.tetrahedra import Tetrahedra, centred_tetrahedra, lattice_tetrahedra
from aiida_ufpnmr.engine.timeseries.low_pass import PER_CM, low_pass
from aiida_ufpnmr.engine.trajectories.snapshots import Snapshots, SnapshotSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Corner at which an angle is, and the two that it is between.
TRIPLETS = np.array([(k, *pair) for k in range(4) for pair in combinations([c for c in range(4) if c != k], 2)])
#: Angles whose series are filtered at a time.
BLOCK = 256
#: Bins of the densities.
ANGLE_EDGES, VELOCITY_BINS = np.arange(0.0, 181.0), 200
#: Fewest frames that have a spectrum.
FEWEST_FRAMES = 8


@dataclass(frozen=True)
class AnglesSettings(SnapshotSettings):
    """Choice of the tetrahedra, and the filter."""

    low_pass_per_cm: float = setting(5.0, 'Slow motion is what is slower than this, in cm⁻¹.', above=0)
    resolution_per_cm: float = setting(5.0, 'Resolution of the spectrum in cm⁻¹.', above=0)
    corner: str = setting('', 'Element at the corners of tetrahedra without a centre, such as I; with --edge-angstrom.')
    edge_angstrom: float | None = setting(
        None, 'Longest edge in Å of those, in the mean structure; default tetrahedra about centres, by bonds.', above=0
    )

    def __post_init__(self):
        super().__post_init__()
        if bool(self.corner) != (self.edge_angstrom is not None):
            raise InputError('--corner and --edge-angstrom go together')


@dataclass(frozen=True)
class TetrahedralAngles(Record):
    """Angles between three corners of the tetrahedra of one kind, such as S–S–S, all twelve of each."""

    tetrahedra: int = quantity('', 'number of them')
    angle_density: np.ndarray = quantity('1/°', 'probability density of the angle', 'angles')
    slow_angle_density: np.ndarray = quantity('1/°', 'the same of its slow part', 'angles')
    velocity_deg_per_fs: np.ndarray = quantity('°/fs', 'middles of bins of the angular velocity', 'velocities')
    velocity_density: np.ndarray = quantity('fs/°', 'probability density of the angular velocity', 'velocities')
    spectrum: np.ndarray = quantity('cm', 'power of the angular velocity, with area 1', 'wavenumbers')
    angle_mean_deg: float = quantity('°', 'mean angle')
    angle_std_deg: float = quantity('°', 'standard deviation over angles and frames')
    slow_angle_std_deg: float = quantity('°', 'the same of the slow part')
    velocity_rms_deg_per_fs: float = quantity('°/fs', 'root mean square angular velocity')
    slow_velocity_rms_deg_per_fs: float = quantity('°/fs', 'the same of the slow part')
    spectrum_centre_per_cm: float = quantity('cm⁻¹', 'mean wavenumber of the spectrum')


@dataclass(frozen=True)
class AnglesResult(Result):
    """Angles within tetrahedra by their kind."""

    KIND = 'angles'

    angle_deg: np.ndarray = quantity('°', 'middles of the bins of the angle', 'angles')
    wavenumber_per_cm: np.ndarray = quantity('cm⁻¹', 'wavenumbers of the spectra', 'wavenumbers')
    kinds: dict[str, TetrahedralAngles] = quantity('', 'by kind, such as PS4')

    def table(self) -> Table:
        rows: list[tuple[str, ...]] = [
            ('tetrahedra', 'number', 'angle (°)', 'std (°)', 'slow std (°)', 'velocity (°/fs)', 'slow', 'centre (cm⁻¹)')
        ]
        for name, one in self.kinds.items():
            velocities = f'{one.velocity_rms_deg_per_fs:.3g}', f'{one.slow_velocity_rms_deg_per_fs:.3g}'
            spreads = f'{one.angle_std_deg:.2f}', f'{one.slow_angle_std_deg:.2f}'
            centre = f'{one.spectrum_centre_per_cm:.0f}'
            rows.append((name, str(one.tetrahedra), f'{one.angle_mean_deg:.2f}', *spreads, *velocities, centre))
        return rows

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import COLOURS, Figure, finish

        figure = Figure(figsize=(11.0, 3.6), layout='constrained')
        angles, velocities, spectra = figure.subplots(1, 3)
        for (name, one), colour in zip(self.kinds.items(), COLOURS):
            angles.plot(self.angle_deg, one.angle_density, color=colour, lw=1.2, label=name)
            angles.plot(self.angle_deg, one.slow_angle_density, color=colour, lw=1.0, ls=':', label=f'{name}, slow')
            velocities.plot(one.velocity_deg_per_fs, one.velocity_density, color=colour, lw=1.2)
            spectra.plot(self.wavenumber_per_cm, one.spectrum, color=colour, lw=1.2)
        angles.set(xlabel='angle between three corners (°)', ylabel='density (1/°)')
        shown = self.angle_deg[np.any([one.angle_density > 0 for one in self.kinds.values()], axis=0)]
        angles.set_xlim(shown[0] - 5, shown[-1] + 5)
        velocities.set(xlabel='angular velocity (°/fs)', ylabel='density (fs/°)')
        spectra.set(xlabel='wavenumber (cm⁻¹)', ylabel='power of the velocity (cm)')
        for axis, legend in ((angles, True), (velocities, False), (spectra, False)):
            finish(axis, legend=legend)
        return figure


@analysis('angles', 'ufpnmr analyse angles run.h5 --plot angles.png --json angles.json')
def angles(source: SnapshotSource, settings: AnglesSettings) -> AnglesResult:
    """Angles within tetrahedra (S–S–S), their angular velocities, slow parts and spectrum.

    Tetrahedra are those of the first frame, PS4 by their bonds or I4 of a lattice, and are followed by their atoms.
    """
    snapshots = source.snapshots.at_regular_times()
    if len(snapshots.frames) < FEWEST_FRAMES:
        raise InputError(f'{len(snapshots.frames)} frames to analyse; a spectrum needs at least {FEWEST_FRAMES}')
    if settings.edge_angstrom is None:
        there = centred_tetrahedra(snapshots.atoms)
    else:
        snapshots.chosen(settings.corner, 'corner')
        there = lattice_tetrahedra(snapshots.mean_structure(), settings.corner, settings.edge_angstrom)
    series = angle_series(there, snapshots)
    kinds, wavenumber = {}, np.zeros(0)
    for name in sorted(set(there.names)):
        of_kind = series[there.names == name].reshape(-1, series.shape[-1])
        kinds[name], wavenumber = _summary(of_kind, snapshots.step_ps, settings)
    return AnglesResult((ANGLE_EDGES[1:] + ANGLE_EDGES[:-1]) / 2, wavenumber, kinds)


def angle_series(there: Tetrahedra, snapshots: Snapshots) -> np.ndarray:
    """The twelve angles between three corners of each tetrahedron in °, (n, 12, n_frames) in single precision.

    Miyagawa 2024, eqn (4): cos θ = (d₁₂² + d₁₃² − d₂₃²)/(2 d₁₂ d₁₃).
    """
    series = np.empty((len(there.names), len(TRIPLETS), len(snapshots.frames)), np.float32)
    frame = 0
    for corners in there.along(snapshots):
        at = corners[:, :, TRIPLETS[:, 0]]
        one, other = corners[:, :, TRIPLETS[:, 1]] - at, corners[:, :, TRIPLETS[:, 2]] - at
        lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
        cosine = np.clip((one * other).sum(axis=-1) / lengths, -1, 1)
        series[..., frame : frame + len(corners)] = np.degrees(np.moveaxis(np.arccos(cosine), 0, -1))
        frame += len(corners)
    return series


def _summary(series: np.ndarray, step_ps: float, settings: AnglesSettings) -> tuple[TetrahedralAngles, np.ndarray]:
    """Densities and spectrum of the angles of one kind, (n_angles, n_frames), and the wavenumbers."""
    step_fs = 1000 * step_ps
    fastest = float(np.abs(np.diff(series, axis=-1)).max()) / step_fs or 1.0
    velocities = np.linspace(-fastest, fastest, VELOCITY_BINS + 1)
    counts, slow_counts = np.zeros((2, len(ANGLE_EDGES) - 1))
    velocity_counts, square, slow_square, slow_spread = np.zeros(VELOCITY_BINS), 0.0, 0.0, 0.0
    mean, segment = float(series.mean(dtype=float)), _segment(series.shape[-1], step_ps, settings.resolution_per_cm)
    power = np.zeros(segment // 2 + 1)
    for start in range(0, len(series), BLOCK):
        block = series[start : start + BLOCK].astype(float)
        slow = low_pass(block, step_ps, settings.low_pass_per_cm)
        velocity, slow_velocity = np.diff(block, axis=-1) / step_fs, np.diff(slow, axis=-1) / step_fs
        counts += np.histogram(block, ANGLE_EDGES)[0]
        slow_counts += np.histogram(slow, ANGLE_EDGES)[0]
        velocity_counts += np.histogram(velocity, velocities)[0]
        square += (velocity**2).sum()
        slow_square += (slow_velocity**2).sum()
        slow_spread += ((slow - mean) ** 2).sum()
        frequency, density = welch(velocity, 1 / step_ps, nperseg=segment, detrend=False)
        power += density.sum(axis=0)
    wavenumber = PER_CM * frequency
    area = trapezoid(power, wavenumber) or 1.0
    n_velocities = len(series) * (series.shape[-1] - 1)
    return TetrahedralAngles(
        tetrahedra=len(series) // len(TRIPLETS),
        angle_density=counts / series.size,
        slow_angle_density=slow_counts / series.size,
        velocity_deg_per_fs=(velocities[1:] + velocities[:-1]) / 2,
        velocity_density=velocity_counts / (n_velocities * np.diff(velocities)),
        spectrum=power / area,
        angle_mean_deg=mean,
        angle_std_deg=float(series.std(dtype=float)),
        slow_angle_std_deg=float(np.sqrt(slow_spread / series.size)),
        velocity_rms_deg_per_fs=float(np.sqrt(square / n_velocities)),
        slow_velocity_rms_deg_per_fs=float(np.sqrt(slow_square / n_velocities)),
        spectrum_centre_per_cm=float(trapezoid(power * wavenumber, wavenumber) / area),
    ), wavenumber


def _segment(n_frames: int, step_ps: float, resolution_per_cm: float) -> int:
    """Frames of the parts whose spectra are averaged."""
    return int(np.clip(round(PER_CM / (resolution_per_cm * step_ps)), FEWEST_FRAMES, n_frames - 1))
