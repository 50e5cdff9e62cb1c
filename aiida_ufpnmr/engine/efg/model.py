"""The EFG model: a linear model in λ = 2 SOAP features, evaluated without forming them."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from aiida_ufpnmr.engine.efg.descriptors import Expansion, coupled_pairs, padded_couplings
from aiida_ufpnmr.engine.efg.isotopes import get_isotope
from aiida_ufpnmr.engine.efg.kernels import contract_weights, mix_channels
from aiida_ufpnmr.engine.efg.settings import EfgSettings
from aiida_ufpnmr.engine.efg.tensors import from_irreps
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import read_hdf5, write_hdf5
from aiida_ufpnmr.engine.settings import settings_from_mapping, settings_to_json

KIND, FORMAT_VERSION = 'efg-model', 1
CONVENTION = 'V_ij = d2V/dx_i dx_j, atomic units, Cartesian frame of the cell'


@lru_cache(maxsize=8)
def expansion_of(settings: EfgSettings, known_species: tuple[str, ...]) -> Expansion:
    """The density expansion that settings ask for; kept, because its radial integrals take a moment."""
    names = {f.name for f in dataclasses.fields(Expansion)} - {'known_species'}
    return Expansion(known_species=known_species, **{name: getattr(settings, name) for name in names})


@dataclass(frozen=True, eq=False)
class EfgModel:
    """Predicts the EFG tensors of one species.

    Attributes:
        species: chemical symbol of the ions.
        isotope: the isotope whose frequencies are meant, such as ``7Li``.
        known_species: chemical symbols that may occur in a structure.
        settings: those of the fit.
        penalty: that of the ridge.
        mixing: (l_max + 1, channels, mixed) combinations of channels.
        linear_weights: (mixed,) weights of the l = 2 coefficients, a.u.
        pair_weights: (n_pairs, mixed, mixed) weights of products of two coefficients, a.u.; the channel of l2 first.
        training_sha256: content hash of the training set.
    """

    species: str
    isotope: str
    known_species: tuple[str, ...]
    settings: EfgSettings
    penalty: float
    mixing: np.ndarray
    linear_weights: np.ndarray
    pair_weights: np.ndarray
    training_sha256: str
    expansion: Expansion = field(init=False, repr=False)

    def __post_init__(self):
        unknown = [name for name in (self.species, *self.known_species) if name not in atomic_numbers]
        if unknown:
            raise ValueError(f'{unknown[0]!r} is no element')
        expansion = expansion_of(self.settings, self.known_species)
        object.__setattr__(self, 'expansion', expansion)
        n_l, mixed, pairs = self.settings.l_max + 1, self.mixing.shape[-1], coupled_pairs(self.settings.l_max)
        expected = (n_l, expansion.channels, mixed), (mixed,), (len(pairs), mixed, mixed)
        if (self.mixing.shape, self.linear_weights.shape, self.pair_weights.shape) != expected:
            raise ValueError('shapes of the weights do not fit the settings')
        object.__setattr__(self, '_pairs', pairs)
        object.__setattr__(self, '_couplings', padded_couplings(self.settings.l_max))

    @property
    def cutoff(self) -> float:
        """Neighbours up to here are seen, Å."""
        return self.settings.cutoff

    def ions(self, numbers: np.ndarray) -> np.ndarray:
        """Indices of the ions among atoms of the given atomic numbers, (n_ions,)."""
        return np.flatnonzero(np.asarray(numbers) == atomic_numbers[self.species])

    def predict(self, atoms: Atoms) -> np.ndarray:
        """EFG tensors of the ions of a structure, (n_ions, 3, 3) in a.u.

        Raises:
            InputError: the structure holds an element that the model does not know.
        """
        return self.predictor(atoms.numbers, atoms.pbc)(atoms.positions, atoms.cell.array)

    def predictor(self, numbers: np.ndarray, pbc) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """A function (positions (n, 3) in Å, cell (3, 3) in Å) -> (n_ions, 3, 3) in a.u., for atoms that stay the same.

        Raises:
            InputError: an element that the model does not know.
        """
        numbers = np.asarray(numbers, int)
        species, ions = self.expansion.species_indices(numbers), self.ions(numbers)
        pbc = np.asarray(pbc, bool) & np.ones(3, bool)

        def predict(positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
            coefficients = self.expansion.coefficients(positions, cell, pbc, species, ions)
            mixed = mix_channels(coefficients, self.mixing)
            return from_irreps(
                contract_weights(mixed, self.linear_weights, self._pairs, self._couplings, self.pair_weights)
            )

        return predict

    def save(self, path: str | os.PathLike) -> None:
        """Write the model to an HDF5 file, whole or not at all."""
        with write_hdf5(path, KIND, FORMAT_VERSION) as file:
            file.attrs['species'] = self.species
            file.attrs['isotope'] = self.isotope
            file.attrs['known_species'] = json.dumps(self.known_species)
            file.attrs['settings'] = settings_to_json(self.settings)
            file.attrs['penalty'] = self.penalty
            file.attrs['training_sha256'] = self.training_sha256
            file.attrs['convention'] = CONVENTION
            file['mixing'] = self.mixing
            for name in ('linear_weights', 'pair_weights'):
                file[name] = getattr(self, name)
                file[name].attrs['unit'] = 'a.u.'

    @classmethod
    def load(cls, path: str | os.PathLike) -> EfgModel:
        """Read a model.

        Raises:
            InputError: no such file, no EFG model, damaged, or of a newer format.
        """
        with read_hdf5(path, KIND, FORMAT_VERSION) as file:
            attributes = file.attrs
            arrays = {name: file[name][...] for name in ('mixing', 'linear_weights', 'pair_weights')}
            try:
                if not all(np.isfinite(array).all() for array in arrays.values()):
                    raise ValueError('weights are NaN or infinite')
                return cls(
                    species=str(attributes['species']),
                    isotope=get_isotope(attributes['isotope']).name,
                    known_species=tuple(json.loads(attributes['known_species'])),
                    settings=settings_from_mapping(EfgSettings, json.loads(attributes['settings'])),
                    penalty=float(attributes['penalty']),
                    training_sha256=str(attributes['training_sha256']),
                    **arrays,
                )
            except (ValueError, TypeError) as error:
                raise InputError(f'{path}: incomplete or damaged efg-model file ({error})') from error
