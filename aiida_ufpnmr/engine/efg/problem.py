"""The regression problem of a fit: labels, environments of the labelled ions, and their rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.efg.channels import represent
from aiida_ufpnmr.engine.efg.design import Design
from aiida_ufpnmr.engine.efg.domain import Moments
from aiida_ufpnmr.engine.efg.environments import Environments, Representation
from aiida_ufpnmr.engine.efg.isotopes import isotope_of
from aiida_ufpnmr.engine.efg.labels import labelled_tensors
from aiida_ufpnmr.engine.efg.model import EfgModel, baseline_components, expansion_of
from aiida_ufpnmr.engine.efg.posterior import EfgPosterior
from aiida_ufpnmr.engine.efg.settings import EfgSettings
from aiida_ufpnmr.engine.efg.tensors import from_irreps, to_irreps
from aiida_ufpnmr.engine.efg.terms import KernelTerms, LinearTerms
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.regression.compressed_rows import CompressedRows
from aiida_ufpnmr.engine.weights import check_groups, structure_weights


@dataclass(frozen=True, eq=False)
class EfgProblem:
    """The problem of one species, from which a fit starts.

    Attributes:
        dataset: the labelled structures.
        species, isotope: whose tensors, and whose frequencies are reported.
        settings: of the fit.
        weights: (structures,) of each structure.
        tensors: for each structure the labels, (n, 3, 3) in a.u.
        representation: how surroundings become numbers.
        baseline: for each structure the components of its point charges at those ions, (n, 5) in a.u.
        environments: for each structure its labelled ions as the model sees them.
        design: how they become rows.
    """

    dataset: Dataset
    species: str
    isotope: str
    settings: EfgSettings
    weights: np.ndarray
    tensors: list[np.ndarray]
    representation: Representation
    baseline: list[np.ndarray]
    environments: list[Environments]
    design: Design

    @classmethod
    def of(cls, dataset: Dataset, species: str, settings: EfgSettings) -> EfgProblem:
        """Check the labels and expand the density around the ions that have them.

        Raises:
            InputError: no labelled ion or none with a neighbour, labels that cannot be right, no quadrupolar isotope,
                weights for groups that there are not.
        """
        isotope = isotope_of(species, settings.isotope).name
        masks, tensors = labelled_tensors(dataset, species)
        if not sum(map(len, tensors)):
            raise InputError(f'{dataset.source}: no {species} atom with an EFG label; label some')
        if not any(part.any() for part in tensors):
            raise InputError(f'{dataset.source}: every efg of {species} is zero, which says nothing; label with DFT')
        if settings.charges is not None and set(settings.charges) != set(dataset.species):
            raise InputError(
                f'{dataset.source}: charges must be given for {", ".join(dataset.species)}, each and no other'
            )
        check_groups(settings.weights, dataset)
        weights = structure_weights(dataset, settings.weights)
        baseline = [
            _baseline(settings, atoms, species, mask, f'{dataset.source}, structure {row}')
            for row, (atoms, mask) in enumerate(zip(dataset, masks))
        ]
        expansion = expansion_of(settings, dataset.species)
        representation, environments = represent(
            expansion, dataset, species, masks, weights, settings.mixed_channels, settings.message_channels
        )
        try:
            labelled = [k for k, found in enumerate(environments) if len(found)]
            design = Design.of(
                [environments[k] for k in labelled],
                weights[labelled],
                settings.l_max,
                settings.zeta,
                settings.sparse_points,
            )
        except ValueError:
            raise InputError(
                f'{dataset.source}: no labelled {species} atom has a neighbour; raise the cutoff'
            ) from None
        return cls(
            dataset=dataset,
            species=species,
            isotope=isotope,
            settings=settings,
            weights=weights,
            tensors=tensors,
            representation=representation,
            baseline=baseline,
            environments=environments,
            design=design,
        )

    @property
    def ions(self) -> int:
        """Number of labels."""
        return sum(map(len, self.tensors))

    def compressed(self, members: Iterable[int]) -> CompressedRows:
        """Rows and targets of the structures with the given indices, times the roots of their weights."""
        rows = CompressedRows(self.design.n_columns)
        for k in members:
            if len(self.tensors[k]):
                found = self.design.rows(self.environments[k])[0]
                targets = to_irreps(self.tensors[k]) - self.baseline[k]
                root = np.sqrt(self.weights[k])
                rows.add(root * found.reshape(-1, self.design.n_columns), root * targets.ravel())
        return rows

    def moments(self, members: Iterable[int]) -> Moments:
        """Moments of the labelled ions of the structures with the given indices."""
        labelled = [k for k in members if len(self.environments[k])]
        return Moments((self.environments[k] for k in labelled), self.weights[labelled])

    def predicted(self, terms: LinearTerms | KernelTerms, k: int) -> np.ndarray:
        """Tensors (n, 3, 3) in a.u. of the labelled ions of structure ``k``."""
        return from_irreps(terms.components(self.environments[k]) + self.baseline[k])

    def model(self, weights: np.ndarray, penalty: float, posterior: EfgPosterior | None = None) -> EfgModel:
        """The model with the weights of a fit."""
        return EfgModel(
            species=self.species,
            isotope=self.isotope,
            known_species=self.representation.expansion.known_species,
            settings=self.settings,
            penalty=penalty,
            mixing=self.representation.mixing,
            message_mixing=self.representation.message_mixing,
            terms=self.design.terms(weights),
            training_sha256=self.dataset.content_hash,
            posterior=posterior,
        )


def _baseline(settings: EfgSettings, atoms: Atoms, species: str, mask: np.ndarray, where: str) -> np.ndarray:
    ions = np.flatnonzero(atoms.numbers == atomic_numbers[species])[mask]
    try:
        return baseline_components(settings, atoms.positions, atoms.cell.array, atoms.pbc, atoms.numbers, ions)
    except InputError as error:
        raise InputError(f'{where}: {error}') from None
