"""The EFG model: λ-SOAP of the neighbours of an ion in, its tensor out, and what is known of the error."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import h5py
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from aiida_ufpnmr.engine.efg.descriptors import Expansion
from aiida_ufpnmr.engine.efg.electrostatics import point_charge_components
from aiida_ufpnmr.engine.efg.environments import Environments, Representation
from aiida_ufpnmr.engine.efg.isotopes import get_isotope
from aiida_ufpnmr.engine.efg.messages import RANKS, message_count
from aiida_ufpnmr.engine.efg.posterior import EfgPosterior, EfgPrediction
from aiida_ufpnmr.engine.efg.settings import EfgSettings
from aiida_ufpnmr.engine.efg.tensors import from_irreps
from aiida_ufpnmr.engine.efg.terms import KernelTerms, LinearTerms
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import read_hdf5, write_hdf5
from aiida_ufpnmr.engine.neighbours import Surroundings, surroundings
from aiida_ufpnmr.engine.settings import settings_from_mapping, settings_to_json

KIND, FORMAT_VERSION = 'efg-model', 3
CONVENTION = 'V_ij = d2V/dx_i dx_j, atomic units, Cartesian frame of the cell'
#: Settings of models that were fitted before neighbours were asked.
BEFORE_MESSAGES = {'message_channels': 0}
#: Of predicted tensors and expected errors, and the order of the five components inside.
UNIT = 'a.u.'
IRREPS = 'orthonormal real l = 2 components xy, yz, 3z2-r2, xz, x2-y2'


def expansion_of(settings: EfgSettings, known_species: tuple[str, ...]) -> Expansion:
    """The density expansion that settings ask for; kept, because its radial integrals take a moment."""
    return _expansion(known_species, tuple(getattr(settings, name) for name in _EXPANSION))


#: What settings say about an expansion.
_EXPANSION = tuple(f.name for f in dataclasses.fields(Expansion) if f.name != 'known_species')


@lru_cache(maxsize=8)
def _expansion(known_species: tuple[str, ...], values: tuple) -> Expansion:
    return Expansion(known_species, **dict(zip(_EXPANSION, values)))


def baseline_components(
    settings: EfgSettings, positions, cell, pbc, numbers: np.ndarray, ions: np.ndarray
) -> np.ndarray:
    """λ = 2 components (n_ions, 5) in a.u. of the point charges that settings name; zero where they name none."""
    if settings.charges is None:
        return np.zeros((len(ions), 5))
    charges = np.array([settings.charges[symbol] for symbol in np.array(chemical_symbols)[numbers]])
    return point_charge_components(positions, cell, pbc, charges, ions)


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
        message_mixing: (2, n_species, channels, message channels) those that neighbours tell, by rank and species.
        terms: what gives the components from the environments of ions.
        training_sha256: content hash of the training set.
        posterior: what tells expected errors; ``None`` where nothing was withheld from the fit, or where it was left
            out.
    """

    species: str
    isotope: str
    known_species: tuple[str, ...]
    settings: EfgSettings
    penalty: float
    mixing: np.ndarray
    message_mixing: np.ndarray
    terms: LinearTerms | KernelTerms
    training_sha256: str
    posterior: EfgPosterior | None = None
    representation: Representation = field(init=False, repr=False)

    def __post_init__(self):
        unknown = [name for name in (self.species, *self.known_species) if name not in atomic_numbers]
        if unknown:
            raise ValueError(f'{unknown[0]!r} is no element')
        expansion = expansion_of(self.settings, self.known_species)
        representation = Representation(expansion, self.mixing, self.message_mixing)
        object.__setattr__(self, 'representation', representation)
        if self.settings.charges is not None and set(self.settings.charges) != set(self.known_species):
            raise ValueError(f'charges must be given for {", ".join(self.known_species)}, each and no other')
        self.terms.prepare(self.settings.l_max, self.mixing.shape[2], representation.n_messages)

    @property
    def cutoff(self) -> float:
        """Neighbours up to here are seen, Å."""
        return self.settings.cutoff

    def ions(self, numbers: np.ndarray) -> np.ndarray:
        """Indices of the ions among atoms of the given atomic numbers, (n_ions,)."""
        return np.flatnonzero(np.asarray(numbers) == atomic_numbers[self.species])

    def centres(self, numbers: np.ndarray) -> np.ndarray:
        """Indices of the atoms whose surroundings a prediction needs: the ions, or all where neighbours tell of
        theirs."""
        return self.representation.centres(self.ions(numbers), len(numbers))

    def predict(self, atoms: Atoms) -> np.ndarray:
        """EFG tensors of the ions of a structure, (n_ions, 3, 3) in a.u.

        Raises:
            InputError: the structure holds an element that the model does not know.
        """
        return self.predictor(atoms.numbers, atoms.pbc)(atoms.positions, atoms.cell.array)

    def predictor(self, numbers: np.ndarray, pbc) -> Callable[..., np.ndarray]:
        """A function (positions (n, 3) in Å, cell (3, 3) in Å) -> (n_ions, 3, 3) in a.u., for atoms that stay the same.

        Who has the surroundings of :meth:`centres` within the cut-off already gives them as a third argument.

        Raises:
            InputError: an element that the model does not know.
        """
        environments, baseline = self._environments(numbers, pbc), self._baseline(numbers, pbc)
        return lambda positions, cell, around=None: from_irreps(
            self.terms.components(environments(positions, cell, around)) + baseline(positions, cell)
        )

    def predict_with_errors(self, atoms: Atoms) -> EfgPrediction:
        """EFG tensors of the ions of a structure, with expected errors and extrapolation grades.

        Raises:
            InputError: the model has no posterior, or the structure holds an element that the model does not know.
        """
        return self.predictor_with_errors(atoms.numbers, atoms.pbc)(atoms.positions, atoms.cell.array)

    def predictor_with_errors(self, numbers: np.ndarray, pbc) -> Callable[..., EfgPrediction]:
        """Like :meth:`predictor`, with expected errors and extrapolation grades, at some ten times the cost.

        Raises:
            InputError: the model has no posterior, or an element that it does not know.
        """
        posterior = self._known_errors()
        environments, baseline = self._environments(numbers, pbc), self._baseline(numbers, pbc)

        def predict(positions: np.ndarray, cell: np.ndarray, around: Surroundings | None = None) -> EfgPrediction:
            found = environments(positions, cell, around)
            tensors = from_irreps(self.terms.components(found) + baseline(positions, cell))
            return EfgPrediction(tensors, *posterior.judge(found))

        return predict

    def whitened_rows(self, atoms: Atoms) -> np.ndarray:
        """Whitened rows of the components of all ions of a structure, (n_columns, 5 n_ions).

        Products of the columns are the covariance of the predicted components in units of the variance of the labels'
        noise.

        Raises:
            InputError: the model has no posterior, or the structure holds an element that the model does not know.
        """
        environments = self._environments(atoms.numbers, atoms.pbc)(atoms.positions, atoms.cell.array)
        return self._known_errors().whitened_rows(environments)

    def _known_errors(self) -> EfgPosterior:
        if self.posterior is None:
            raise InputError(
                'the EFG model holds no posterior, so its errors are not known; fit it again without --no-posterior'
            )
        return self.posterior

    def _environments(self, numbers: np.ndarray, pbc) -> Callable[..., Environments]:
        """A function (positions, cell, surroundings or None) -> the ions as the model sees them."""
        numbers = np.asarray(numbers, int)
        species = self.representation.expansion.species_indices(numbers)
        ions, centres = self.ions(numbers), self.centres(numbers)

        def environments(positions: np.ndarray, cell: np.ndarray, around: Surroundings | None = None) -> Environments:
            around = around or surroundings(positions, cell, pbc, self.cutoff, centres)
            return self.representation.environments(around, species, ions)

        return environments

    def _baseline(self, numbers: np.ndarray, pbc) -> Callable[[np.ndarray, np.ndarray], np.ndarray | float]:
        """A function (positions, cell) -> components of the point charges, (n_ions, 5); zero where there are none."""
        if self.settings.charges is None:
            return lambda positions, cell: 0.0
        ions = self.ions(numbers)
        return lambda positions, cell: baseline_components(self.settings, positions, cell, pbc, numbers, ions)

    def save(self, path: str | os.PathLike) -> None:
        """Write the model to an HDF5 file, whole or not at all."""
        with write_hdf5(path, KIND, FORMAT_VERSION) as file:
            file.attrs['species'] = self.species
            file.attrs['isotope'] = self.isotope
            file.attrs['known_species'] = json.dumps(self.known_species)
            file.attrs['settings'] = settings_to_json(self.settings)
            file.attrs['penalty'] = self.penalty
            file.attrs['training_sha256'] = self.training_sha256
            file.attrs['convention'], file.attrs['unit'], file.attrs['irreps'] = CONVENTION, UNIT, IRREPS
            file['mixing'], file['message_mixing'] = self.mixing, self.message_mixing
            self.terms.write(file)
            if self.posterior is not None:
                self.posterior.write(file.create_group('posterior'))

    @classmethod
    def load(cls, path: str | os.PathLike) -> EfgModel:
        """Read a model.

        Raises:
            InputError: no such file, no EFG model, damaged, or of a newer format.
        """
        with read_hdf5(path, KIND, FORMAT_VERSION) as file:
            attributes, mixing, message_mixing = file.attrs, file['mixing'][...], _message_mixing(file)
            terms = (KernelTerms if 'kernel' in file else LinearTerms).read(file)
            try:
                if not all(np.isfinite(array).all() for array in (mixing, message_mixing, *terms.arrays)):
                    raise ValueError('weights are NaN or infinite')
                settings = settings_from_mapping(EfgSettings, {**BEFORE_MESSAGES, **json.loads(attributes['settings'])})
                known_species = tuple(json.loads(attributes['known_species']))
                penalty, posterior = float(attributes['penalty']), None
                if 'posterior' in file:
                    told = message_mixing.shape[-1]
                    messages = message_count(settings.l_max, len(known_species), settings.n_max, told)
                    shape = settings.l_max, mixing.shape[-1], messages
                    posterior = EfgPosterior.read(file['posterior'], *shape, terms, penalty)
                return cls(
                    species=str(attributes['species']),
                    isotope=get_isotope(attributes['isotope']).name,
                    known_species=known_species,
                    settings=settings,
                    penalty=penalty,
                    mixing=mixing,
                    message_mixing=message_mixing,
                    terms=terms,
                    training_sha256=str(attributes['training_sha256']),
                    posterior=posterior,
                )
            except (ValueError, TypeError) as error:
                raise InputError(f'{path}: incomplete or damaged efg-model file ({error})') from error


def _message_mixing(file: h5py.File) -> np.ndarray:
    """As written; in a file of the first versions neighbours tell nothing."""
    if 'message_mixing' in file:
        return file['message_mixing'][...]
    n_species = len(json.loads(file.attrs['known_species']))
    return np.zeros((len(RANKS), n_species, file['mixing'].shape[1], 0))
