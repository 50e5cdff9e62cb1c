"""``ufpnmr analyse msd``, ``hops`` and ``sites``."""

from __future__ import annotations

import dataclasses

import click
import numpy as np

from aiida_ufpnmr.engine.analyses.by_site import by_site as distributions_by_site
from aiida_ufpnmr.engine.analyses.site_sequence import SiteAgreement, site_agreement
from aiida_ufpnmr.engine.commands.analysis import Finding, analysis_of_paths
from aiida_ufpnmr.engine.commands.nmr import FieldDirection
from aiida_ufpnmr.engine.commands.shared import NOT_NEGATIVE, POSITIVE, Command, Number
from aiida_ufpnmr.engine.efg.isotopes import get_isotope
from aiida_ufpnmr.engine.nmr.observables import AcfSettings
from aiida_ufpnmr.engine.nmr.runs import EfgRuns
from aiida_ufpnmr.engine.structure.sites import SiteSettings, find_sites
from aiida_ufpnmr.engine.structure.storage import write_sites
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory
from aiida_ufpnmr.engine.transport.hops import HopSettings, find_hops, hop_rate
from aiida_ufpnmr.engine.transport.msd import DIFFUSION, diffusion
from aiida_ufpnmr.engine.transport.storage import write_hops, write_msd


@click.command('msd', cls=Command, example='ufpnmr analyse msd run.h5 --skip-ps 20 --plot msd.png --json msd.json')
@analysis_of_paths
@click.option(
    '--window',
    type=Number(0, 1),
    nargs=2,
    default=(0.05, 0.25),
    show_default=True,
    help='Lags of the straight-line fit, as two shares of the trajectory.',
)
@click.option('--bootstrap', type=click.IntRange(min=2), default=500, show_default=True, help='Resampled curves.')
@click.option('--seed', type=click.IntRange(min=0), default=0, show_default=True, help='Seed of the resampling.')
def msd(paths, window, bootstrap, seed):
    """Mean square displacement and diffusion coefficient, D = slope/6."""
    found = diffusion(paths.positions, paths.step_ps, window=window, bootstrap=bootstrap, seed=seed)
    low, high = found.ci95_cm2_per_s
    results = {
        'diffusion_coefficient_cm2_per_s': found.coefficient_cm2_per_s,
        'diffusion_coefficient_cm2_per_s_ci95': found.ci95_cm2_per_s,
        'verdict': found.verdict,
        'diffusive': found.verdict == DIFFUSION,
        'reason': found.reason,
        'msd_exponent': found.exponent,
        'msd_exponent_ci95': found.exponent_ci95,
        'window_ps': found.window_ps,
        'msd_at_window_end_angstrom2': found.offset + found.slope * found.window_ps[1],
        'seed': seed,
    }

    def figure():
        from aiida_ufpnmr.engine.transport.figures import msd_figure

        return msd_figure(found, paths.species)

    return Finding(
        results,
        f'{len(paths.index)} {paths.species} ions, {paths.length_ps:.4g} ps: '
        + ': '.join(filter(None, (found.verdict, found.reason))),
        [
            ('quantity', 'value', '95 % interval'),
            ('D (cm²/s)', f'{found.coefficient_cm2_per_s:.3e}', f'{low:.3e} to {high:.3e}'),
            ('exponent of the MSD', f'{found.exponent:.2f}', '{:.2f} to {:.2f}'.format(*found.exponent_ci95)),
        ],
        lambda path: write_msd(path, found, paths),
        figure,
    )


