"""Constant pressure: stochastic cell rescaling, isotropic or fully flexible, without an error of its time step.

The cell follows overdamped Langevin dynamics in the strain, as in Bernetti & Bussi, J. Chem. Phys. 153, 114107 (2020)
for the volume and in Del Tatto, Raiteri, Bernetti & Bussi, Appl. Sci. 12, 1139 (2022) for the whole cell. Positions go
with the cell, momenta against it. Steps of finite length do not quite keep the distribution, the less so the worse the
guess at the bulk modulus; so each step is a proposal, to be accepted by the rule of Metropolis and Hastings (Roberts &
Tweedie, Bernoulli 2, 341 (1996)). Nearly all are.

The distribution is that of Martyna, Tobias & Klein, J. Chem. Phys. 101, 4177 (1994): V⁻² exp(−(H + P V)/k_B T) dh over
cell matrices h, which is V exp(−(H + P V)/k_B T) over strains, each of which multiplies h by a factor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import units

from aiida_ufpnmr.engine.md.conditions import BAROSTATS, Conditions
from aiida_ufpnmr.engine.md.system import System, kinetic_energy, kinetic_tensor

ISOTROPIC, FLEXIBLE = BAROSTATS
#: Time steps between two proposals, each of which costs one more computation of the forces.
INTERVAL = 10
#: No cell is accepted that is strained more than this along one direction, relative to another: a liquid would shear
#: for ever.
LARGEST_SHEAR = 3.0


@dataclass(frozen=True)
class Barostat:
    """What drives the cell.

    Attributes:
        kind: ``isotropic`` or ``flexible``.
        pressure: eV/Å³.
        mobility: 1/eV; the variance of a proposed strain is mobility times k_B T, with mobility = 2 Δt / (3 B V τ) by
            bulk modulus B, volume V, relaxation time τ and time Δt between two proposals.
        first_cell: (3, 3) Å; relative to it the cell does not turn.
    """

    kind: str
    pressure: float
    mobility: float
    first_cell: np.ndarray

    @classmethod
    def of(cls, conditions: Conditions, cell: np.ndarray) -> Barostat | None:
        """What drives a cell that begins as ``cell``; ``None`` where it does not change."""
        if conditions.barostat is None:
            return None
        stiffness = conditions.bulk_modulus_GPa * units.GPa * abs(np.linalg.det(cell))
        interval_fs = INTERVAL * conditions.timestep_fs
        mobility = 2 * interval_fs / (3 * stiffness * conditions.pressure_relaxation_fs)
        return cls(conditions.barostat, conditions.pressure_GPa * units.GPa, mobility, cell.copy())

    def change_cell(
        self, system: System, thermal: float, compute: Callable[[], bool], rng: np.random.Generator
    ) -> bool:
        """Propose a strain of the cell and all in it, and accept it or put everything back.

        Args:
            system: with the energies and the virial of its positions.
            thermal: k_B T, eV.
            compute: sets forces, energies and virial after the cell has changed; false where the potential knows
                nothing.
            rng: source of random numbers.

        Returns:
            Whether it was accepted. If not, the system is as it was, but whatever follows the cell must follow it back.
        """
        before = [(array, array.copy()) for array in (
            system.positions, system.velocities, system.forces, system.energies, system.virial, system.cell,
        )]  # fmt: skip
        variance = self.mobility * thermal
        volume, energy = _volume(system), _energy(system)
        noise = self._allowed(_symmetric_noise(rng))
        strain = 0.5 * variance * self._slope(system, thermal) + np.sqrt(variance) * noise
        turn, shear = self._apply(system, strain)
        known = compute()
        taken_up, growth = _energy(system) - energy, _volume(system) - volume
        # the strain that would lead back, as seen in the cell that may have been turned
        back = -turn.T @ strain @ turn - 0.5 * variance * self._slope(system, thermal)
        log_ratio = (
            np.log1p(growth / volume)
            - (taken_up + self.pressure * growth) / thermal
            + 0.5 * (noise**2).sum()
            - 0.5 * (back**2).sum() / variance
        )
        if np.log(rng.random()) < log_ratio and known and shear < LARGEST_SHEAR:
            system.heat[0] -= taken_up
            return True
        for array, values in before:
            array[:] = values
        return False

    def _allowed(self, strain: np.ndarray) -> np.ndarray:
        """The part of a symmetric strain that the barostat allows."""
        return strain if self.kind == FLEXIBLE else np.eye(3) * np.trace(strain) / 3

    def _slope(self, system: System, thermal: float) -> np.ndarray:
        """Derivative, by strain, of the logarithm of the distribution."""
        internal = kinetic_tensor(system.velocities, system.masses) - 0.5 * (system.virial + system.virial.T)
        return self._allowed((internal - self.pressure * _volume(system) * np.eye(3)) / thermal + np.eye(3))

    def _apply(self, system: System, strain: np.ndarray) -> tuple[np.ndarray, float]:
        """Strain cell, positions and velocities, and turn all so that the cell keeps upright.

        A product of symmetric strains is not symmetric: the cell would turn little by little. Energies do not see a
        rotation, so the cell is turned back to where its strain since the beginning is symmetric (polar decomposition).

        Returns:
            The rotation, and the ratio of largest and smallest stretch since the beginning.
        """
        lengths, axes = np.linalg.eigh(strain)
        stretch, shrink = (axes * np.exp(lengths)) @ axes.T, (axes * np.exp(-lengths)) @ axes.T
        turn, shear = np.eye(3), 1.0
        if self.kind == FLEXIBLE:
            left, stretches, right = np.linalg.svd(np.linalg.solve(self.first_cell, system.cell @ stretch))
            turn, shear = (left @ right).T, stretches[0] / stretches[2]
        system.positions[:] = system.positions @ (stretch @ turn)
        system.velocities[:] = system.velocities @ (shrink @ turn)
        system.cell[:] = system.cell @ (stretch @ turn)
        return turn, shear


def _symmetric_noise(rng: np.random.Generator) -> np.ndarray:
    """A symmetric (3, 3) matrix, normally distributed with unit variance along each of its six directions."""
    noise = rng.standard_normal((3, 3))
    return (noise + noise.T) / 2


def _volume(system: System) -> float:
    return abs(np.linalg.det(system.cell))


def _energy(system: System) -> float:
    return system.energies.sum() + kinetic_energy(system.velocities, system.masses)
