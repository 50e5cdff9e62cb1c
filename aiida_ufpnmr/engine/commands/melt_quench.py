"""``ufpnmr melt-quench``."""

from __future__ import annotations

import time

import click
from ase.io import write

from aiida_ufpnmr.engine import compiled
from aiida_ufpnmr.engine.commands.md import RUN_OPTIONS, end
from aiida_ufpnmr.engine.commands.md_runs import efg_output, run_with_options
from aiida_ufpnmr.engine.commands.options import options_of, with_options
from aiida_ufpnmr.engine.commands.shared import (
    COUNT,
    INPUT,
    OUTPUT,
    POSITIVE,
    Command,
    check_outputs,
    index_option,
    json_option,
    print_table,
    report,
)
from aiida_ufpnmr.engine.dataset import bare, read_structure
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import whole_file
from aiida_ufpnmr.engine.md.conditions import MdSettings
from aiida_ufpnmr.engine.md.melt_quench import MeltQuench, random_start, velocities
from aiida_ufpnmr.engine.md.simulation import Simulation
from aiida_ufpnmr.engine.settings import values_of
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential

#: Settings that are the same in all stages.
SHARED = ('timestep_fs', 'seed', 'guard_fraction', 'precision', 'threads')


@click.command(
    'melt-quench',
    cls=Command,
    example='ufpnmr melt-quench potential.h5 --composition Li3PS4 --atoms 128 --density 1.9 -o glass.extxyz\n'
    'ufpnmr melt-quench potential.h5 --start packed.extxyz --melt-temperature 700 --quench-rate 2 -o glass.extxyz',
)
@click.argument('potential', type=INPUT, metavar='POT')
@click.option(
    '-o',
    '--output',
    type=OUTPUT,
    required=True,
    metavar='GLASS.extxyz',
    help='Where to write the glass; the trajectory of each stage goes beside it, to GLASS-melt.h5 and so on.',
)
@click.option('--composition', metavar='FORMULA', help='Such as Li3PS4 or (Li2S)7(P2S5)3.')
@click.option('--atoms', 'n_atoms', type=COUNT, metavar='N', help='Number of atoms.')
@click.option('--density', type=POSITIVE, metavar='G/CM3', help='Density of the melt in g/cm³.')
@click.option(
    '--start',
    type=INPUT,
    metavar='STRUCTURE',
    help='Begin with this structure, such as one of ufpnmr build glass, in place of random places.',
)
@index_option
@with_options(
    *options_of(MeltQuench),
    *options_of(MdSettings, *SHARED, timestep_fs=1.0, guard_fraction=0.8),  # a melt comes closer than a crystal
    *RUN_OPTIONS,
)
@json_option
def melt_quench(potential, output, composition, n_atoms, density, start, index, json_path, **options):
    """Make a glass: melt, hold, quench, anneal, and, where asked, produce.

    Atoms are placed at random, no two closer than the training data know, or as --start has them. Each stage begins
    where the one before it ended and has a trajectory and a checkpoint of its own; --restart goes on in the stage that
    was cut off.
    """
    described = composition, n_atoms, density
    if None in described if start is None else any(described):
        raise click.UsageError('give --composition, --atoms and --density, or --start alone')
    if output.suffix != '.extxyz':
        raise InputError(f'{output}: a glass is written as extended XYZ; choose a name that ends in .extxyz')
    stages = MeltQuench(**values_of(MeltQuench, options)).stages(options['timestep'])
    paths = {stage.name: output.with_name(f'{output.stem}-{stage.name}.h5') for stage in stages}
    check_outputs(output, json_path, *paths.values())
    loaded = UltraFastPotential.load(potential)
    if start is None:
        atoms = random_start(loaded, composition, n_atoms, density, options['seed'])
    else:
        atoms = bare(read_structure(start, index))
        if not atoms.pbc.all():
            raise InputError(f'{start}: is not periodic along all directions, as a melt must be')
    first_velocities = None
    efg = efg_output(options, atoms)
    compiled.aloud = True
    results, begin = {}, time.monotonic()
    for stage in stages:
        simulation = Simulation(
            atoms, loaded, velocities=first_velocities, **values_of(MdSettings, options, *SHARED), **stage.conditions
        )
        chosen = options
        if options['max_wall_time']:
            chosen = {**options, 'max_wall_time': max(0.0, options['max_wall_time'] - (time.monotonic() - begin))}
        steps, tensors = stage.steps(options['timestep']), efg if stage.name == 'produce' else None
        results[stage.name] = run_with_options(simulation, paths[stage.name], steps, chosen, tensors)
        atoms = simulation.atoms
        first_velocities = velocities(atoms)
        if results[stage.name]['stop_reason'] != 'finished':
            report(_together(results), json_path)
            end(paths[stage.name], results[stage.name])
    atoms.wrap()
    with whole_file(output) as partial:
        write(partial, atoms, format='extxyz')
    report(_together(results), json_path)
    print_table(
        [
            ['stage', 'ps', 'temperature, K', 'pressure, GPa', 'density, g/cm³'],
            *(
                [
                    name,
                    f'{found["simulated_ps"]:g}',
                    f'{found["temperature_mean_K"]:.0f}',
                    f'{found["pressure_mean_GPa"]:.2f}',
                    f'{found["density_g_per_cm3"]:.3f}',
                ]
                for name, found in results.items()
            ),
        ]
    )


def _together(results: dict) -> dict:
    """Results of all stages, with what the last one came to at the top."""
    last = next(reversed(results.values()))
    return {
        'stages': {name: {k: v for k, v in found.items() if k != 'timing'} for name, found in results.items()},
        'stop_reason': last['stop_reason'],
        'stop_message': last['stop_message'],
        'density_g_per_cm3': last['density_g_per_cm3'],
        'timing': {name: found['timing'] for name, found in results.items()},
    }
