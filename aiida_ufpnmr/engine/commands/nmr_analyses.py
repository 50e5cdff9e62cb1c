"""``ufpnmr analyse orientations``, ``relaxation`` and ``spectrum``."""

from __future__ import annotations

import click
import numpy as np

from aiida_ufpnmr.engine.analyses.groups import starting_sites
from aiida_ufpnmr.engine.commands.analysis import Finding, analysis_of_tensors
from aiida_ufpnmr.engine.commands.nmr import FieldDirection
from aiida_ufpnmr.engine.commands.shared import NOT_NEGATIVE, POSITIVE, Command, Numbers
from aiida_ufpnmr.engine.efg.isotopes import Isotope
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.nmr.observables import AcfSettings, correlation_functions
from aiida_ufpnmr.engine.nmr.orientations import CONVENTIONS, orientation_maps
from aiida_ufpnmr.engine.nmr.relaxation_times import RULES, curve_points, inverse_laplace
from aiida_ufpnmr.engine.nmr.runs import EfgRuns
from aiida_ufpnmr.engine.nmr.spectra import AVERAGES, averaged_tensors, quadrupolar_spectra, sites_of
from aiida_ufpnmr.engine.nmr.spin_lattice import RESOLVED, spin_lattice_relaxation
from aiida_ufpnmr.engine.nmr.storage import write_orientations, write_relaxation_times, write_spectra
from aiida_ufpnmr.engine.timeseries.decay import NO_DECAY


@click.command(
    'orientations',
    cls=Command,
    example='ufpnmr analyse orientations run.h5 --by-site --plot maps.png --json maps.json',
)
@analysis_of_tensors
@click.option(
    '--field',
    type=FieldDirection(),
    default='z',
    show_default=True,
    help='Direction of the magnetic field in the cell.',
)
@click.option(
    '--convention',
    type=click.Choice(CONVENTIONS),
    default='harper',
    show_default=True,
    help='φ of the field counted from the y axis (harper: a minus sign before η) or from x (ordered: a plus sign).',
)
@click.option(
    '--bins', type=click.IntRange(2, 200), default=30, show_default=True, help='Bins in cos θ and in a quarter turn.'
)
@click.option('--by-site', is_flag=True, help='Also a map for each kind of site, as "analyse sites" finds them.')
def orientations(runs: EfgRuns, nuclide: Isotope, field, convention, bins, by_site):
    """Maps of the orientations of EFG tensors on the sphere, with bins of equal area.

    One is of the field in the principal axes of the tensors, the other of their largest principal axis in the cell.
    """
    if field == 'powder':
        raise InputError('a map of orientations needs a direction of the field; give --field x, y, z or a vector')
    direction = AcfSettings(field=field).direction
    found = orientation_maps(
        runs, direction, convention=convention, bins=bins, groups=starting_sites(runs) if by_site else ()
    )
    table = [('ions', 'map', 'tensors', 'fullest bin θ, φ (°)', 'its density', 'area of half', 'axes well defined')]
    summary = {}
    for maps in found:
        name = maps.name or 'all'
        summary[name] = {}
        for key, one in (('field_in_axes', maps.field_in_axes), ('axis_in_cell', maps.axis_in_cell)):
            theta, phi = one.mode
            summary[name][key] = {
                'mode_theta_degrees': theta,
                'mode_phi_degrees': phi,
                'mode_density': float(one.density.max()),
                'half_area_share': one.half_area,
                'tensors': one.tensors,
                'well_defined_share': one.well_defined_share,
            }
            table.append(
                (
                    name,
                    one.label,
                    str(one.tensors),
                    f'{theta:.0f}, {phi:.0f}',
                    f'{one.density.max():.2f}',
                    f'{one.half_area:.2f}',
                    f'{one.well_defined_share:.2f}',
                )
            )
    results = {'maps': summary, 'field_direction': direction, 'convention': convention, 'bins': bins}

    def figure():
        from aiida_ufpnmr.engine.nmr.figures import orientations_figure

        return orientations_figure(found)

    return Finding(
        results,
        f'{runs.n_ions} {runs.species} ions, {sum(runs.lengths)} frames; densities are 1 where isotropic',
        table,
        lambda path: write_orientations(path, found, direction, convention),
        figure,
    )


