"""``ufpnmr sample-models``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from ase import Atoms

from aiida_ufpnmr.engine.commands.shared import COUNT, INPUT, Command, Count, json_option, report
from aiida_ufpnmr.engine.dataset import bare, read_structures
from aiida_ufpnmr.engine.efg.model import EfgModel
from aiida_ufpnmr.engine.efg.sampling import sampled_efg_models
from aiida_ufpnmr.engine.files import check_output
from aiida_ufpnmr.engine.hdf5 import versions
from aiida_ufpnmr.engine.regression.sampling import FRAMES
from aiida_ufpnmr.engine.trajectories.spaced import spaced_frames
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential
from aiida_ufpnmr.engine.ufp.sampling import sampled_potentials


@click.command(
    'sample-models',
    cls=Command,
    example='ufpnmr sample-models potential.h5 trajectory.h5 --efg-model model.h5 --number 8 -o drawn',
)
@click.argument('potential', type=INPUT, metavar='POT.h5')
@click.argument('structures', type=INPUT, metavar='STRUCTURES_OR_TRAJ')
@click.option('--efg-model', type=INPUT, metavar='MODEL.h5', help='Draw models of the EFG, too.')
@click.option('--number', type=COUNT, default=8, show_default=True, metavar='N', help='How many are drawn.')
@click.option('--seed', type=Count(min=0), default=0, show_default=True, help='Seed of the first; the others count up.')
@click.option(
    '-o',
    '--output',
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar='FOLDER',
    help='For potential-0.h5, potential-1.h5, ..., and efg-model-0.h5, ...',
)
@json_option
def sample_models(potential, structures, efg_model, number, seed, output, json_path):
    """Draw models from what the labels leave open, as wide as the fitted ones are expected to err on STRUCTURES.

    A rate that all of them give in dynamics is one that the models' error does not change. STRUCTURES are such as the
    dynamics goes through, a trajectory best; a crystal at rest says nothing.
    """
    seeds = range(seed, seed + number)
    loaded = UltraFastPotential.load(potential)
    given = _read(structures)
    drawn: dict[str, Any] = {'potential': sampled_potentials(loaded, given, seeds)}
    if efg_model is not None:
        drawn['efg-model'] = sampled_efg_models(EfgModel.load(efg_model), given, seeds)
    output.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind, models in drawn.items():
        for place, model in enumerate(models):
            path = check_output(output / f'{kind}-{place}.h5')
            model.save(path)
            paths.append(str(path))
    report({'files': paths, 'seeds': list(seeds), 'structures': len(given), 'versions': versions()}, json_path)
    click.echo(f'{len(paths)} models in {output}, as wide as errors are expected on {len(given)} structures')


def _read(path: Path) -> list[Atoms]:
    """Some structures of a file, or frames of a trajectory."""
    if path.suffix in ('.h5', '.h5md', '.hdf5'):
        return spaced_frames(path, FRAMES)
    found = read_structures(path)
    return [bare(atoms) for atoms in found[:: -(-len(found) // FRAMES)]]
