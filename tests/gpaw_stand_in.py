"""A stand-in for the command ``ufpnmr`` where there is GPAW: the command itself, with an engine that computes nothing.

What happens is said by a file ``plan`` in the folder that the variable STAND_IN_FOLDER names, with a line for each run
of the command: ``ok``; ``kill N``, killed once N structures are done; or ``mixed up``, the first two structures of the
output have changed places. A structure whose first atom is Si never converges. Each structure that is computed adds a
line to the file ``computed`` there, each that finds a checkpoint one to ``gone_on_with``; the lines say where the
first atom is.
"""

from __future__ import annotations

import atexit
import os
import signal
from pathlib import Path

import numpy as np

from aiida_ufpnmr.engine.commands import label as command
from aiida_ufpnmr.engine.dataset import Dataset, read_dataset, write_dataset
from aiida_ufpnmr.engine.dft.labels import LabellingError, Labels

FOLDER = Path(os.environ['STAND_IN_FOLDER'])


class StandIn:
    """Labels made of the positions."""

    name = 'gpaw'
    shares_structures = False

    def __init__(self, settings, python) -> None:
        self.settings = settings
        lines = (FOLDER / 'plan').read_text().splitlines() if (FOLDER / 'plan').exists() else []
        runs = FOLDER / 'runs'
        number = len(runs.read_text()) if runs.exists() else 0
        runs.write_text('.' * (number + 1))
        self.plan = lines[number] if number < len(lines) else 'ok'
        self.done = 0
        if self.plan == 'mixed up':
            atexit.register(mix_up, Path('labels.extxyz'))

    def describe(self, atoms):
        return {'cutoff_ev': self.settings.cutoff_ev}

    def refusal(self, atoms):
        return None

    def label(self, atoms, folder, checkpoints, programs, processes):
        first = f'{atoms.positions[0, 0]:.4f}\n'
        density = checkpoints / 'density'
        if density.exists():
            with open(FOLDER / 'gone_on_with', 'a') as handle:
                handle.write(density.read_text())
        if self.plan == f'kill {self.done}':
            density.write_text(first)
            os.kill(os.getpid(), signal.SIGKILL)
        with open(FOLDER / 'computed', 'a') as handle:
            handle.write(first)
        if atoms.symbols[0] == 'Si':
            raise LabellingError('the SCF did not converge in three attempts')
        self.done += 1
        tensor = np.diag([1.0, 1.0, -2.0])
        return Labels(
            energy=float(atoms.positions.sum()),
            free_energy=float(atoms.positions.sum()),
            forces=atoms.positions - 1.0,
            stress=tensor / 100,
            efg=tensor * atoms.positions[:, :1, None],
            version='0.0',
            datasets={symbol: f'{symbol}.PBE:00' for symbol in set(atoms.get_chemical_symbols())},
            attempt=1,
            smearing_ev=0.1,
        )


def mix_up(path):
    """Let the first two rows of a file change places, each with the number of the other."""
    first, second, *others = read_dataset(path)
    first.info['source_row'], second.info['source_row'] = second.info['source_row'], first.info['source_row']
    write_dataset(path, Dataset((second, first, *others)))


if __name__ == '__main__':
    from aiida_ufpnmr.engine.main import main

    command.GpawEngine = StandIn
    main()
