"""``ufpnmr md``."""

from __future__ import annotations

import click

from aiida_ufpnmr.engine.commands.shared import (
    COUNT,
    INPUT,
    NOT_NEGATIVE,
    OUTPUT,
    POSITIVE,
    Command,
    check_outputs,
    json_option,
    print_table,
    report,
)
from aiida_ufpnmr.engine.dataset import read_structure
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import content_hash
from aiida_ufpnmr.engine.md.run import EfgOutput, run_md
from aiida_ufpnmr.engine.md.simulation import ENSEMBLES, Simulation
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential

#: Time between two frames where none is given, fs.
DEFAULT_CADENCE = 100.0


@click.command(
    'md',
    cls=Command,
    example='ufpnmr md potential.h5 beta.cif -o run.h5 --steps 100000 --timestep 2 --temperature 600 --efg-model efg.h5',
)
@click.argument('potential', type=INPUT, metavar='POT')
@click.argument('structure', type=INPUT, metavar='STRUCTURE')
@click.option('-o', '--output', type=OUTPUT, required=True, metavar='TRAJ.h5', help='Where to write the trajectory (H5MD).')
@click.option('--steps', type=COUNT, required=True, metavar='N', help='The last step, counted from the very beginning.')
@click.option('--timestep', type=POSITIVE, default=2.0, show_default=True, metavar='FS', help='Time step in fs.')
@click.option(
    '--temperature', type=NOT_NEGATIVE, default=300.0, show_default=True, metavar='K',
    help='Temperature in K: of the first velocities, and of the thermostat.',
)  # fmt: skip
@click.option('--ensemble', type=click.Choice(ENSEMBLES), default='nvt', show_default=True, help='Constant energy, or temperature.')
@click.option('--efg-model', type=INPUT, metavar='M.h5', help='Predict EFG tensors at every frame with this model.')
@click.option('--seed', type=click.IntRange(min=0), default=0, show_default=True, help='Seed of velocities and thermostat.')
@click.option('--every', type=COUNT, metavar='N', help=f'Steps between frames; by default {DEFAULT_CADENCE:g} fs worth of them.')
@click.option('--velocities', is_flag=True, help='Write velocities too.')
@click.option('--index', type=int, metavar='I', help='Which structure of a file of several; 0 is the first, -1 the last.')
@click.option('--supercell', type=COUNT, nargs=3, default=(1, 1, 1), metavar='A B C', help='Repeat the cell: --supercell 1 1 2.')
@click.option(
    '--relaxation', type=POSITIVE, default=100.0, show_default=True, metavar='FS', help='Relaxation time of the thermostat in fs.'
)
@click.option('--checkpoint-every', type=COUNT, metavar='N', help='Steps between checkpoints; by default one every ten minutes.')
@click.option('--restart', is_flag=True, help='Go on from the checkpoint; start anew where there is none.')
@json_option
def md(
    potential, structure, output, steps, timestep, temperature, ensemble, efg_model, seed, every, velocities, index,
    supercell, relaxation, checkpoint_every, restart, json_path,
):  # fmt: skip
    """Molecular dynamics with an ultra-fast potential.

    The run stops by itself, keeps what it has and leaves with status 1 when two atoms come closer than the training data
    allow, or when the temperature runs away. Ctrl-C ends it cleanly; --restart goes on from there.
    """
    check_outputs(output, json_path)
    loaded = UltraFastPotential.load(potential)
    atoms = read_structure(structure, index)
    if supercell != (1, 1, 1):
        atoms = atoms.repeat(supercell)
    simulation = Simulation(
        atoms,
        loaded,
        timestep_fs=timestep,
        temperature_K=temperature,
        ensemble=ensemble,
        seed=seed,
        relaxation_fs=relaxation,
    )
    results = run_md(
        simulation,
        output,
        steps,
        every or max(1, round(DEFAULT_CADENCE / timestep)),
        efg=None if efg_model is None else _efg_output(efg_model, atoms),
        velocities=velocities,
        checkpoint_every=checkpoint_every,
        restart=restart,
    )
    report(results, json_path)
    print_table(
        [
            ['quantity', 'value'],
            ['simulated, ps', f'{results["simulated_ps"]:g}'],
            ['frames', results['frames']],
            ['temperature, K', f'{results["temperature_mean_K"]:.0f} ± {results["temperature_std_K"]:.0f}'],
            ['atom-steps per second', f'{results["timing"]["atom_steps_per_second"]:.3g}'],
            ['ns per day', f'{results["timing"]["ns_per_day"]:.3g}'],
        ]
    )
    if results['stop_reason'] != 'finished':
        raise click.ClickException(f'{output}: stopped {results["stop_message"]}; the trajectory up to there is kept')


def _efg_output(path, atoms) -> EfgOutput:
    from aiida_ufpnmr.engine.efg import EfgModel

    model = EfgModel.load(path)
    ions = model.ions(atoms.numbers)
    if not len(ions):
        raise InputError(f'{path}: predicts EFG tensors of {model.species}, of which the structure has none')
    return EfgOutput(model.species, ions, model.predictor(atoms.numbers, atoms.pbc), content_hash(path))
