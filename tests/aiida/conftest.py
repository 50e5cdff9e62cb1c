"""Fixtures of the AiiDA tests: one profile a session, small files of every kind, one whole run of the pipeline."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from aiida import orm
from aiida.common.links import LinkType
from aiida.plugins import CalculationFactory, ParserFactory
from aiida.tools.pytest_fixtures import *  # noqa: F403
from click.testing import CliRunner, Result
from stand_ins import CastepCode, GpawCode, install_castep, install_gpaw

from aiida_ufpnmr.cli import aiida_ufpnmr
from aiida_ufpnmr.data import DatasetData, EfgModelData, PotentialData, TrajectoryData
from aiida_ufpnmr.engine.dataset import Dataset, energy, forces, read_dataset, stress, write_dataset
from aiida_ufpnmr.engine.dft.identity import label_sha256, settings_sha256, structure_sha256
from aiida_ufpnmr.engine.dft.labels import Labels, Source, labelled_atoms
from aiida_ufpnmr.engine.dft.record import LabelRecord
from aiida_ufpnmr.engine.efg import EfgSettings, fit_efg_model
from aiida_ufpnmr.engine.trajectories.trajectory import EDGES, POSITION, TrajectoryWriter, efg_group
from aiida_ufpnmr.engine.ufp import PotentialSettings, fit_potential
from aiida_ufpnmr.tools.profile import get_or_create_code, get_or_create_computer, ufpnmr_executable

EXAMPLE = Path(__file__).parents[2] / 'examples' / 'data' / 'li3ps4-pbe-gpaw.extxyz'

#: The programs that draw results from archives.
SCRIPTS = EXAMPLE.parents[1] / 'results'

#: Three frames each of three groups: enough to withhold a group.
ROWS = (0, 1, 2, 7, 8, 9, 65, 66, 67)

#: Settings with which a fit takes a second.
POTENTIAL_SETTINGS = {'bond_intervals': 4, 'third_intervals': 6, 'pair_intervals': 10, 'folds': 3}
EFG_SETTINGS = {'n_max': 4, 'l_max': 3, 'mixed_channels': 6, 'folds': 3, 'penalty': 0.1}


@pytest.fixture(scope='session', autouse=True)
def patient_profile(aiida_profile) -> None:
    """In a profile for tests AiiDA asks without a pause whether processes have ended, which keeps a core busy."""
    aiida_profile.is_test_profile = False
    aiida_profile.set_option('runner.poll.interval', 1)


@pytest.fixture(scope='session')
def dataset_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('dataset') / 'small.extxyz'
    write_dataset(path, read_dataset(EXAMPLE).subset(ROWS))
    return path


@pytest.fixture(scope='session')
def potential_file(dataset_file) -> Path:
    path = dataset_file.with_name('potential.h5')
    fit_potential(read_dataset(dataset_file), PotentialSettings(**POTENTIAL_SETTINGS))[0].save(path)
    return path


@pytest.fixture(scope='session')
def efg_model_file(dataset_file) -> Path:
    path = dataset_file.with_name('efg-model.h5')
    fit_efg_model(read_dataset(dataset_file), 'Li', EfgSettings(**EFG_SETTINGS))[0].save(path)
    return path


@pytest.fixture(scope='session')
def trajectory_file(dataset_file) -> Path:
    """Atoms that shake about their places for 4 ps, with tensors that are noise."""
    path = dataset_file.with_name('trajectory.h5')
    atoms = read_dataset(dataset_file).structures[0]
    ions = np.flatnonzero(atoms.numbers == 3)
    rng = np.random.default_rng(0)
    writer = TrajectoryWriter(path, atoms, {'Li': ions})
    for step in range(0, 2001, 25):
        writer.append(POSITION, step, 2.0 * step, atoms.positions + 0.1 * rng.normal(size=atoms.positions.shape))
        writer.append(EDGES, step, 2.0 * step, atoms.cell.array)
        writer.append(f'{efg_group("Li")}/efg', step, 2.0 * step, rng.normal(size=(len(ions), 3, 3)))
    writer.close()
    return path


@pytest.fixture(scope='session')
def gpaw_labels_file(dataset_file) -> Path:
    """The structures of the data set as a GPAW job labels them."""
    path, settings = dataset_file.with_name('gpaw-labels.extxyz'), settings_sha256('gpaw', {})
    rows = []
    for number, atoms in enumerate(read_dataset(dataset_file)):
        known = Labels(
            energy(atoms), energy(atoms), forces(atoms), stress(atoms), atoms.arrays['efg'], 'gpaw-0', {}, 1, 0.1
        )
        label = label_sha256(structure_sha256(atoms), settings)
        record = LabelRecord(settings_sha256=settings, label_sha256=label)
        rows.append(labelled_atoms(Source(atoms, 'structures.extxyz', number), known, record))
    write_dataset(path, Dataset(tuple(rows)))
    return path


@pytest.fixture
def draw(tmp_path) -> Callable[[str, Path], bytes]:
    """Has a script of results draw from an archive, in a process of its own; gives the content of the file."""

    def run(figure: str, archive: Path) -> bytes:
        subprocess.run([sys.executable, SCRIPTS / f'{figure}.py', archive, '-o', tmp_path / 'figure.png'], check=True)
        return (tmp_path / 'figure.png').read_bytes()

    return run


@pytest.fixture
def dataset(dataset_file) -> DatasetData:
    return DatasetData(dataset_file)


@pytest.fixture
def potential(potential_file) -> PotentialData:
    return PotentialData(potential_file)


@pytest.fixture
def efg_model(efg_model_file) -> EfgModelData:
    return EfgModelData(efg_model_file)


@pytest.fixture
def trajectory(trajectory_file) -> TrajectoryData:
    return TrajectoryData(trajectory_file)


@pytest.fixture
def structure(dataset) -> orm.StructureData:
    return dataset.get_structure(0)


@pytest.fixture(scope='session')
def code(aiida_profile) -> orm.InstalledCode:
    """The real command, as ``aiida-ufpnmr setup`` makes it known."""
    get_or_create_computer()
    get_or_create_code(ufpnmr_executable())
    return orm.load_code('ufpnmr@localhost')


@pytest.fixture(scope='session')
def castep(code, tmp_path_factory) -> CastepCode:
    """A code that stands in for CASTEP; aiida-castep, which tests/run.sh installs, writes its input files."""
    pytest.importorskip('aiida_castep')
    return install_castep(code.computer, tmp_path_factory.mktemp('castep'))


@pytest.fixture(scope='session')
def gpaw(code, tmp_path_factory) -> GpawCode:
    """A code that stands in for GPAW."""
    return install_gpaw(code.computer, tmp_path_factory.mktemp('gpaw'))


@pytest.fixture(scope='session')
def command(aiida_profile) -> Callable[..., Result]:
    """Calls ``aiida-ufpnmr`` in this process; mistakes of the user arrive as ``result.exception``."""

    def call(*arguments) -> Result:
        return CliRunner().invoke(aiida_ufpnmr, [str(argument) for argument in arguments])

    return call


@pytest.fixture
def parse(code, tmp_path) -> Callable:
    """Parses what a calculation would have left: ``files`` are kept, ``outputs`` become nodes.

    ``exit_status`` is what the scheduler says, and ``options`` are those of the job. Gives the outputs by name and the
    exit status with its message.
    """

    def run(
        name: str,
        files: dict[str, str],
        outputs: dict[str, bytes],
        inputs: dict[str, orm.Data] | None = None,
        exit_status: int | None = None,
        **options,
    ):
        node = orm.CalcJobNode(computer=code.computer, process_type=f'aiida.calculations:{name}')
        node.set_option('resources', {'num_machines': 1, 'num_mpiprocs_per_machine': 1})
        for option, value in options.items():
            node.set_option(option, value)
        if exit_status is not None:  # that of the scheduler
            node.set_exit_status(exit_status)
        for label, given in (inputs or {}).items():
            node.base.links.add_incoming(given.store(), link_type=LinkType.INPUT_CALC, link_label=label)
        node.store()
        retrieved = orm.FolderData()
        for file, text in files.items():
            retrieved.base.repository.put_object_from_bytes(text.encode(), file)
        retrieved.base.links.add_incoming(node, link_type=LinkType.CREATE, link_label='retrieved')
        retrieved.store()
        for file, content in outputs.items():
            (tmp_path / file).write_bytes(content)
        assert node.process_class is CalculationFactory(name)
        found, parsing = ParserFactory(name).parse_from_node(
            node, store_provenance=False, retrieved_temporary_folder=str(tmp_path)
        )
        return found or {}, parsing.exit_status, parsing.exit_message

    return run


#: A pipeline that takes a minute on one core and still goes through every step.
TINY = {
    'fit_potential': {'settings': POTENTIAL_SETTINGS},
    'fit_efg': {'settings': EFG_SETTINGS},
    'dynamic_nmr': {
        'md': {
            'parameters': {'steps': 400, 'timestep': 1.0, 'every': 10, 'temperature': 100.0, 'supercell': [1, 1, 1]}
        },
        'acf': {'parameters': {'skip_ps': 0.0, 'bootstrap': 10}},
        'msd': {'parameters': {'skip_ps': 0.0, 'bootstrap': 10}},
        'hops': {'parameters': {'skip_ps': 0.0, 'window_ps': 0.03, 'residence_ps': 0.03}},
    },
}


@pytest.fixture(scope='session')
def tiny() -> dict:
    """The overrides of the run that all tests of a whole pipeline share."""
    return TINY


@pytest.fixture(scope='session')
def launched(code, command, dataset_file) -> Result:
    """One whole pipeline, run through the command line with the real commands."""
    overrides = dataset_file.with_name('overrides.yaml')
    overrides.write_text(yaml.safe_dump(TINY))
    return command(
        'launch', 'pipeline', dataset_file, '--structure-index', 1, '--protocol', 'fast', '--overrides', overrides
    )


@pytest.fixture(scope='session')
def pipeline(launched) -> orm.WorkChainNode:
    assert launched.exit_code == 0, (launched.output, launched.exception)
    return orm.load_node(int(re.search(r'PipelineWorkChain #(\d+)', launched.output)[1]))
