"""The softness of ions: their signed distance from the plane that parts mobile from immobile surroundings."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import read_hdf5, write_hdf5
from aiida_ufpnmr.engine.settings import setting, settings_from_mapping, settings_to_json
from aiida_ufpnmr.engine.softness.features import Features
from aiida_ufpnmr.engine.softness.rearrangements import LabelSettings
from aiida_ufpnmr.engine.softness.structure_functions import StructureFunctions, StructureSettings
from aiida_ufpnmr.engine.trajectories.snapshots import Snapshots

KIND, FORMAT_VERSION = 'softness-model', 1
#: Features farther than so many spreads from their mean count as this far: a shell that hardly any neighbour came to in
#: training must not decide alone where one does.
FARTHEST = 6.0


@dataclass(frozen=True)
class SoftnessSettings(LabelSettings, StructureSettings):
    """Labels, features, and the fit of a plane between them."""

    penalty: float = setting(30.0, 'Penalty on the square of the weights, ½ penalty w·w, beside the log loss.', above=0)
    folds: int = setting(5, 'Without --withhold: parts of the runs (of the ions of one run) withheld in turn.', least=2)
    most_samples: int = setting(20000, 'Train on at most so many ions and windows, chosen at random.', least=10)
    bootstrap: int = setting(200, 'Resamples for the intervals.', least=10)
    seed: int = setting(0, 'Seed of all random choices.', least=0)


def standardised(features: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Features (..., n_features) in spreads from their mean, at most :data:`FARTHEST`."""
    return np.clip((features - mean) / spread, -FARTHEST, FARTHEST)


def check_distinct(names: Sequence[str], sha256: Sequence[str]) -> None:
    """Refuse a run given twice, by the hashes of contents: it would count as two that know nothing of each other.

    Raises:
        InputError: naming both.
    """
    for number, one in enumerate(sha256):
        if one in sha256[:number]:
            raise InputError(f'{names[number]}: the same run as {names[sha256.index(one)]}; give each once')


def hash_of_runs(sha256: Iterable[str]) -> str:
    """The ``training_sha256`` of a model that was fitted to runs with these hashes of their contents, in this order."""
    return hashlib.sha256(','.join(sha256).encode()).hexdigest()


@dataclass(frozen=True)
class SoftnessModel:
    """A plane in the space of standardised features.

    Attributes:
        features: of an ion.
        settings: of the fit.
        mean, spread: (n_features,) mean and standard deviation over the training set, by which features are
            standardised.
        weights: (n_features,) of the standardised features.
        offset: added to their weighted sum.
        edges: (n_bins + 1,) softness at the edges of the bins of P_R(S), the same for all runs.
        training_sha256: hash of the contents of the training runs.
    """

    features: Features
    settings: SoftnessSettings
    mean: np.ndarray
    spread: np.ndarray
    weights: np.ndarray
    offset: float
    edges: np.ndarray
    training_sha256: str

    def softness(self, features: np.ndarray) -> np.ndarray:
        """Signed distance from the plane, (...,) of features (..., n_features): above zero on the mobile side."""
        scores = standardised(features, self.mean, self.spread) @ self.weights + self.offset
        return scores / max(float(np.linalg.norm(self.weights)), np.finfo(float).tiny)

    def parts(self, snapshots: Snapshots) -> Iterator[np.ndarray]:
        """Softness (frames, n_ions) of all ions in the frames of a trajectory, some at a time.

        Raises:
            InputError: an element that the model does not know, no ion, or no EFG tensors where they are features.
        """
        for part in self.features.parts(snapshots):
            yield self.softness(part)

    def save(self, path: str | os.PathLike) -> None:
        """Write the model as HDF5, whole or not at all."""
        with write_hdf5(path, KIND, FORMAT_VERSION) as file:
            file.attrs.update(
                species=self.features.species,
                partners=json.dumps(self.features.functions.partners),
                features=json.dumps(self.features.names),
                settings=settings_to_json(self.settings),
                offset=self.offset,
                training_sha256=self.training_sha256,
            )
            for name in ('mean', 'spread', 'weights', 'edges'):
                file[name] = getattr(self, name)

    @classmethod
    def load(cls, path: str | os.PathLike) -> SoftnessModel:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: no such file, no softness model, damaged, or of a newer format.
        """
        with read_hdf5(path, KIND, FORMAT_VERSION) as file:
            settings = settings_from_mapping(SoftnessSettings, json.loads(file.attrs['settings']), str(path))
            partners = tuple(json.loads(file.attrs['partners']))
            features = Features(str(file.attrs['species']), StructureFunctions(partners, settings))
            arrays = {name: file[name][...] for name in ('mean', 'spread', 'weights', 'edges')}
            if {len(arrays[name]) for name in ('mean', 'spread', 'weights')} != {len(features.names)}:
                raise ValueError('the weights do not fit the features')
            return cls(
                features=features,
                settings=settings,
                offset=float(file.attrs['offset']),
                training_sha256=str(file.attrs['training_sha256']),
                **arrays,
            )
