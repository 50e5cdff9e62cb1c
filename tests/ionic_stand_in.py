"""A stand-in for the command ``ufpnmr`` where there is GPAW: ions with a repulsion that a potential of pairs can learn.

Energy of a pair: ``(A exp(-r/ρ) + k q q'/r) (1 - (r/R)²)³`` up to R, with charges and A of the elements; tensors are
those of the charges up to there. Everything else is that of ``gpaw_stand_in``.
"""

from __future__ import annotations

import numpy as np
from gpaw_stand_in import FOLDER, StandIn

from aiida_ufpnmr.engine.commands import label as command
from aiida_ufpnmr.engine.dft.labels import Labels
from aiida_ufpnmr.engine.neighbours import neighbour_list

CHARGES = {'Na': 1.0, 'K': 1.0, 'Ag': 1.0, 'Cl': -1.0, 'I': -1.0}
STRENGTH_EV, LENGTH, COULOMB, REACH, BOHR = 800.0, 0.33, 4.0, 5.0, 0.529177210903


class Ionic(StandIn):
    """Labels of ions."""

    def label(self, atoms, folder, checkpoints, programs, processes):
        with open(FOLDER / 'computed', 'a') as handle:
            handle.write(f'{atoms.positions[0, 0]:.6f}\n')
        near = neighbour_list(atoms.positions, atoms.cell.array, True, REACH)
        d = near.vectors(atoms.positions, atoms.cell.array)
        r = np.linalg.norm(d, axis=1)
        q = np.array([CHARGES[symbol] for symbol in atoms.symbols])
        qq = COULOMB * q[near.centre] * q[near.index]
        bare, slope = STRENGTH_EV * np.exp(-r / LENGTH), -STRENGTH_EV / LENGTH * np.exp(-r / LENGTH)
        bare, slope = bare + qq / r, slope - qq / r**2
        x = 1 - (r / REACH) ** 2
        pair, along = bare * x**3, slope * x**3 - bare * 6 * r / REACH**2 * x**2
        pull = along[:, None] * d / r[:, None]  # of the neighbour on the centre
        forces = np.zeros_like(atoms.positions)
        np.add.at(forces, near.centre, pull)
        outer = d[:, :, None] * d[:, None, :]
        gradient = (q[near.index] * x**3 / r**5)[:, None, None] * (3 * outer - (r**2)[:, None, None] * np.eye(3))
        efg = np.zeros((len(atoms), 3, 3))
        np.add.at(efg, near.centre, BOHR**3 * gradient)
        energy = float(pair.sum() / 2)
        return Labels(
            energy=energy,
            free_energy=energy,
            forces=forces,
            stress=np.einsum('ni,nj->ij', pull, d) / 2 / atoms.get_volume(),
            efg=efg,
            version='0.0',
            datasets={symbol: f'{symbol}.PBE:00' for symbol in set(atoms.get_chemical_symbols())},
            attempt=1,
            smearing_ev=0.1,
        )


if __name__ == '__main__':
    from aiida_ufpnmr.engine.main import main

    command.GpawEngine = Ionic
    main()
