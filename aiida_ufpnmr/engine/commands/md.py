"""``ufpnmr md``."""

from __future__ import annotations

import click

from aiida_ufpnmr.engine.commands.shared import INPUT, OUTPUT, Command, check_outputs, json_option, print_table, report
from aiida_ufpnmr.engine.dataset import read_structure
from aiida_ufpnmr.engine.errors import InputError
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
@click.option('--steps', type=int, required=True, help='The last step, counted from the beginning.')
@click.option('--timestep', type=float, default=2.0, show_default=True, help='Time step in fs.')
@click.option('--temperature', type=float, default=300.0, show_default=True, help='Temperature in K.')
@click.option('--ensemble', type=click.Choice(ENSEMBLES), default='nvt', show_default=True, help='Ensemble.')
@click.option('--efg-model', type=INPUT, metavar='M.h5', help='Predict EFG tensors at every frame with this model.')
@click.option('--seed', type=int, default=0, show_default=True, help='Seed of velocities and thermostat.')
@click.option('--every', type=int, help=f'Steps between frames; by default {DEFAULT_CADENCE:g} fs worth of them.')
@click.option('--velocities', is_flag=True, help='Write velocities too.')
@click.option('--index', type=int, help='Which structure of a file of several; the first is 0.')
@click.option('--supercell', type=int, nargs=3, default=(1, 1, 1), help='Repeat the cell, as in --supercell 1 1 2.')
@click.option('--relaxation', type=float, default=100.0, show_default=True, help='Relaxation time of the thermostat in fs.')
@click.option('--checkpoint-every', type=int, help='Steps between checkpoints; by default one every ten minutes.')
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
    for name, value in (('--steps', steps), ('--every', every), ('--checkpoint-every', checkpoint_every)):
        if value is not None and value < 1:
            raise InputError(f'{name} must be 1 or more, not {value}')
    if min(supercell) < 1:
        raise InputError(f'--supercell must be three numbers of 1 or more, not {supercell}')
    if not relaxation > 0:
        raise InputError(f'--relaxation must be positive, not {relaxation:g} fs')
    if seed < 0:
        raise InputError(f'--seed must not be negative, not {seed}')
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
    return EfgOutput(model.species, ions, model.predictor(atoms.numbers, atoms.pbc))
