"""The EFG model: λ-SOAP of the neighbours of an ion in, its tensor out, and what is known of the error."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from aiida_ufpnmr.engine.efg.content import EfgContent
from aiida_ufpnmr.engine.efg.descriptors import Expansion
from aiida_ufpnmr.engine.efg.electrostatics import point_charge_components
from aiida_ufpnmr.engine.efg.environments import Environments, Representation, centres
from aiida_ufpnmr.engine.efg.hdf5_file import read_hdf5_file, write_hdf5_file
from aiida_ufpnmr.engine.efg.isotopes import get_isotope
from aiida_ufpnmr.engine.efg.posterior import EfgPosterior, EfgPrediction
from aiida_ufpnmr.engine.efg.settings import EfgSettings
from aiida_ufpnmr.engine.efg.tensors import from_irreps
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.neighbours import Surroundings, surroundings


def expansion_of(settings: EfgSettings, known_species: tuple[str, ...]) -> Expansion:
    """The density expansion that settings ask for."""
    names = (field.name for field in dataclasses.fields(Expansion) if field.name != 'known_species')
    return _expansion(known_species, **{name: getattr(settings, name) for name in names})


#: Kept, because the radial integrals take a moment.
_expansion = lru_cache(maxsize=8)(Expansion)


def baseline_components(
    settings: EfgSettings, positions, cell, pbc, numbers: np.ndarray, ions: np.ndarray
) -> np.ndarray:
    """λ = 2 components (n_ions, 5) in a.u. of the point charges that settings name; zero where they name none."""
    if settings.charges is None:
        return np.zeros((len(ions), 5))
    charges = np.array([settings.charges[symbol] for symbol in np.array(chemical_symbols)[numbers]])
    return point_charge_components(positions, cell, pbc, charges, ions)


@dataclass(frozen=True, eq=False)
class EfgModel(EfgContent):
    """A model that predicts the EFG tensors of one species.

    The attributes are those of :class:`~aiida_ufpnmr.engine.efg.content.EfgContent`.
    """

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
        get_isotope(self.isotope)
        self.terms.check(self.settings.l_max, self.mixing.shape[2], representation.n_messages)

    def __repr__(self) -> str:
        known = ', '.join(self.known_species)
        return f'{type(self).__name__}({self.isotope} among {known}; cut-off {self.cutoff:g} Å)'

    @property
    def cutoff(self) -> float:
        """Distance up to which neighbours are seen, Å."""
        return self.settings.cutoff

    def ions(self, numbers: np.ndarray) -> np.ndarray:
        """Indices of the ions among atoms of the given atomic numbers, (n_ions,)."""
        return np.flatnonzero(np.asarray(numbers) == atomic_numbers[self.species])

    def centres(self, numbers: np.ndarray) -> np.ndarray:
        """Indices of the atoms whose surroundings a prediction needs: the ions, or all where there are messages."""
        return centres(self.ions(numbers), len(numbers), self.representation.message_channels)

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
        environments = self._environments(numbers, pbc)
        return lambda positions, cell, around=None: self._tensors(
            environments(positions, cell, around), positions, cell, pbc, numbers
        )

    def predict_with_errors(self, atoms: Atoms) -> EfgPrediction:
        """EFG tensors of the ions of a structure, with expected errors and extrapolation grades.

        Raises:
            InputError: the model has no posterior, or the structure holds an element that the model does not know.
        """
        return self.predictor_with_errors(atoms.numbers, atoms.pbc)(atoms.positions, atoms.cell.array)

    def predictor_with_errors(self, numbers: np.ndarray, pbc) -> Callable[..., EfgPrediction]:
        """A function like :meth:`predictor`, with expected errors and grades, at some ten times the cost.

        Raises:
            InputError: the model has no posterior, or an element that it does not know.
        """
        posterior, environments = self.known_errors(), self._environments(numbers, pbc)

        def predict(positions: np.ndarray, cell: np.ndarray, around: Surroundings | None = None) -> EfgPrediction:
            found = environments(positions, cell, around)
            return EfgPrediction(self._tensors(found, positions, cell, pbc, numbers), *posterior.judge(found))

        return predict

    def whitened_rows(self, atoms: Atoms) -> np.ndarray:
        """Whitened rows of the components of all ions of a structure, (n_columns, 5 n_ions).

        Products of the columns are the covariance of the predicted components, in variances of the labels' noise.

        Raises:
            InputError: the model has no posterior, or the structure holds an element that the model does not know.
        """
        environments = self._environments(atoms.numbers, atoms.pbc)(atoms.positions, atoms.cell.array)
        return self.known_errors().whitened_rows(environments)

    def known_errors(self) -> EfgPosterior:
        """The posterior; :class:`InputError` where the model holds none."""
        if self.posterior is None:
            raise InputError(
                'the EFG model holds no posterior, so its errors are not known; fit it again without --no-posterior'
            )
        return self.posterior

    def _environments(self, numbers: np.ndarray, pbc) -> Callable[..., Environments]:
        """A function (positions, cell, surroundings or None) -> environments of the ions."""
        numbers = np.asarray(numbers, int)
        species = self.representation.expansion.species_indices(numbers)
        ions, centres = self.ions(numbers), self.centres(numbers)

        def environments(positions: np.ndarray, cell: np.ndarray, around: Surroundings | None = None) -> Environments:
            around = around or surroundings(positions, cell, pbc, self.cutoff, centres)
            return self.representation.environments(around, species, ions)

        return environments

    def _tensors(self, environments: Environments, positions, cell, pbc, numbers: np.ndarray) -> np.ndarray:
        """Tensors (n_ions, 3, 3) of ions in their environments, those of the point charges included."""
        charges = baseline_components(self.settings, positions, cell, pbc, numbers, self.ions(numbers))
        return from_irreps(self.terms.components(environments) + charges)

    def save(self, path: str | os.PathLike) -> None:
        """Write the model to an HDF5 file, whole or not at all."""
        write_hdf5_file(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> EfgModel:
        """Read a model.

        Raises:
            InputError: no such file, no EFG model, damaged, or of a newer format.
        """
        content = read_hdf5_file(path)
        try:
            return cls(**vars(content))
        except ValueError as error:
            raise InputError(f'{path}: incomplete or damaged efg-model file ({error}); make it again') from error
