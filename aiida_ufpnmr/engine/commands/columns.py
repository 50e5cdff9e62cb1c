"""Options that say how the labels of a file are called, and labelled files as commands read them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from aiida_ufpnmr.engine.commands.shared import INPUT
from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.dft.label_files import read_labels
from aiida_ufpnmr.engine.efg.labels import labelled_tensors
from aiida_ufpnmr.engine.label_names import LabelKeys

_HELP = {
    'energy': 'Entry of extended XYZ with the energy, eV, where none of the usual names says so.',
    'forces': 'Column with the forces, eV/Å.',
    'stress': 'Entry with the stress, eV/Å³ with the sign of ASE; a virial, eV, where its name says so.',
    'efg': 'Column with the EFG tensors, nine numbers an atom, atomic units.',
}


def label_options(*labels: str) -> Callable[[Callable], Callable]:
    """Options ``--LABEL-key`` for each label, given to the command as one argument ``keys``."""

    def decorate(command: Callable) -> Callable:
        @functools.wraps(command)
        def wrapped(*args: Any, **values: Any) -> Any:
            keys = LabelKeys(**{label: values.pop(f'{label}_key') for label in labels})
            return command(*args, keys=keys, **values)

        for label in reversed(labels):
            wrapped = click.option(f'--{label}-key', metavar='NAME', help=_HELP[label])(wrapped)
        return wrapped

    return decorate


structure_option = click.option(
    '--structure',
    'structure_path',
    type=INPUT,
    metavar='FILE',
    help='Structure of tensors that stand in a file without one: output of gipaw.x, some .magres.',
)


def read_labelled(
    paths: Path | Sequence[Path],
    require: Sequence[str],
    species: str | None = None,
    keys: LabelKeys = LabelKeys(),
    structure: Path | None = None,
) -> Dataset:
    """Labelled structures of files of any code as one set, checked; what the reader has noticed is said on stderr.

    With ``species`` their EFG tensors are checked, too, file by file.
    """
    parts = []
    for path in [paths] if isinstance(paths, Path) else paths:
        parts.append(read_labels(path, require, species, keys, structure))
        for note in parts[-1].notes:
            click.echo(f'note: {note}', err=True)
        if species is not None:
            labelled_tensors(parts[-1], species)  # while it is known which file a structure came from
    return parts[0] if len(parts) == 1 else Dataset.joined(parts)
