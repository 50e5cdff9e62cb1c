"""``ufpnmr analyse microstructure``."""

from __future__ import annotations

import dataclasses

import click
import numpy as np

from aiida_ufpnmr.engine.commands.analysis import Finding, analysis_of_tensors
from aiida_ufpnmr.engine.commands.shared import NOT_NEGATIVE, POSITIVE, Command, Number, Numbers
from aiida_ufpnmr.engine.efg.isotopes import Isotope
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.nmr.grain_walk import STRUCTURES
from aiida_ufpnmr.engine.nmr.microstructure import (
    MEASURED_MS,
    GrainSettings,
    diffusion_at,
    grains_of_decay,
    polycrystals,
)
from aiida_ufpnmr.engine.nmr.observables import AcfSettings, correlation_functions
from aiida_ufpnmr.engine.nmr.residual import RESIDUAL, ResidualCoupling, residual_coupling
from aiida_ufpnmr.engine.nmr.runs import EfgRuns
from aiida_ufpnmr.engine.nmr.storage import write_polycrystals
from aiida_ufpnmr.engine.trajectories.paths import ion_paths
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory
from aiida_ufpnmr.engine.transport.msd import DIFFUSION
from aiida_ufpnmr.engine.transport.msd import diffusion as diffusion_of


@click.command(
    'microstructure',
    cls=Command,
    example='ufpnmr analyse microstructure run.h5 --grain-nm 10,100,1000 --diffusion 1e-10 --plot grains.png',
)
@analysis_of_tensors
@click.option('--grain-nm', type=Numbers(), default='10,100,1000', show_default=True, help='Grain sizes in nm.')
@click.option(
    '--diffusion',
    type=Numbers(),
    help='Diffusion coefficients within grains in cm²/s; default that of the trajectory, where it shows one.',
)
@click.option('--temperature', type=POSITIVE, default=300.0, show_default=True, help='Temperature of --diffusion in K.')
@click.option('--activation-energy-ev', type=NOT_NEGATIVE, help='Of the diffusion, in eV; for --temperatures.')
@click.option('--temperatures', type=Numbers(), help='Temperatures in K to which the diffusion is carried.')
@click.option(
    '--structure',
    type=click.Choice(['cubes', 'voronoi']),
    default=GrainSettings.structure,
    show_default=True,
    help='Shape of the grains: cubes (analytic), or Voronoi cells (Monte Carlo).',
)
@click.option(
    '--boundary-nm',
    type=NOT_NEGATIVE,
    default=GrainSettings.boundary_nm,
    show_default=True,
    help='A grain boundary resists as this thickness of grain, in nm.',
)
@click.option(
    '--size-spread',
    type=NOT_NEGATIVE,
    default=GrainSettings.spread,
    show_default=True,
    help='Standard deviation of the logarithm of the grain size, over the volume.',
)
@click.option(
    '--glass-fraction',
    type=Number(0, 0.9),
    default=GrainSettings.glass_fraction,
    show_default=True,
    help='Share of the volume that is glass, between the grains.',
)
@click.option(
    '--glass-diffusion-ratio',
    type=POSITIVE,
    default=GrainSettings.glass_ratio,
    show_default=True,
    help='Diffusion coefficient in the glass over that in grains (Monte Carlo where not 1).',
)
@click.option(
    '--glass-tau-ns',
    type=POSITIVE,
    default=GrainSettings.glass_tau_ns,
    show_default=True,
    help='Decay time of the correlation in the glass, in ns.',
)
@click.option(
    '--mixing-nm',
    type=POSITIVE,
    default=GrainSettings.mixing_nm,
    show_default=True,
    help='Distance over which an ion meets all sites of its crystal, in nm.',
)
@click.option(
    '--measured-ms',
    type=POSITIVE,
    nargs=2,
    default=MEASURED_MS,
    show_default=True,
    help='Measured range of decay times in ms, to compare with.',
)
@click.option(
    '--walkers',
    type=click.IntRange(min=STRUCTURES),
    default=GrainSettings.walkers,
    show_default=True,
    help='Ions of Monte Carlo.',
)
@click.option(
    '--seed', type=click.IntRange(min=0), default=0, show_default=True, help='Seed of resampling and Monte Carlo.'
)
def microstructure(
    runs: EfgRuns,
    nuclide: Isotope,
    grain_nm,
    diffusion,
    temperature,
    activation_energy_ev,
    temperatures,
    structure,
    boundary_nm,
    size_spread,
    glass_fraction,
    glass_diffusion_ratio,
    glass_tau_ns,
    mixing_nm,
    measured_ms,
    walkers,
    seed,
):
    """What grains and their boundaries make of a decay: the correlation from ns to s.

    The trajectory is that of one crystal. The coupling that it leaves decays as ions move to grains that lie otherwise.
    """
    if measured_ms[0] > measured_ms[1]:
        raise InputError('--measured-ms takes the lower end first')
    settings = GrainSettings(
        structure,
        boundary_nm,
        size_spread,
        glass_fraction,
        glass_diffusion_ratio,
        glass_tau_ns,
        mixing_nm,
        walkers,
        seed,
    )
    given = diffusion is not None
    if diffusion is None:
        diffusion = (_own_diffusion(runs),)
    at = (temperature,) * len(diffusion)
    if temperatures:
        if activation_energy_ev is None or len(diffusion) > 1:
            raise InputError('--temperatures needs --activation-energy-ev and one diffusion coefficient')
        at = temperatures
        diffusion = tuple(diffusion_at(diffusion[0], temperature, activation_energy_ev, other) for other in at)
    curves, _ = correlation_functions(runs, AcfSettings(isotope=nuclide.name, seed=seed))
    residual = residual_coupling(runs, nuclide)
    found = polycrystals(curves['omega_q_powder'], residual, grain_nm, diffusion, settings, at)
    needed = [[grains_of_decay(tau, one, settings) for tau in measured_ms] for one in diffusion]
    table = [('T (K)', 'D (cm²/s)', 'grains (nm)', 'τ (ms)', 'fitted τ (ms)', 'γ', 'by')] + [
        (
            f'{one.temperature_k:g}',
            f'{one.diffusion_cm2_per_s:.3g}',
            f'{one.grain_nm:g}',
            f'{one.tau_ms:.4g}',
            f'{one.fit_tau_ms:.4g}',
            f'{one.fit_gamma:.2f}',
            one.method,
        )
        for one in found
    ]
    results = {
        'polycrystals': [
            {
                'grain_nm': one.grain_nm,
                'diffusion_coefficient_cm2_per_s': one.diffusion_cm2_per_s,
                'temperature_K': one.temperature_k,
                'tau_ms': one.tau_ms,
                'fit_tau_ms': one.fit_tau_ms,
                'fit_gamma': one.fit_gamma,
                'residual_share': one.residual_share,
                'mixing_ns': one.mixing_ns,
                'within_measured': bool(measured_ms[0] <= one.tau_ms <= measured_ms[1]),
                'method': one.method,
            }
            for one in found
        ],
        'measured_ms': measured_ms,
        'grain_nm_for_measured': needed,
        'residual': residual_results(residual),
        'verdict': residual.verdict,
        'diffusion_from_trajectory': not given,
        'activation_energy_eV': activation_energy_ev,
        **dataclasses.asdict(settings),
    }

    def figure():
        from aiida_ufpnmr.engine.nmr.figures import microstructure_figure

        return microstructure_figure(found, measured_ms)

    words = '; '.join(f'{low:.3g} to {high:.3g} nm for D = {d:.3g} cm²/s' for (low, high), d in zip(needed, diffusion))
    remark = f'Grains that would make {measured_ms[0]:g} to {measured_ms[1]:g} ms: {words}.'
    if residual.verdict != RESIDUAL:
        remark += f'\n{residual.verdict.capitalize()}: in a glass there is nothing for grains to keep.'
    if min(grain_nm) < 5 * mixing_nm:
        remark += '\nGrains of less than five mixing lengths: ions leave before they have met all sites.'
    return Finding(
        results,
        f'{runs.n_ions} {runs.species} ions, {sum(runs.lengths)} frames; residual ω_Q {np.sqrt(residual.cell):.3g} kHz '
        f'out of {np.sqrt(residual.total):.3g} kHz (rms), |C_Q| of the mean tensor {residual.c_q_khz:.3g} kHz',
        table,
        lambda path: write_polycrystals(path, found, residual, settings),
        figure,
        remark,
    )


