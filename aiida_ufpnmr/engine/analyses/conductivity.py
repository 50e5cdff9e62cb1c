"""Conductivity of the collective displacement of charge, of independent ions, and their ratio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aiida_ufpnmr.engine.analyses.base import PathSource, Result, Table, analysis
from aiida_ufpnmr.engine.analyses.msd import DiffusionSettings
from aiida_ufpnmr.engine.building.charges import read_charges
from aiida_ufpnmr.engine.records import quantity
from aiida_ufpnmr.engine.settings import setting
from aiida_ufpnmr.engine.tables import interval_row
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory
from aiida_ufpnmr.engine.transport.conductivity import S_PER_CM, charge_displacement, ion_charges, mean_temperature_K
from aiida_ufpnmr.engine.transport.msd import CM2_PER_S, DIFFUSION, diffusion, mean_square_displacement
from aiida_ufpnmr.engine.transport.walk import fit_walk

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class ConductivitySettings(DiffusionSettings):
    """Charges and temperature."""

    charges: str = setting(
        '', 'Formal charges of elements in e, where not the common ones; the cell must be neutral.', metavar='Li=1,S=-2'
    )
    temperature_K: float | None = setting(None, 'Temperature in K; by default the mean that the run wrote.', above=0)


@dataclass(frozen=True)
class ConductivityResult(Result):
    """Conductivity of all charges, that of independent ions of one species, and what makes them differ."""

    KIND = 'conductivity'

    lag_ps: np.ndarray = quantity('ps', 'lags', 'lags')
    charge_msd_e2_angstrom2: np.ndarray = quantity('e²·Å²', 'mean square of the displacement of all charge', 'lags')
    independent_msd_e2_angstrom2: np.ndarray = quantity(
        'e²·Å²', 'the same if the ions of the species moved independently', 'lags'
    )
    conductivity_S_per_cm: float = quantity('S/cm', 'conductivity of the collective displacement of charge')
    conductivity_S_per_cm_ci95: tuple[float, float] = quantity('S/cm', 'its 95 % interval')
    nernst_einstein_S_per_cm: float = quantity('S/cm', 'conductivity if the ions moved independently')
    nernst_einstein_S_per_cm_ci95: tuple[float, float] = quantity('S/cm', 'its 95 % interval')
    haven_ratio: float = quantity('', 'conductivity of independent ions over the collective one')
    haven_ratio_ci95: tuple[float, float] = quantity('', 'its 95 % interval; infinite where the other reaches zero')
    diffusion_coefficient_cm2_per_s: float = quantity('cm²/s', 'of single ions')
    diffusion_coefficient_cm2_per_s_ci95: tuple[float, float] = quantity('cm²/s', 'its 95 % interval')
    jump_diffusion_coefficient_cm2_per_s: float = quantity(
        'cm²/s', 'of the mass centre of the species, times the number of ions'
    )
    jump_diffusion_coefficient_cm2_per_s_ci95: tuple[float, float] = quantity('cm²/s', 'its 95 % interval')
    charge_e: float = quantity('e', 'charge of an ion of the species')
    temperature_K: float = quantity('K', 'temperature')
    volume_angstrom3: float = quantity('Å³', 'mean volume of the cell')
    verdict: str = quantity('', 'of the displacement of single ions, as in msd')

    @property
    def headline(self) -> str:
        return f'{super().headline}, {self.temperature_K:.0f} K: {self.verdict}'

    @property
    def remarks(self) -> list[str]:
        if self.verdict != DIFFUSION:
            return ['Single ions do not diffuse for certain; none of these numbers is a coefficient of transport then.']
        if self.conductivity_S_per_cm_ci95[0] <= 0:
            return [
                'The conductivity is not above zero for certain: all ions together make one walk. Go on for longer.'
            ]
        return []

    def table(self) -> Table:
        return [
            ('quantity', 'value', '95 % interval'),
            interval_row('conductivity (S/cm)', self.conductivity_S_per_cm, self.conductivity_S_per_cm_ci95, '.3e'),
            interval_row(
                'Nernst–Einstein (S/cm)', self.nernst_einstein_S_per_cm, self.nernst_einstein_S_per_cm_ci95, '.3e'
            ),
            interval_row('Haven ratio', self.haven_ratio, self.haven_ratio_ci95, '.2f'),
            interval_row(
                'D (cm²/s)', self.diffusion_coefficient_cm2_per_s, self.diffusion_coefficient_cm2_per_s_ci95, '.3e'
            ),
            interval_row(
                'jump D (cm²/s)',
                self.jump_diffusion_coefficient_cm2_per_s,
                self.jump_diffusion_coefficient_cm2_per_s_ci95,
                '.3e',
            ),
        ]

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import BLUE, ORANGE, Figure, finish, time_unit

        figure = Figure(figsize=(6.0, 4.6), layout='constrained')
        axis = figure.subplots()
        unit, factor = time_unit(self.lag_ps[-1])
        shown = slice(1, max(3, len(self.lag_ps) // 2))
        for msd, colour, label in (
            (self.charge_msd_e2_angstrom2, BLUE, 'all charges together'),
            (self.independent_msd_e2_angstrom2, ORANGE, f'{self.source.get("species", "ions")}, if independent'),
        ):
            axis.plot(self.lag_ps[shown] * factor, msd[shown], color=colour, lw=1.6, label=label)
        axis.set(xscale='log', yscale='log', xlabel=f'lag time ({unit})', ylabel='mean square displacement (e²·Å²)')
        axis.set_title(f'σ = {self.conductivity_S_per_cm:.2e} S/cm, Haven ratio {self.haven_ratio:.2f}', fontsize=11)
        finish(axis)
        return figure


@analysis('conductivity', 'ufpnmr analyse conductivity run.h5 --skip-ps 20 --plot conductivity.png')
def conductivity(source: PathSource, settings: ConductivitySettings) -> ConductivityResult:
    """Ionic conductivity of the collective displacement of all charge, that of independent ions (Nernst–Einstein), and
    their quotient, the Haven ratio."""
    paths = source.paths
    with Trajectory(source.path) as trajectory:
        charges = ion_charges(trajectory, read_charges(settings.charges) if settings.charges else {})
        moment, volume = charge_displacement(trajectory, charges, source.skip_fs)
        temperature = settings.temperature_K or mean_temperature_K(trajectory, source.skip_fs)
    charge, n_ions = float(charges[paths.index[0]]), len(paths.index)
    alone = diffusion(paths.positions, paths.step_ps, window=settings.window, bootstrap=2)
    together = fit_walk(moment[:, None], paths.step_ps, settings.window[0])
    centre = fit_walk(paths.positions.mean(axis=1)[:, None], paths.step_ps, settings.window[0])

    unit = S_PER_CM / (volume * temperature)
    independent = n_ions * charge**2 * unit / CM2_PER_S  # S/cm for each cm²/s
    low, high = alone.diffusion_coefficient_cm2_per_s_ci95
    nernst_einstein = alone.diffusion_coefficient_cm2_per_s * independent
    haven, haven_interval = quotient(
        nernst_einstein, (high - low) / 2 * independent, together.diffusion * unit, together.error * unit
    )
    return ConductivityResult(
        lag_ps=alone.lag_ps,
        charge_msd_e2_angstrom2=mean_square_displacement(moment[:, None], paths.step_ps)[1],
        independent_msd_e2_angstrom2=n_ions * charge**2 * alone.msd_angstrom2,
        conductivity_S_per_cm=together.diffusion * unit,
        conductivity_S_per_cm_ci95=together.interval(unit),
        nernst_einstein_S_per_cm=nernst_einstein,
        nernst_einstein_S_per_cm_ci95=(low * independent, high * independent),
        haven_ratio=haven,
        haven_ratio_ci95=haven_interval,
        diffusion_coefficient_cm2_per_s=alone.diffusion_coefficient_cm2_per_s,
        diffusion_coefficient_cm2_per_s_ci95=(low, high),
        jump_diffusion_coefficient_cm2_per_s=centre.diffusion * n_ions * CM2_PER_S,
        jump_diffusion_coefficient_cm2_per_s_ci95=centre.interval(n_ions * CM2_PER_S),
        charge_e=charge,
        temperature_K=temperature,
        volume_angstrom3=volume,
        verdict=alone.verdict,
    )


def quotient(above: float, above_error: float, below: float, below_error: float) -> tuple[float, tuple[float, float]]:
    """A quotient and its interval, from two numbers and the half widths of theirs.

    The interval is that of the inverse, whose error is closer to normal; it has no upper end where that reaches zero.
    """
    if above <= 0 or below <= 0:
        return np.nan, (0.0, np.inf)
    inverse = below / above
    error = inverse * np.hypot(above_error / above, below_error / below)
    return 1 / inverse, (1 / (inverse + error), 1 / (inverse - error) if inverse > error else np.inf)
