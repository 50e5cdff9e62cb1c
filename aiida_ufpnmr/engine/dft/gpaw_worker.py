"""Script for the interpreter that has GPAW: energy, forces, stress and EFG tensors of one structure.

A script of its own, fed by files, because that interpreter may be another one than that of this package. It needs
numpy, ASE and GPAW (tried: 22.8 and 26.7), ``gpaw_efg.py`` beside it, and nothing else of this package. These are
imported where they are used, so that the file can be read without them.

    python gpaw_worker.py probe                    print which GPAW this is, as JSON
    python gpaw_worker.py label JOB.json OUT.json  label one structure
"""

import hashlib
import json
import os
import sys
import time
import warnings
import weakref

import numpy as np

#: RMM-DIIS has lost the wave functions where, after so many cycles, their residuals are more than this, in eV² per
#: valence electron: those of free atoms begin with 0.1 to 3, and are 1e-5 by then where all goes well.
LOST_AFTER_CYCLES, LOST_RESIDUAL = 10, 0.1
#: Where few bands were asked for, the highest may hold so many electrons.
ALMOST_EMPTY = 1e-6


def probe():
    """Versions of GPAW and of what it needs here, and ``mpi``: several processes can share a calculation."""
    import ase
    import gpaw.mpi
    from gpaw import setup_paths

    have_mpi = getattr(gpaw.mpi, 'have_mpi', None)
    if have_mpi is None:  # newer versions
        from gpaw.cgpaw import have_mpi

    return {
        'gpaw': gpaw.__version__,
        'ase': ase.__version__,
        'numpy': np.__version__,
        'mpi': bool(have_mpi),
        'setups': any(os.path.isdir(path) for path in setup_paths),
    }


def label_together(job):
    """Labels of one structure from all processes that have a k-point to work on; ``None`` on those that have none."""
    from gpaw import BadParallelization
    from gpaw.mpi import world

    if world.size != job['processes']:
        raise RuntimeError(
            'mpiexec was to start {} processes that work together, not {}; '
            'it is that of another MPI than GPAW was built with'.format(job['processes'], world.size)
        )
    # all at once, because every process must take part in making each
    communicators = [world.new_communicator(np.arange(size)) for size in range(world.size, 0, -1)]
    for communicator in communicators:
        if communicator is None:
            return None
        try:
            return label(job, communicator)
        except BadParallelization:  # more processes than k-points that symmetry leaves
            continue


def label(job, communicator):
    """Run the calculation that ``job`` describes; a dictionary of labels, or with the key ``failure``."""
    from ase import Atoms
    from gpaw import KohnShamConvergenceError, setup_paths
    from gpaw_efg import efg_tensors

    setup_paths.insert(0, job['setups_folder'])
    atoms = Atoms(job['numbers'], job['positions_angstrom'], cell=job['cell_angstrom'], pbc=True)
    checkpoints = [os.path.join(job['checkpoints'], f'attempt-{n}.gpw') for n in range(1, len(job['attempts']) + 1)]
    unfinished = max((n for n, path in enumerate(checkpoints, start=1) if os.path.exists(path)), default=0)
    for number, (attempt, checkpoint) in enumerate(zip(job['attempts'], checkpoints), start=1):
        if number < unfinished:  # has failed before the run was cut off
            continue
        common = {
            # k-points alone are spread over processes: each then holds the whole density and all atoms
            'parallel': {'domain': 1, 'band': 1},
            'communicator': communicator,
            'txt': job['log'] if number == 1 else '{}.attempt{}'.format(job['log'], number),
        }
        calculator = (number == unfinished and unfinished_calculator(checkpoint, common)) or new_calculator(
            job, attempt, common
        )
        checkpoint_regularly(calculator, checkpoint, job['checkpoint_every_s'], communicator)
        if attempt['eigensolver'] == 'rmm-diis':
            give_up_early(calculator)
        atoms.calc = calculator
        try:
            energy = atoms.get_potential_energy()
        except Exception as error:
            forget(checkpoint, communicator)  # another run had better not go on from there
            if isinstance(error, (KohnShamConvergenceError, np.linalg.LinAlgError)):
                continue
            raise
        labels = {
            'energy_ev': float(energy),
            'free_energy_ev': float(atoms.get_potential_energy(force_consistent=True)),
            'forces_ev_per_angstrom': atoms.get_forces().tolist(),
            'stress_ev_per_cubic_angstrom': atoms.get_stress(voigt=False).tolist(),
            'efg_au': efg_tensors(calculator).tolist(),
            'attempt': number,
            'smearing_ev': attempt['smearing_ev'],
            'setups': describe_setups(calculator),
            'gpaw': probe()['gpaw'],
        }
        # last, since GPAW weights its own occupations, of which forces are made, when it is asked for them
        if not attempt['empty_bands'] or electrons_in_highest_band(calculator) <= ALMOST_EMPTY:
            return labels
        forget(checkpoint, communicator)
    return {'failure': 'the density did not converge in {} attempts'.format(len(job['attempts']))}