@click.command(
    'relaxation',
    cls=Command,
    example='ufpnmr analyse relaxation run.h5 --non-negative --larmor-mhz 116.6 --plot times.png --json times.json',
)
@analysis_of_tensors
@click.option('--non-negative', is_flag=True, help='Allow no negative density.')
@click.option(
    '--rule',
    type=click.Choice(RULES),
    default='discrepancy',
    show_default=True,
    help='How the penalty is chosen: deviations as large as their errors, or generalised cross-validation.',
)
@click.option('--strength', type=POSITIVE, help='Strength of the penalty; chosen by the rule where not given.')
@click.option(
    '--points', type=click.IntRange(10, 500), default=60, show_default=True, help='Points of the distribution.'
)
@click.option('--first-lag-ps', type=NOT_NEGATIVE, help='First lag in ps; default where noise and vibrations are over.')
@click.option('--larmor-mhz', type=Numbers(), help='Larmor frequencies in MHz at which to give T1, such as 116.6.')
@click.option('--bootstrap', type=click.IntRange(min=2), default=100, show_default=True, help='Resampled curves.')
@click.option('--seed', type=click.IntRange(min=0), default=0, show_default=True, help='Seed of the resampling.')
def relaxation(
    runs: EfgRuns, nuclide: Isotope, non_negative, rule, strength, points, first_lag_ps, larmor_mhz, bootstrap, seed
):
    """Distribution of relaxation times of the tensor correlation, and T1 from its spectral density."""
    asked = AcfSettings(isotope=nuclide.name, first_lag_ps=first_lag_ps, bootstrap=max(bootstrap, 200), seed=seed)
    curve = correlation_functions(runs, asked)[0]['omega_q_powder']
    lag, c, samples = curve_points(curve, bootstrap, seed)
    if len(lag) < 8:
        raise InputError(f'{len(lag)} lags from the first lag to half of the run; a transform needs at least 8')
    error = samples.std(axis=0, ddof=1)
    error = np.maximum(error, 1e-3 * error.max() + 1e-12)
    found = inverse_laplace(
        lag, c, error, non_negative=non_negative, rule=rule, strength=strength, points=points, samples=samples
    )
    decays = curve.fit.verdict != NO_DECAY  # a distribution of times needs no form
    peaks = found.peaks if decays else ()
    rates = spin_lattice_relaxation(runs, nuclide, larmor_mhz) if larmor_mhz else []
    table = [('quantity', 'value', '95 % interval', 'share or verdict')] + [
        (
            'relaxation time (ns)',
            f'{peak.tau * 1e-3:.4g}',
            '{:.4g} to {:.4g}'.format(*(1e-3 * limit for limit in peak.tau_ci95)),
            '{:.3f} ({:.3f} to {:.3f})'.format(peak.weight, *peak.weight_ci95),
        )
        for peak in peaks
    ]
    table.append(('plateau', f'{found.plateau:.3f}', '', ''))
    table += [
        (
            f'T1 at {one.larmor_mhz:g} MHz (s)',
            f'{one.t1_s:.4g}' if one.verdict == RESOLVED else '-',
            '{:.4g} to {:.4g}'.format(*one.t1_ci95_s) if one.verdict == RESOLVED else '-',
            one.verdict,
        )
        for one in rates
    ]
    results = {
        'verdict': curve.fit.verdict,
        'peaks': [
            {
                'tau_ns': peak.tau * 1e-3,
                'tau_ns_ci95': [1e-3 * limit for limit in peak.tau_ci95],
                'weight': peak.weight,
                'weight_ci95': peak.weight_ci95,
            }
            for peak in peaks
        ],
        'plateau': found.plateau,
        'misfit': found.misfit,
        'rule': found.rule,
        'strength': found.strength,
        'non_negative': non_negative,
        'first_lag_ps': lag[0],
        'last_lag_ps': lag[-1],
        'seed': seed,
        't1': [
            {
                'larmor_MHz': one.larmor_mhz,
                't1_s': one.t1_s,
                't1_s_ci95': one.t1_ci95_s,
                't1_parts_s': one.parts_s,
                'spectral_density_khz2_ns': one.density_khz2_ns,
                'spectral_density_error_khz2_ns': one.density_error,
                'verdict': one.verdict,
            }
            for one in rates
        ],
    }

    def figure():
        from aiida_ufpnmr.engine.nmr.figures import relaxation_figure

        return relaxation_figure(found, c, error)

    return Finding(
        results,
        f'{runs.n_ions} {runs.species} ions, {sum(runs.lengths)} frames: {curve.fit.verdict}',
        table,
        lambda path: write_relaxation_times(path, found, c, error, curve.fit.verdict),
        figure,
        _remark(decays, found.misfit),
    )