@click.command('hops', cls=Command, example='ufpnmr analyse hops run.h5 -o hops.h5 --plot hops.png --json hops.json')
@analysis_of_paths
@click.option(
    '--window-ps',
    type=POSITIVE,
    default=HopSettings.window_ps,
    show_default=True,
    help='Average positions over this time, in ps (at least three frames).',
)
@click.option(
    '--threshold-angstrom',
    type=POSITIVE,
    default=HopSettings.threshold_angstrom,
    show_default=True,
    help='An ion farther than this from where it sat, in Å, may have hopped.',
)
@click.option(
    '--residence-ps',
    type=POSITIVE,
    default=HopSettings.residence_ps,
    show_default=True,
    help='It has if its mean position over this time, in ps, is beyond the threshold, too (at least three frames).',
)
@click.option('--by-site', is_flag=True, help='Compare with the sites that "analyse sites" finds with its defaults.')
def hops(paths, trajectory, skip_fs, window_ps, threshold_angstrom, residence_ps, by_site):
    """Hops of single ions and the hop rate per ion.

    The rate counts every hop. 1/τ of a correlation function is another quantity: with two sites it is twice this rate.
    """
    settings = HopSettings(window_ps, threshold_angstrom, residence_ps)
    found = find_hops(paths.positions, paths.step_ps, settings)
    rate = hop_rate(found)
    low, high = rate.ci95_per_s
    hopping_ions = len(np.unique(found.ion))
    results = {
        'hop_rate_per_s': rate.rate_per_s,
        'hop_rate_per_s_ci95': rate.ci95_per_s,
        'hop_rate_counted_per_s': rate.counted_per_s,
        'hop_rate_corrected': rate.corrected,
        'verdict': rate.verdict,
        'dead_time_ps': rate.dead_time_ps,
        'return_fraction': rate.return_fraction,
        'successive_hop_cosine': rate.successive_cosine,
        'hop_dispersion': rate.dispersion,
        'hops': len(found.frame),
        'hopping_ions': hopping_ions,
        'hop_distance_mean_angstrom': found.distance.mean() if len(found.frame) else None,
        **dataclasses.asdict(settings),
    }

    def figure():
        from aiida_ufpnmr.engine.transport.figures import hops_figure

        return hops_figure(paths.positions, found, paths.index, paths.species)

    agreement = None
    if by_site:
        with Trajectory(trajectory) as source:
            agreement = site_agreement(found, find_sites(source, paths.species, skip_fs=skip_fs))
        results |= {
            'hops_between_sites': {
                f'{origin}_to_{target}': int(count)
                for origin, row in zip(agreement.names, agreement.hops)
                for target, count in zip(agreement.names, row)
            },
            'site_changes': agreement.changes,
            'site_changes_with_hop': agreement.changes_with_hop,
        }
    ions = f'{hopping_ions} out of {len(paths.index)} {paths.species} ions'
    return Finding(
        results,
        f'{len(found.frame)} hops of {ions} in {paths.length_ps:.4g} ps: {rate.verdict}',
        [
            ('quantity', 'value', '95 % interval'),
            ('hop rate per ion (1/s)', f'{rate.rate_per_s:.3e}', f'{low:.3e} to {high:.3e}'),
            ('as counted (1/s)', f'{rate.counted_per_s:.3e}', ''),
            ('share that leads back', f'{rate.return_fraction:.2f}', ''),
            ('cosine to the next hop', f'{rate.successive_cosine:.2f}', ''),
            ('width against a Poisson count', f'{rate.dispersion:.1f}', ''),
            *_agreement_rows(agreement),
        ],
        lambda path: write_hops(path, found, paths),
        figure,
        '' if rate.corrected else 'Hops follow one another too fast for the residence time: the rate is a lower limit.',
    )


def _agreement_rows(agreement: SiteAgreement | None) -> list[tuple[str, str, str]]:
    if agreement is None:
        return []
    rows = [
        (f'hops from {origin} to {target}', str(count), '')
        for origin, row in zip(agreement.names, agreement.hops)
        for target, count in zip(agreement.names, row)
    ]
    return [*rows, ('changes of site, of them with a hop', f'{agreement.changes}, {agreement.changes_with_hop}', '')]