def electrons_in_highest_band(calculator):
    """The largest number of electrons in the highest band of a k-point; in a metal it takes many bands to see none."""
    kpoints = range(len(calculator.get_ibz_k_points()))
    weights = calculator.get_k_point_weights()
    return max(calculator.get_occupation_numbers(kpt=k)[-1] / weights[k] for k in kpoints)


def new_calculator(job, attempt, common):
    """The calculator of one attempt, which starts from the densities of free atoms."""
    from gpaw import GPAW, PW

    empty = attempt['empty_bands']
    chosen = {
        'eigensolver': attempt['eigensolver'],
        'mixer': attempt['mixer'],
        'gpts': job['gpts'],
        'nbands': -empty if empty else None,  # GPAW's way to say so
    }
    return GPAW(
        mode=PW(job['cutoff_ev']),
        xc=job['xc'],
        kpts={'size': job['kpoints'], 'gamma': job['gamma_centred']},
        setups=job['setups'],
        occupations={'name': 'fermi-dirac', 'width': attempt['smearing_ev']},
        convergence={'density': job['density_tolerance'], 'eigenstates': job['eigenstates_tolerance']},
        maxiter=attempt['cycles'],
        **common,
        **{name: value for name, value in chosen.items() if value is not None},
    )


def unfinished_calculator(checkpoint, common):
    """A calculator that goes on from a checkpoint with its settings; ``None`` where the file cannot be read."""
    from gpaw import GPAW, BadParallelization

    try:
        return GPAW(checkpoint, **common)
    except BadParallelization:
        raise
    except Exception:  # whatever another version of GPAW says to a file that it does not know
        return None


def checkpoint_regularly(calculator, checkpoint, seconds, communicator):
    """Have density and wave functions written after a cycle of self-consistency, every so many seconds."""
    calculator_now = weakref.proxy(calculator)  # lest it keeps itself alive through its own hook
    written = time.time()

    def keep(*_):
        nonlocal written
        due = np.array([float(time.time() - written >= seconds)])
        communicator.broadcast(due, 0)  # all processes have a part to write
        if due[0]:
            calculator_now.write(checkpoint + '.part', mode='all')
            if communicator.rank == 0:
                os.replace(checkpoint + '.part', checkpoint)
            written = time.time()

    if hasattr(calculator, 'hooks'):
        calculator.hooks['scf_step'] = keep
    else:  # the calculator of older versions
        calculator.attach(keep, 1)


def give_up_early(calculator):
    """End an attempt whose wave functions run away, instead of at its last cycle; older versions of GPAW cannot."""
    from ase.units import Ha
    from gpaw import KohnShamConvergenceError

    if not hasattr(calculator, 'hooks'):
        return
    after = calculator.hooks['scf_step']

    def look(cycle):
        residual = cycle.wfs.eigensolver.error * Ha**2 / cycle.wfs.nvalence  # of all processes
        if cycle.niter > LOST_AFTER_CYCLES and residual > LOST_RESIDUAL:
            raise KohnShamConvergenceError('the wave functions run away')
        after(cycle)

    calculator.hooks['scf_step'] = look


def forget(checkpoint, communicator):
    """Remove a checkpoint, if there is one."""
    if communicator.rank == 0 and os.path.exists(checkpoint):
        os.remove(checkpoint)


def describe_setups(calculator):
    """The PAW data set of each element, as name:SHA-256 of its content."""
    from gpaw.setup_data import search_for_file

    names = {setup.symbol: setup.data.stdfilename for setup in calculator.setups}
    return {symbol: f'{name}:{hashlib.sha256(search_for_file(name)[1]).hexdigest()}' for symbol, name in names.items()}


def main(arguments):
    """Run one of the commands above."""
    warnings.simplefilter('ignore')
    if arguments[0] == 'probe':
        print(json.dumps(probe()))
        return
    with open(arguments[1], encoding='utf-8') as handle:
        job = json.load(handle)
    from gpaw.mpi import world

    labels = label_together(job)
    world.barrier()
    if world.rank == 0:
        partial = arguments[2] + '.part'
        with open(partial, 'w', encoding='utf-8') as handle:
            handle.write(json.dumps(labels))
        os.replace(partial, arguments[2])


if __name__ == '__main__':
    main(sys.argv[1:])
