"""Labels from GPAW: energy, forces, stress and the EFG tensor of every atom in one run.

PBE, plane waves, spin-paired. The calculation itself runs in whatever Python interpreter has GPAW
(:mod:`~aiida_ufpnmr.engine.dft.gpaw_worker`), fed by files.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.dft import gpaw_efg, gpaw_worker
from aiida_ufpnmr.engine.dft.density_grid import exact_grid
from aiida_ufpnmr.engine.dft.kpoints import kpoint_grid, needs_gamma
from aiida_ufpnmr.engine.dft.labels import LabellingError, Labels
from aiida_ufpnmr.engine.dft.programs import Programs
from aiida_ufpnmr.engine.dft.protocols import DEFAULT_PROTOCOL, protocol_settings
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import file_sha256
from aiida_ufpnmr.engine.settings import Settings, setting, settings_from_mapping, values_of

#: What runs in the interpreter that has GPAW, the script first.
WORKER_FILES = (gpaw_worker.__file__, gpaw_efg.__file__)
XC = 'PBE'
#: Elements whose frozen core would spoil the EFG: electrons that are treated as valence instead. With a frozen 1s shell
#: the EFG of Li is a third too large.
VALENCE_ELECTRONS = {'Li': 3}
#: Elements whose chlorides (one pair of atoms, GPAW 26.7) RMM-DIIS brought to their density. With others, most of them
#: with a shell below the valence shell that is not frozen, its wave functions ran away or came to rest at wrong ones.
SUIT_RMM_DIIS = frozenset(
    'H He Li Be B C N O F Al Si P S Cl K Cu Ga Ge As Se Br Kr Rb Y Cd In Te I Xe Cs Au Tl'.split()
)
#: Bands above those of the electrons where few are wanted: AgI of 16 atoms takes 130 s of CPU with 8, 184 with the
#: quarter that GPAW adds by itself, and gives the same energy to 1e-6 eV, forces to 0.4 meV/Å.
EMPTY_BANDS = 8
#: Where users say which Python has GPAW.
PYTHON_VARIABLE = 'UFPNMR_GPAW_PYTHON'
#: GPAW of Debian and Ubuntu belongs to this one.
SYSTEM_PYTHON = '/usr/bin/python3'
#: How much of a run that is cut off may have to be done again, s; a structure that takes less is not worth a file.
CHECKPOINT_EVERY_S = 300.0
#: One thread a process: its k-points, or other structures, are the better use of a second core.
THREADS = {'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1'}


def _three_counts(value: Any) -> tuple[int, int, int]:
    grid = tuple(value) if isinstance(value, (list, tuple)) else ()
    if len(grid) != 3 or not all(type(n) is int and n > 0 for n in grid):
        raise ValueError(f'must be three positive whole numbers, not {value!r}')
    return grid


@dataclass(frozen=True)
class GpawSettings(Settings):
    """Settings that decide the numbers."""

    cutoff_ev: float = setting(400.0, 'Kinetic energy of the highest plane wave in eV.', above=0, metavar='EV')
    kspacing_per_angstrom: float = setting(
        0.52,
        'Largest distance of k-points in 1/Å, with the factor 2π; the grid follows the cell.',
        above=0,
        metavar='PER_ANGSTROM',
        option='kspacing',
    )
    kpoint_centre: Literal['auto', 'gamma', 'shifted'] = setting(
        'auto',
        'auto: shifted (Monkhorst-Pack: even grids leave Gamma out), but centred at Gamma where a shift would break '
        'the symmetry of the lattice.',
    )
    kpoints: tuple[int, int, int] | None = setting(
        None,
        'The same grid of k-points for all structures, such as 1 2 2.',
        least=1,
        parse=_three_counts,
        metavar='A B C',
    )
    exact_grid: bool = setting(
        False,
        'Put the density on a grid without aliases, so that a translation of the crystal changes nothing; half as long '
        "again. GPAW's own grid is coarser.",
        option='',
    )
    smearing_ev: float = setting(0.1, 'Width of the Fermi-Dirac distribution in eV.', above=0, metavar='EV')
    density_tolerance: float = setting(
        1e-5, 'Electrons per valence electron by which the density may still change.', above=0, option=''
    )
    eigenstates_tolerance: float = setting(
        1e-7, 'Residual of the wave functions, eV² per valence electron.', above=0, option=''
    )
    max_cycles: int = setting(100, 'Cycles of self-consistency in one attempt.', least=1, option='')

    def kpoint_grid(self, cell: np.ndarray) -> tuple[tuple[int, int, int], bool]:
        """The grid for a cell (3, 3) in Å, and whether it is centred at Γ."""
        grid = self.kpoints or kpoint_grid(cell, self.kspacing_per_angstrom)
        centred = needs_gamma(cell) if self.kpoint_centre == 'auto' else self.kpoint_centre == 'gamma'
        return grid, centred

    def attempts(self, elements: Iterable[str]) -> list[dict[str, Any]]:
        """Mixers and solvers that are tried in turn until the density converges.

        First the fastest eigensolver where all elements suit it, then the one that GPAW itself chooses, both with
        GPAW's mixing; then careful mixing; then a wider smearing, too. The second has few empty bands, which costs it
        a fifth less, and is enough where there is a gap.
        """
        careful = {'backend': 'pulay', 'beta': 0.02, 'nmaxold': 8, 'weight': 100}
        width, cycles = self.smearing_ev, self.max_cycles
        plain = {'smearing_ev': width, 'cycles': cycles, 'eigensolver': None, 'mixer': None, 'empty_bands': None}
        patient = {**plain, 'cycles': 3 * cycles, 'mixer': careful}
        return [
            *([{**plain, 'eigensolver': 'rmm-diis'}] if SUIT_RMM_DIIS.issuperset(elements) else []),
            {**plain, 'empty_bands': EMPTY_BANDS},
            patient,
            {**patient, 'smearing_ev': 2 * width},
        ]


def gpaw_settings(
    options: Mapping[str, Any], changes: Mapping[str, Any] | None = None, elements: Iterable[str] = ()
) -> GpawSettings:
    """The settings of a protocol, changed by some of a file, changed by options.

    Args:
        options: of ``ufpnmr label`` by name, ``protocol`` among them; what is no setting is not looked at, nor is
            ``None``.
        changes: settings by name.
        elements: of all that is to be labelled together; the cut-off of a protocol is the largest that one of them
            needs.

    Raises:
        InputError: an unknown protocol, or a setting that is unknown or makes no sense.
    """
    values = protocol_settings('gpaw', options.get('protocol') or DEFAULT_PROTOCOL, elements) | dict(changes or {})
    given = {name: value for name, value in values_of(GpawSettings, options).items() if value is not None}
    return settings_from_mapping(GpawSettings, values | given)


@dataclass(frozen=True)
class Installation:
    """A Python interpreter that has GPAW.

    Attributes:
        python: the interpreter.
        gpaw: version of GPAW there.
        mpi: whether several processes can share a calculation.
    """

    python: Path
    gpaw: str
    mpi: bool


def cache_folder() -> Path:
    """Folder of what is made once for all runs."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache').absolute() / 'aiida-ufpnmr'