def _own_diffusion(runs: EfgRuns) -> float:
    """D of the first run, from its positions."""
    path = runs.runs[0][0].path
    with Trajectory(path) as source:
        if not source.n_frames:
            raise InputError(f'{path}: holds no positions to tell the diffusion coefficient; give --diffusion')
        paths = ion_paths(source, runs.species, runs.runs[0][0].time_fs[0] - source.time_fs[0])
    found = diffusion_of(paths.positions, paths.step_ps)
    if found.verdict != DIFFUSION:
        raise InputError(f'{path}: shows {found.verdict} ({found.reason}); give the coefficient with --diffusion')
    return found.coefficient_cm2_per_s


def residual_results(residual: ResidualCoupling) -> dict:
    """Partially averaged tensors as JSON-ready numbers."""
    return {
        'omega_q_rms_khz': np.sqrt(residual.total),
        'omega_q_rms_ion_means_khz': np.sqrt(residual.ion),
        'omega_q_rms_cell_mean_khz': np.sqrt(residual.cell),
        'omega_q_rms_by_chance_khz': np.sqrt(residual.chance),
        'share_of_ion_means': residual.ion / residual.total,
        'share_of_ion_means_error': residual.ion_error / residual.total,
        'share_of_cell_mean': residual.cell / residual.total,
        'share_of_cell_mean_error': residual.cell_error / residual.total,
        'c_q_of_mean_tensor_khz': residual.c_q_khz,
        'eta_of_mean_tensor': residual.eta,
    }
