"""Samples for the fit of a softness model: what an ion has around it as a window begins, and what comes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.softness.features import Features
from aiida_ufpnmr.engine.softness.model import SoftnessSettings
from aiida_ufpnmr.engine.softness.rearrangements import UNDECIDED, find_rearrangements
from aiida_ufpnmr.engine.trajectories.snapshots import Snapshots


@dataclass(frozen=True)
class Samples:
    """Ions at the beginnings of windows.

    Attributes:
        features: (n_samples, n_features) in single precision.
        label: (n_samples,) 1 mobile, -1 immobile, 0 undecided.
        run, ion: (n_samples,) number of the run, and of the ion among those of its run.
    """

    features: np.ndarray
    label: np.ndarray
    run: np.ndarray
    ion: np.ndarray

    def of(self, chosen: np.ndarray) -> Samples:
        """Those that are chosen by booleans or numbers."""
        return Samples(*(getattr(self, field.name)[chosen] for field in dataclasses.fields(self)))

    def decided(self) -> Samples:
        """Those with a label."""
        return self.of(self.label != UNDECIDED)

    @property
    def ion_of_run(self) -> np.ndarray:
        """(n_samples,) a number for each ion of each run."""
        return self.run * (int(self.ion.max()) + 1) + self.ion


def read_samples(runs: Sequence[Path], settings: SoftnessSettings) -> tuple[Features, Samples]:
    """Samples of several runs, whose features know the elements of all of them.

    Raises:
        InputError: a run that cannot be used, or runs of different elements.
    """
    opened = [Snapshots.open(path, settings).at_regular_times() for path in runs]
    features = Features.of(settings.species, opened[0].symbols, settings)
    parts = []
    for number, snapshots in enumerate(opened):
        if settings.partners == 'all' and set(snapshots.symbols) != set(opened[0].symbols):
            raise InputError(f'{snapshots.path}: its elements are not those of {runs[0]}; fit to runs of the same')
        try:
            found = find_rearrangements(snapshots, settings)
        except InputError as error:
            named = str(snapshots.path) in str(error)
            raise error if named else InputError(f'{snapshots.path}: {error}') from error
        begins = slice(0, found.n_windows * found.window, found.window)
        at = dataclasses.replace(snapshots, frames=snapshots.frames[begins], time_fs=snapshots.time_fs[begins])
        rows = np.concatenate([part.astype(np.float32) for part in features.parts(at)])
        n_windows, n_ions, n_features = rows.shape
        label = found.labels()
        parts.append(
            Samples(
                features=rows.reshape(-1, n_features),
                label=label.ravel(),
                run=np.full(label.size, number),
                ion=np.tile(np.arange(n_ions), n_windows),
            )
        )
    joined = (np.concatenate([getattr(part, field.name) for part in parts]) for field in dataclasses.fields(Samples))
    return features, Samples(*joined)