def candidates() -> list[Path]:
    """Interpreters that may have GPAW, in the order in which they are tried."""
    chosen = os.environ.get(PYTHON_VARIABLE)
    return [Path(python) for python in ([chosen] if chosen else [sys.executable, SYSTEM_PYTHON])]


def find_gpaw(python: str | os.PathLike | None = None) -> Installation:
    """The interpreter that has GPAW.

    Args:
        python: the one to use; else the one that the environment variable ``UFPNMR_GPAW_PYTHON`` names; else this
            very one, or the system's.

    Raises:
        InputError: none has a GPAW that works; the message says what to do.
    """
    tried = [Path(python)] if python is not None else candidates()
    reasons = []
    for interpreter in tried:
        found = _probe(interpreter)
        if isinstance(found, Installation):
            return found
        reasons.append(f'{interpreter}: {found}')
    raise InputError(
        f'no GPAW that can be used ({"; ".join(reasons)}); install it with '
        '"python -m aiida_ufpnmr.engine.dft.gpaw_install", or '
        f'name the Python that has it with --python or {PYTHON_VARIABLE}'
    )


def _probe(python: Path) -> Installation | str:
    """Versions that an interpreter has, or the reason why it cannot be used."""
    interpreter = os.path.abspath(python) if os.path.isfile(python) else shutil.which(python)
    if interpreter is None:
        return 'no such program'
    try:
        ended = subprocess.run(
            [interpreter, WORKER_FILES[0], 'probe'], capture_output=True, text=True, timeout=120, env=environment()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return ' '.join(str(error).split())
    try:
        found = json.loads(ended.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return _reason(ended.stderr) or f'ended with status {ended.returncode}'
    if not found['setups']:
        return 'has no PAW data sets; install gpaw-data there, or set GPAW_SETUP_PATH'
    return Installation(Path(interpreter), found['gpaw'], found['mpi'])


def environment(processes: int = 1) -> dict[str, str]:
    """Environment of GPAW's interpreter, one of so many processes that work together."""
    # from version 26 on GPAW does not look for MPI by itself
    together = {'GPAW_MPI_BACKEND': 'cgpaw'} if processes > 1 else {}
    # Open MPI does not run for root, as one is in a container, unless told to
    root = dict.fromkeys(('OMPI_ALLOW_RUN_AS_ROOT', 'OMPI_ALLOW_RUN_AS_ROOT_CONFIRM'), '1') if os.geteuid() == 0 else {}
    return {**os.environ, **THREADS, **root, **together, 'PYTHONWARNINGS': 'ignore'}


def _reason(text: str) -> str:
    """The line that says what went wrong: the last, or of a traceback that which names the error."""
    lines = [line for line in text.splitlines() if line.strip()]
    last = max((number for number, line in enumerate(lines) if line.startswith('Traceback')), default=len(lines))
    named = [line for line in lines[last + 1 :] if not line[0].isspace()]
    return (named[:1] or lines[-1:] or [''])[0].strip()


def setups_folder(installation: Installation) -> Path:
    """The folder with PAW data sets that GPAW does not bring along; they are generated on first use, and where damaged.

    Raises:
        InputError: GPAW cannot generate them, or they cannot be kept.
    """
    folder = cache_folder() / f'gpaw-{installation.gpaw}-setups'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for symbol in VALENCE_ELECTRONS:
            if not _is_whole(folder / _setup_name(symbol)):
                _generate_setup(installation, symbol, folder)
    except OSError as error:
        raise InputError(
            f'{folder}: cannot keep PAW data sets there ({error.strerror or error}); '
            'set XDG_CACHE_HOME to a folder that can be written'
        ) from error
    return folder


def _checksum_file(path: Path) -> Path:
    """File of the SHA-256 of a PAW data set, as ``sha256sum`` writes it."""
    return path.with_name(f'{path.name}.sha256')


def _checksum_line(path: Path) -> str:
    return f'{file_sha256(path)}  {path.name}\n'


def _is_whole(path: Path) -> bool:
    """Test that a PAW data set is there, as it was when it was made."""
    checksum = _checksum_file(path)
    return path.is_file() and checksum.is_file() and checksum.read_bytes() == _checksum_line(path).encode()


def _tag(symbol: str) -> str:
    return f'{VALENCE_ELECTRONS[symbol]}e'


def _setup_name(symbol: str) -> str:
    return f'{symbol}.{_tag(symbol)}.{XC}'


def _generate_setup(installation: Installation, symbol: str, folder: Path) -> None:
    """Generate a scalar-relativistic PAW data set with more valence electrons, whole, with its SHA-256."""
    electrons = str(VALENCE_ELECTRONS[symbol])
    with tempfile.TemporaryDirectory(dir=folder) as scratch:

        def run(*words: str) -> subprocess.CompletedProcess[str]:
            program = [str(installation.python), '-m', 'gpaw', 'dataset', *words]
            return subprocess.run(program, cwd=scratch, capture_output=True, text=True, env=environment())

        # older versions have to be asked for what newer ones do by themselves
        relativistic = ['-s'] if '--scalar-relativistic' in run('--help').stdout else []
        ended = run(symbol, '-f', XC, *relativistic, '-e', electrons, '-t', _tag(symbol), '-w')
        made = Path(scratch) / _setup_name(symbol)
        if ended.returncode or not made.is_file():
            raise InputError(
                f'{installation.python}: GPAW cannot make the PAW data set {made.name} ({_reason(ended.stderr)})'
            )
        _checksum_file(made).write_text(_checksum_line(made))
        for path in (made, _checksum_file(made)):
            os.replace(path, folder / path.name)


class GpawEngine:
    """Labels structures with GPAW."""

    name = 'gpaw'

    def __init__(self, settings: GpawSettings, python: str | os.PathLike | None = None):
        self.settings = settings
        self.installation = find_gpaw(python)
        self.setups_folder = setups_folder(self.installation)

    @property
    def shares_structures(self) -> bool:
        """True where several processes can work on one structure."""
        return self.installation.mpi and self.mpiexec is not None

    @property
    def mpiexec(self) -> str | None:
        """Starter of several processes: that beside GPAW's interpreter, likely of the same MPI, or that on PATH."""
        return shutil.which('mpiexec', path=self.installation.python.parent) or shutil.which('mpiexec')

    def describe(self, atoms: Atoms) -> dict[str, Any]:
        """Settings as they become for this structure."""
        grid, centred = self.settings.kpoint_grid(atoms.cell.array)
        return {
            'xc': XC,
            'cutoff_ev': self.settings.cutoff_ev,
            'kpoints': f'{"x".join(map(str, grid))}-{"gamma" if centred else "shifted"}',
        }

    def label(self, atoms: Atoms, folder: Path, checkpoints: Path, programs: Programs, processes: int = 1) -> Labels:
        """Run GPAW on one structure; its text output is ``gpaw.txt`` in ``folder``.

        Density and wave functions are kept in the folder ``checkpoints``. Where a run that was cut off has left them,
        this one goes on from there; its labels differ by what the tolerances of the SCF allow.

        Raises:
            LabellingError: it gave no labels; the message says why.
        """
        grid, centred = self.settings.kpoint_grid(atoms.cell.array)
        job = {
            'numbers': atoms.numbers.tolist(),
            'positions_angstrom': atoms.positions.tolist(),
            'cell_angstrom': atoms.cell.tolist(),
            'xc': XC,
            'cutoff_ev': self.settings.cutoff_ev,
            'kpoints': grid,
            'gamma_centred': centred,
            'gpts': exact_grid(atoms.cell.array, self.settings.cutoff_ev) if self.settings.exact_grid else None,
            'setups_folder': str(self.setups_folder),
            'setups': {symbol: _tag(symbol) for symbol in VALENCE_ELECTRONS},
            'density_tolerance': self.settings.density_tolerance,
            'eigenstates_tolerance': self.settings.eigenstates_tolerance,
            'attempts': self.settings.attempts(atoms.symbols),
            'checkpoints': str(checkpoints.absolute()),
            'checkpoint_every_s': CHECKPOINT_EVERY_S,
            'processes': processes,
            'log': 'gpaw.txt',
        }
        # copies, since Python looks for modules beside the script that it runs
        script, *_ = (shutil.copy(file, folder) for file in WORKER_FILES)
        (folder / 'job.json').write_text(json.dumps(job))
        parallel = [self.mpiexec or 'mpiexec', '-n', str(processes)] if processes > 1 else []
        command = [*parallel, str(self.installation.python), Path(script).name, 'label', 'job.json', 'labels.json']
        status = programs.run(command, folder, folder / 'gpaw.err', environment(processes))
        result = folder / 'labels.json'
        if not result.is_file():
            reason = _reason((folder / 'gpaw.err').read_text(errors='replace'))
            raise LabellingError(f'GPAW ended with status {status} ({reason or "it said nothing"})')
        found = json.loads(result.read_text())
        if 'failure' in found:
            raise LabellingError(found['failure'])
        return Labels(
            energy=found['energy_ev'],
            free_energy=found['free_energy_ev'],
            forces=np.array(found['forces_ev_per_angstrom']),
            stress=np.array(found['stress_ev_per_cubic_angstrom']),
            efg=np.array(found['efg_au']),
            version=f'{self.name}-{found["gpaw"]}',
            datasets=found['setups'],
            attempt=found['attempt'],
            smearing_ev=found['smearing_ev'],
        )
