"""Options that say how the labels of a file are called, and labelled files as commands read them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from aiida_ufpnmr.engine.dataset import Dataset, read_dataset
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


def read_labelled(
    path: Path, require: Sequence[str], species: str | None = None, keys: LabelKeys = LabelKeys()
) -> Dataset:
    """Labelled structures of a file, checked; what the reader has to note about it is said."""
    dataset = read_dataset(path, require, species, keys)
    say(dataset.notes)
    return dataset


def say(notes: Iterable[str]) -> None:
    """Say on stderr, a line each, what a reader of files has noticed."""
    for note in notes:
        click.echo(f'note: {note}', err=True)
