"""``ufpnmr select``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from aiida_ufpnmr.engine.active.selection import METHODS, Candidate, Selection, select_structures
from aiida_ufpnmr.engine.commands.shared import (
    COUNT,
    INPUT,
    OUTPUT,
    Command,
    check_outputs,
    json_option,
    print_table,
    report,
    warn,
)
from aiida_ufpnmr.engine.dataset import Dataset, bare, write_dataset
from aiida_ufpnmr.engine.dft.labels import read_sources
from aiida_ufpnmr.engine.efg.model import EfgModel
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import versions
from aiida_ufpnmr.engine.md.recording import BROKEN_UNITS
from aiida_ufpnmr.engine.trajectories.series import POSITION
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential

#: More frames of one source than this tell little more: every so many-th is looked at.
MOST_OF_A_SOURCE = 60


@click.command(
    'select', cls=Command, example='ufpnmr select potential.h5 run-300K.h5 run-900K.h5 -n 20 -o to-label.extxyz'
)
@click.argument('potential', type=INPUT, metavar='POT')
@click.argument('sources', type=INPUT, nargs=-1, required=True, metavar='TRAJ...')
@click.option(
    '-o', '--output', type=OUTPUT, required=True, metavar='PICKED.extxyz', help='Where to write what was chosen.'
)
@click.option(
    '--efg-model', type=INPUT, metavar='M.h5', help='Choose what tells this model most, too, not the potential alone.'
)
@click.option('-n', '--number', type=COUNT, default=10, show_default=True, metavar='N', help='How many to choose.')
@click.option('--max-per-source', type=COUNT, metavar='N', help='No more than so many of one file.')
@click.option(
    '--looked-at',
    type=COUNT,
    default=MOST_OF_A_SOURCE,
    show_default=True,
    metavar='N',
    help='Frames of each file that are looked at, evenly spaced; the last one, where a guard '
    'may have stopped, and the 1st, 2nd, 4th … before it always are.',
)
@click.option(
    '--method',
    type=click.Choice(METHODS),
    default='information',
    show_default=True,
    help='By what labels would tell, by where a committee disagrees, or at random to compare with.',
)
@click.option(
    '--committee',
    type=INPUT,
    multiple=True,
    metavar='P.h5',
    help='For --method committee: a potential fitted to a resample (fit-potential --resample); give two or more.',
)
@click.option('--seed', type=click.IntRange(min=0), default=0, show_default=True, help='Seed of the random choice.')
@json_option
def select(
    potential, sources, output, efg_model, number, max_per_source, looked_at, method, committee, seed, json_path
):
    """Choose the structures whose labels would tell most, from trajectories (.h5) or files that ASE reads.

    Those come first of which the models know least; of two that are alike the second counts for little (not with a
    committee: use --max-per-source there). Frames around the step at which "ufpnmr md --guard-units" saw a unit break
    come before all others. Structures that DFT would choke on are left out.
    """
    check_outputs(output, json_path)
    candidates = _candidates(sources, looked_at)
    loaded = UltraFastPotential.load(potential)
    members = [UltraFastPotential.load(path) for path in committee]
    found = select_structures(
        loaded, candidates, number, max_per_source=max_per_source, method=method, seed=seed,
        efg_model=None if efg_model is None else EfgModel.load(efg_model), committee=members,
    )  # fmt: skip
    if not found.index:
        why = next(iter(found.refused.values()), 'all are known already')
        raise InputError(f'{sources[0]}: nothing to choose among {len(candidates)} structures ({why})')
    write_dataset(output, _picked(candidates, found))
    warn(f'{candidates[i].source}, frame {candidates[i].row}: left out: {why}' for i, why in found.refused.items())
    spread = found.disagreement
    chosen: list[dict[str, Any]] = [
        {
            'source': candidates[i].source,
            'row': candidates[i].row,
            'gain_nats': gain,
            **({} if spread is None else {'disagreement_meV_per_angstrom': 1000 * float(spread[i])}),
            'force_error_meV_per_angstrom': 1000 * float(found.force_error[i]),
            'extrapolation_grade': float(found.grade[i]),
            **({'units_broke': True} if candidates[i].comes_first else {}),
        }
        for i, gain in zip(found.index, found.gain)
    ]
    heading, key, digits = 'gain, nats', 'gain_nats', 1
    if spread is not None:
        heading, key, digits = 'disagreement, meV/Å', 'disagreement_meV_per_angstrom', 0
    rows = [
        (
            one['source'],
            one['row'],
            f'{one[key]:.{digits}f}',
            f'{one["force_error_meV_per_angstrom"]:.0f}',
            f'{one["extrapolation_grade"]:.2f}',
        )
        for one in chosen
    ]
    print_table([('source', 'frame', heading, 'expected error, meV/Å', 'grade'), *rows])
    usable = [i for i in range(len(candidates)) if i not in found.refused]
    results = {
        'structures': len(candidates),
        'refused': len(found.refused),
        'chosen': chosen,
        'fraction_above_grade_1': float((found.grade[usable] > 1).mean()),
        'force_error_mean_meV_per_angstrom': 1000 * float(found.force_error[usable].mean()),
        'potential_sha256': loaded.identity,
        'committee_sha256': [member.identity for member in members],
        'method': method,
        'seed': seed,
        'versions': versions(),
    }
    report(results, json_path)


def _candidates(sources: tuple[Path, ...], looked_at: int) -> list[Candidate]:
    candidates = []
    for path in sources:
        frames = read_sources(path)
        step = max(1, -(-len(frames) // looked_at))
        around, last = _frames_around_break(path), len(frames) - 1
        near = {last - 2**power for power in range(last.bit_length())}
        candidates += [
            Candidate(frames[i].atoms, path.name, frames[i].row, i in around)
            for i in sorted({*range(last, -1, -step), *near, *around})
        ]
    return candidates


def _frames_around_break(path: Path) -> set[int]:
    """Frames of a trajectory from the last look at its units that found them whole to the one that did not."""
    if path.suffix not in ('.h5', '.h5md'):
        return set()
    with Trajectory(path) as trajectory:
        if BROKEN_UNITS not in trajectory:
            return set()
        log, frames = trajectory.series(BROKEN_UNITS), trajectory.series(POSITION)['step'][...]
        steps, broken = log['step'][...], np.flatnonzero(log['value'][...])
    if not len(broken):
        return set()
    whole = steps[broken[0] - 1] if broken[0] else steps[0]
    return set(np.flatnonzero((frames >= whole) & (frames <= steps[broken[0]])).tolist())


def _picked(candidates: list[Candidate], found: Selection) -> Dataset:
    """The chosen structures without labels, each with where it is from."""
    picked = []
    for i in found.index:
        one = candidates[i]
        atoms = bare(one.atoms)
        atoms.info = {'config_type': one.group, 'source_file': one.source, 'source_row': one.row}
        picked.append(atoms)
    return Dataset(tuple(picked))