def _remark(decays: bool, misfit: float) -> str:
    if not decays:
        return 'Without a decay no times are named; the density is that of noise and of what is too slow.'
    if misfit > 2:
        return f'Misfit {misfit:.1f}: no sum of decays, as where vibrations last; try a later --first-lag-ps.'
    return ''


@click.command(
    'spectrum',
    cls=Command,
    example='ufpnmr analyse spectrum run.h5 --mas-khz 0,10 --plot spectrum.png -o spectrum.h5',
)
@analysis_of_tensors
@click.option(
    '--average',
    type=click.Choice(AVERAGES),
    default='ion',
    show_default=True,
    help='Tensors averaged for each ion over the run, over all ions (fast exchange), or not at all (no motion).',
)
@click.option('--field-tesla', type=POSITIVE, default=7.05, show_default=True, help='Magnetic field in T.')
@click.option(
    '--mas-khz',
    type=Numbers(zero=True),
    default='0',
    show_default=True,
    help='Spinning frequencies in kHz; 0 is static.',
)
@click.option(
    '--broadening-khz',
    type=NOT_NEGATIVE,
    default=0.5,
    show_default=True,
    help='Gaussian width at half height, in kHz.',
)
def spectrum(runs: EfgRuns, nuclide: Isotope, average, field_tesla, mas_khz, broadening_khz):
    """Static and MAS line shapes of partially averaged tensors in a powder; needs mrsimulator."""
    tensors = averaged_tensors(runs, average)
    found = quadrupolar_spectra(
        tensors, nuclide, field_tesla=field_tesla, mas_khz=mas_khz, broadening_khz=broadening_khz
    )
    coupling, eta, share = sites_of(tensors, nuclide)
    mean = {'c_q_mean_khz': float(coupling @ share), 'eta_mean': float(eta @ share)}
    results = {
        'average': average,
        'field_tesla': field_tesla,
        'broadening_khz': broadening_khz,
        **mean,
        'spectra': [{'mas_khz': one.mas_khz, 'rms_width_khz': one.rms_width_khz} for one in found],
    }
    means = f'mean |C_Q| {mean["c_q_mean_khz"]:.1f} kHz, mean η {mean["eta_mean"]:.2f}'
    words = f'{nuclide.name} at {field_tesla:g} T, {means}'

    def figure():
        from aiida_ufpnmr.engine.nmr.figures import spectra_figure

        return spectra_figure(found, words)

    return Finding(
        results,
        f'{words}; tensors averaged over: {average}',
        [('spinning (kHz)', 'rms width (kHz)')] + [(f'{one.mas_khz:g}', f'{one.rms_width_khz:.3f}') for one in found],
        lambda path: write_spectra(path, found),
        figure,
    )
