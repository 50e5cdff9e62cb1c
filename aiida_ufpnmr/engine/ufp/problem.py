"""The linear least-squares problem that a data set and settings make."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy.sparse as sparse

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.neighbours import neighbour_list
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.regression.normal_equations import NormalEquations, Solution
from aiida_ufpnmr.engine.settings import DEFAULT
from aiida_ufpnmr.engine.ufp.basis import Basis, make_basis
from aiida_ufpnmr.engine.ufp.calibration import Comparison, real_errors
from aiida_ufpnmr.engine.ufp.continuation import SavedEquations
from aiida_ufpnmr.engine.ufp.equations import EquationsBuilder, Rows, design_rows, reference_energies, species_numbers
from aiida_ufpnmr.engine.ufp.features import N_LEADING
from aiida_ufpnmr.engine.ufp.isolated import isolated_energies
from aiida_ufpnmr.engine.ufp.moment_rows import add_rows
from aiida_ufpnmr.engine.ufp.moments import MomentBasis
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential
from aiida_ufpnmr.engine.ufp.repulsion import extend_wall
from aiida_ufpnmr.engine.ufp.settings import PotentialSettings
from aiida_ufpnmr.engine.weights import check_groups, structure_weights, weight_of

#: Intervals along a bond where the data may choose.
_FEWEST_BONDS, _MOST_BONDS = 5, 8
#: Inverse variance (eV⁻²) of a correction to the energy of an isolated atom: it is known.
_STIFF = 1e10


def closest_distances(dataset: Dataset, species: tuple[str, ...], cutoff: float) -> np.ndarray:
    """(s, s) shortest distance of each pair of species over a data set, Å; ``cutoff`` where none is shorter."""
    closest = np.full((len(species), len(species)), cutoff)
    for atoms in dataset:
        types = species_numbers(atoms, species)
        found = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
        distance = np.linalg.norm(found.vectors(atoms.positions, atoms.cell.array), axis=1)
        np.minimum.at(closest, (types[found.centre], types[found.index]), distance)
    return np.minimum(closest, closest.T)


def rmse_in_thousandths(residuals: np.ndarray, weights: np.ndarray | None = None) -> float:
    """RMSE in meV/Å of residuals (m,) of forces in eV/Å, or in meV/atom of those of energies in eV per atom."""
    return 1000 * float(np.sqrt(np.average(residuals**2, weights=weights)))


def choose_basis(dataset: Dataset, settings: PotentialSettings) -> tuple[PotentialSettings, Basis]:
    """Settings with their resolution, as fine as the data carry where they leave it open; and their basis.

    The three-body grid is refined as long as force components are at least four times as many as the columns, up to
    eight intervals along a bond: finer grids gained nothing on Li-P-S crystals and glasses.
    """
    species = dataset.species
    closest = closest_distances(dataset, species, settings.longest_cutoff(species))
    components = 3 * sum(len(atoms) for atoms in dataset)

    stated = settings.bond_intervals
    if isinstance(stated, Mapping):
        stated = stated.get(DEFAULT)

    def of(bonds: int) -> tuple[PotentialSettings, Basis]:
        filled = settings.with_intervals(bonds)
        return filled, make_basis(species, closest, filled)

    if stated is not None:
        return of(stated)
    chosen = of(_FEWEST_BONDS)
    for bonds in range(_FEWEST_BONDS + 1, _MOST_BONDS + 1):
        finer = of(bonds)
        if 4 * finer[1].n_columns > components:
            break
        chosen = finer
    return chosen


def moment_scale(dataset: Dataset, weights: np.ndarray, species: tuple[str, ...], basis: MomentBasis) -> np.ndarray:
    """(c, terms) root mean square of what each term of moments is around the atoms of its centre.

    Args:
        weights: (n,) of the structures.
    """
    squares, atoms_of = np.zeros(basis.scale.shape), np.zeros(len(basis.centres))
    for weight, atoms in zip(weights, dataset):
        types = species_numbers(atoms, species)
        rows = np.zeros((basis.n_columns, len(atoms)))
        add_rows(atoms, types, basis, rows, gradients=False)
        squares += weight * np.sum(rows**2, axis=1).reshape(squares.shape)
        atoms_of += weight * np.bincount(types, minlength=len(species))[list(basis.centres)]
    return np.sqrt(squares / atoms_of[:, None])


def _with_fixed(penalty: sparse.csc_array, columns: Sequence[int]) -> sparse.csc_array:
    """A penalty that keeps the coefficients of some columns at zero."""
    if not columns:
        return penalty
    stiff = np.zeros(penalty.shape[0])
    stiff[columns] = _STIFF
    return (penalty + sparse.diags_array(stiff, format='csc')).tocsc()


@dataclass(frozen=True)
class Problem:
    """The linear least-squares problem of a data set: its basis, reference energies and penalty.

    Attributes:
        dataset: what is fitted.
        basis: its columns.
        one_body: (s,) reference energies that are taken off, eV.
        penalty: on the coefficients, lower and upper triangle.
        settings: weights and penalties, with the resolution that was chosen.
        sha256: of everything that is fitted.
        base: equations of earlier data, to which this data set is added.
        isolated: energies of isolated atoms (eV) by element, which are kept.
    """

    dataset: Dataset
    basis: Basis
    one_body: np.ndarray
    penalty: sparse.csc_array
    settings: PotentialSettings
    sha256: str
    base: SavedEquations | None = None
    isolated: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, dataset: Dataset, settings: PotentialSettings) -> Problem:
        """A data set with nothing before it.

        Raises:
            InputError: settings for elements or groups that it does not hold, or grids that leave no room for a wall.
        """
        species = dataset.species
        settings.check_species(species)
        settings, basis = choose_basis(dataset, settings)
        check_groups(settings.weights, dataset)
        weights = structure_weights(dataset, settings.weights)
        if basis.moments is not None:
            scale = moment_scale(dataset, weights, species, basis.moments)
            basis = dataclasses.replace(basis, moments=basis.moments.with_scale(scale))
        isolated = isolated_energies(dataset, settings.longest_cutoff(species))
        return cls(
            dataset=dataset,
            basis=basis,
            one_body=reference_energies(dataset, species, isolated, weights),
            penalty=_with_fixed(basis.penalty(settings), [species.index(name) for name in isolated]),
            settings=settings,
            sha256=dataset.content_hash,
            isolated=isolated,
        )

    @classmethod
    def adding(cls, dataset: Dataset, base: SavedEquations) -> Problem:
        """A data set beside all data before it.

        Raises:
            InputError: it does not fit the basis of the earlier data.
        """
        base.check(dataset, closest_distances(dataset, base.basis.species, base.basis.layout.cutoff))
        sha256 = hashlib.sha256(f'{base.training_sha256}+{dataset.content_hash}'.encode()).hexdigest()
        return cls(
            dataset=dataset,
            basis=base.basis,
            one_body=base.one_body,
            penalty=base.basis.penalty(base.settings),
            settings=base.settings,
            sha256=sha256,
            base=base,
        )

    def resampled(self) -> Problem:
        """The problem of the groups that ``settings.resample`` draws, on the basis of all; itself where it draws none.

        Raises:
            InputError: there is a single group, or an element is in none of the groups that were drawn.
        """
        if self.settings.resample is None:
            return self
        drawn = self.dataset.resampled(self.settings.resample)
        missing = set(self.basis.species) - set(drawn.species)
        if missing and self.base is None:
            raise InputError(
                f'{self.dataset.source}: the groups that resample {self.settings.resample} draws hold no {min(missing)}'
                '; choose another seed'
            )
        return dataclasses.replace(self, dataset=drawn)

    @cached_property
    def weights(self) -> np.ndarray:
        """Weight (n,) of each structure."""
        return structure_weights(self.dataset, self.settings.weights)

    def rows(self, indices, dataset: Dataset | None = None) -> Iterator[Rows]:
        """Design rows of the chosen structures, or of those of another data set."""
        dataset = self.dataset if dataset is None else dataset
        return design_rows(dataset, indices, basis=self.basis, one_body=self.one_body, settings=self.settings)

    def equations(self, indices, bar=None) -> NormalEquations:
        """Normal equations of the chosen structures alone."""
        builder = EquationsBuilder(self.basis.n_columns, len(self.basis.species))
        for rows in self.rows(indices):
            builder.add(rows)
            if bar is not None:
                bar.update()
        return builder.finish()

    def parts(self, folds: Sequence[np.ndarray]) -> list[NormalEquations]:
        """Normal equations of each fold."""
        with progress(sum(map(len, folds)), 'features', 'structure') as bar:
            return [self.equations(members, bar) for members in folds]

    def total(self, parts: Sequence[NormalEquations], without: int | None = None) -> NormalEquations:
        """Sum of the earlier equations and all parts but one."""
        total = NormalEquations(self.basis.n_columns)
        if self.base is not None:
            total += self.base.equations
        for f, part in enumerate(parts):
            if f != without:
                total += part
        return total

    def closest(self, indices) -> np.ndarray:
        """(s, s) shortest distances among the chosen structures, Å."""
        return closest_distances(self.dataset.subset(indices), self.basis.species, self.basis.layout.cutoff)

    def residuals(self, coefficients: np.ndarray, indices) -> tuple[np.ndarray, np.ndarray]:
        """Errors of force components (eV/Å) and of energies (eV per atom) on the chosen structures."""
        by_force, by_energy = [], []
        for rows in self.rows(indices):
            error = coefficients @ rows.design - rows.labels
            by_force.append(error[N_LEADING:])
            by_energy.append(error[0] / len(rows.types))
        return np.concatenate(by_force), np.array(by_energy)

    def potential(self, coefficients: np.ndarray, closest: Sequence[np.ndarray]) -> UltraFastPotential:
        """The potential of given coefficients; ``closest`` lists the shortest distances of the parts that gave them."""
        energies, pairs, triplets = self.basis.expand(coefficients)
        potential = UltraFastPotential(
            species=self.basis.species,
            one_body=energies + self.one_body,
            pairs=pairs,
            triplets=triplets,
            moments=self.basis.expand_moments(coefficients),
            closest_distance=np.min([*closest, *([] if self.base is None else [self.base.closest_distance])], axis=0),
            settings=self.settings,
            training_sha256=self.sha256,
        )
        return extend_wall(potential)

    def fitted(self, indices) -> UltraFastPotential:
        """The potential that the chosen structures alone give."""
        coefficients = self.equations(indices).solve(self.penalty).coefficients
        return self.potential(coefficients, [self.closest(indices)])

    def compare(
        self, dataset: Dataset, indices, potential: UltraFastPotential, solution: Solution, fold: int
    ) -> Iterator[Comparison]:
        """Errors of a potential and their variances on the chosen structures of a data set."""
        groups = dataset.groups
        for rows in self.rows(indices, dataset):
            variances = solution.variances(rows.design)
            forces_error, energy_error = real_errors(potential, dataset.structures[rows.index])
            yield Comparison(
                forces_error=forces_error,
                forces_variance=variances[N_LEADING:],
                species=np.repeat(rows.types, 3),
                energy_error=energy_error,
                energy_variance=variances[0] / len(rows.types) ** 2,
                fold=fold,
                group=groups[rows.index],
                weight=weight_of(dataset.structures[rows.index], groups[rows.index], self.settings.weights),
            )