@click.command('sites', cls=Command, example='ufpnmr analyse sites run.h5 -o sites.h5 --plot sites.png')
@analysis_of_paths
@click.option('--anion', default=SiteSettings.anion, show_default=True, help='Element that surrounds the ions.')
@click.option(
    '--radius-angstrom',
    type=POSITIVE,
    default=SiteSettings.radius_angstrom,
    show_default=True,
    help='Distance in Å at which an anion counts one half.',
)
@click.option(
    '--width-angstrom',
    type=POSITIVE,
    default=SiteSettings.width_angstrom,
    show_default=True,
    help='Width of that soft edge in Å.',
)
@click.option(
    '--boundary',
    type=POSITIVE,
    default=SiteSettings.boundary,
    show_default=True,
    help='Number of neighbours between the fourfold and the sixfold site.',
)
@click.option(
    '--margin',
    type=NOT_NEGATIVE,
    default=SiteSettings.margin,
    show_default=True,
    help='An ion changes its site where it is this far beyond the boundary.',
)
@click.option(
    '--window-ps',
    type=NOT_NEGATIVE,
    default=SiteSettings.window_ps,
    show_default=True,
    help='Average the number of neighbours over this time, in ps.',
)
@click.option(
    '--residence-ps',
    type=NOT_NEGATIVE,
    default=SiteSettings.residence_ps,
    show_default=True,
    help='Shorter stays, in ps, do not count.',
)
@click.option('--isotope', default='', help='Nuclide, such as 6Li; default the common one of the species.')
@click.option(
    '--field', type=FieldDirection(), default='powder', show_default=True, help='Direction of the magnetic field.'
)
def sites(
    paths,
    trajectory,
    skip_fs,
    anion,
    radius_angstrom,
    width_angstrom,
    boundary,
    margin,
    window_ps,
    residence_ps,
    isotope,
    field,
):
    """Fourfold and sixfold sites of the ions, and |C_Q|, η and ω_Q by site where there are EFG tensors."""
    settings = SiteSettings(anion, radius_angstrom, width_angstrom, boundary, margin, window_ps, residence_ps)
    nuclide = get_isotope(isotope or paths.species)
    with Trajectory(trajectory) as source:
        there = find_sites(source, paths.species, settings, skip_fs)
        has_tensors = paths.species in source.efg_species
    found = None
    if has_tensors:
        asked = AcfSettings(field=field, isotope=isotope)
        found = distributions_by_site(
            EfgRuns.open([trajectory], paths.species, skip_fs), there, nuclide, asked.direction
        )
    table = [('site', 'share', 'neighbours', '|C_Q| (kHz)', 'η', 'ω_Q (kHz)')]
    summary = {}
    for number, name in enumerate(there.names):
        here = there.site == number
        values = {
            'share': float(here.mean()),
            'coordination_mean': float(there.coordination[here].mean()) if here.any() else None,
        }
        row = [name, f'{values["share"]:.3f}', f'{values["coordination_mean"]:.2f}' if here.any() else '-']
        for quantity in ('c_q_khz', 'eta', 'omega_q_khz'):
            at = found.values[quantity][number] if found else None
            if at is not None:
                stem, unit = (quantity[:-4], '_khz') if quantity.endswith('_khz') else (quantity, '')
                values |= {f'{stem}_mean{unit}': at.mean, f'{stem}_std{unit}': at.std}
            row.append(f'{at.mean:.3g} ± {at.std:.3g}' if at is not None and np.isfinite(at.mean) else '-')
        summary[name] = values
        table.append(tuple(row))
    changes = there.changes()
    ion_seconds = there.site.size * paths.step_ps * 1e-12
    results = {
        'sites': summary,
        'site_changes': changes,
        'site_change_rate_per_s': changes / ion_seconds,
        'field': field if isinstance(field, str) else 'vector',
        'isotope': nuclide.name,
        **dataclasses.asdict(settings),
    }

    def figure():
        from aiida_ufpnmr.engine.structure.figures import sites_figure

        return sites_figure(there, found)

    return Finding(
        results,
        f'{len(paths.index)} {paths.species} ions, {paths.length_ps:.4g} ps: {changes} changes of site',
        table,
        lambda path: write_sites(path, there, found),
        figure,
        '' if found else f'No EFG tensors of {paths.species} in the file: sites only.',
    )
