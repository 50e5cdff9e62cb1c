"""Claims about the set-up of clusters, with a stand-in for Slurm."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import yaml
from aiida import orm
from aiida.engine import run_get_node
from aiida.manage import get_config
from aiida.plugins import CalculationFactory
from slurm_stand_in import install

from aiida_ufpnmr.calculations.base import OUT_OF_MEMORY
from aiida_ufpnmr.calculations.resources import Resources, node_of
from aiida_ufpnmr.cli.shared import load_code
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.tools.cluster import ClusterSettings, cluster_of, read_cluster
from aiida_ufpnmr.tools.profile import ufpnmr_executable
from aiida_ufpnmr.version import __version__
from aiida_ufpnmr.workflows.md import MdWorkChain

RECIPES = Path(__file__).parents[2] / 'examples' / 'containers'


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A folder with the stand-in, found by commands."""
    (tmp_path / 'slurm').mkdir()
    folder = install(tmp_path / 'slurm')
    monkeypatch.setenv('PATH', f'{folder}{os.pathsep}{os.environ["PATH"]}')
    return folder


@pytest.fixture
def description(tmp_path):
    """A file for a cluster of that test, with changes."""
    path = tmp_path / 'cluster.yaml'

    def write(codes: dict | None = None, **changes):
        values = {
            'label': tmp_path.name,
            'host': 'localhost',
            'transport': 'core.local',
            'scheduler': 'core.slurm',
            'login_shell': False,  # which would reset the PATH
            'work_directory': str(tmp_path / 'work'),
            'queue': 'main',
            'cores': 4,
            'memory': '8GB',
            'poll_interval_s': 0,
            'connection_interval_s': 0,
            'codes': {'ufpnmr': {'path': str(ufpnmr_executable())}} if codes is None else codes,
            **changes,
        }
        path.write_text(yaml.safe_dump({name: value for name, value in values.items() if value is not None}))
        return path, values['label']

    return write


def stored(label: str) -> list[str]:
    """Labels of the computer and its codes, where there are any."""
    query = orm.QueryBuilder().append(orm.Computer, filters={'label': label}, project='label', tag='computer')
    codes = orm.QueryBuilder().append(orm.Computer, filters={'label': label}, tag='computer')
    codes.append(orm.AbstractCode, with_computer='computer', project='label')
    return [*query.all(flat=True), *codes.all(flat=True)]


def test_a_cluster_is_tried_with_real_jobs_and_there_the_second_time(code, command, slurm, description):
    path, label = description()
    result = command('setup', '--computer', path)
    assert result.exit_code == 0, (result.output, result.exception)
    assert f'trial     ufpnmr                 ufpnmr, version {__version__}\n' in result.output
    assert f'computer  {label:<22} made' in result.output and f'ufpnmr@{label}' in result.output
    asked = [job.read_text() for job in slurm.glob('*.job')]
    assert len(asked) == 1 and '"partition": "main"' in asked[0]
    assert node_of(orm.load_computer(label)) == {'cores': 4, 'memory_kb': 8 * 1024**2, 'queue': 'main'}
    assert not list((path.parent / 'work').iterdir())  # the trial left nothing
    again = command('setup', '--computer', path)
    assert f'computer  {label:<22} there' in again.output and 'made' not in again.output
    assert len(list(slurm.glob('*.job'))) == 1


def test_a_program_that_is_added_to_the_file_is_tried_alone(code, command, slurm, description, tmp_path):
    path, label = description()
    assert command('setup', '--computer', path).exit_code == 0
    castep = program(tmp_path / 'castep.mpi', 'echo CASTEP version 24.1')
    path, _ = description({'ufpnmr': {'path': str(ufpnmr_executable())}, 'castep': {'path': str(castep)}})
    result = command('setup', '--computer', path)
    assert 'trial     castep                 CASTEP version 24.1' in result.output
    assert len(list(slurm.glob('*.job'))) == 2
    assert orm.load_code(f'castep@{label}').with_mpi and not orm.load_code(f'ufpnmr@{label}').with_mpi


def program(path, line):
    path.write_text(f'#!/bin/bash\n{line}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'queue': 'closed'}, 'core.slurm took no job .*partition not available.*; give queue and account'),
        ({'queue': 'full', 'test_wait_s': 1}, 'still queued after 1 s; give another queue'),
        ({'codes': {'ufpnmr': {'path': '/no/such/ufpnmr'}}}, 'ufpnmr: /no/such/ufpnmr: no such file on .*; "which'),
        ({'codes': {'ufpnmr': {'path': '/etc/passwd'}}}, 'may not be executed; "chmod'),
        ({'codes': {'ufpnmr': {'path': '/bin/false'}}}, 'ended with status 1: .*; correct path, modules or prepend'),
        ({'codes': {'ufpnmr': {'path': '/bin/true'}}}, 'what runs there calls itself true .*, not ufpnmr; correct'),
        ({'work_directory': '/proc/nowhere'}, 'work_directory /proc/nowhere: cannot be written to .*; give one'),
        ({'prepend': 'exit 3'}, 'was cut off before its end'),
    ],
)
def test_a_trial_that_fails_says_why_and_leaves_nothing(
    code, command, slurm, description, monkeypatch, changes, reason
):
    monkeypatch.setattr('aiida_ufpnmr.tools.cluster_trial.FILE_DELAY_S', 1.0)
    path, label = description(**changes)
    result = command('setup', '--computer', path)
    assert isinstance(result.exception, InputError)
    with pytest.raises(InputError, match=reason):
        raise result.exception
    assert stored(label) == []


def test_no_connection_is_told_from_all_else(code, command, description, monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))
    path, label = description(transport='core.ssh_async', host='no-such-host.invalid')
    result = command('setup', '--computer', path)
    assert 'no connection to no-such-host.invalid' in str(result.exception)
    assert '"ssh no-such-host.invalid" has to work' in str(result.exception) and stored(label) == []


@pytest.mark.parametrize(
    ('changes', 'key'),
    [
        ({'work_directory': '/tmp/elsewhere'}, 'work_directory'),
        ({'modules': ['python']}, 'prepend'),
        ({'cores': 8}, 'cores of a node'),
        ({'login_shell': True}, 'use_login_shell'),
        ({'codes': {'ufpnmr': {'path': '/usr/bin/ufpnmr'}}}, 'path'),
    ],
)
def test_a_file_that_differs_from_what_is_there_is_refused(code, command, slurm, description, changes, key):
    path, label = description()
    assert command('setup', '--computer', path).exit_code == 0
    path, _ = description(**changes)
    result = command('setup', '--computer', path)
    assert f'{key} is ' in str(result.exception) and 'relabel' in str(result.exception)
    assert orm.load_computer(label).get_workdir() == str(path.parent / 'work')


def test_a_second_run_repairs_a_computer_without_its_connection_and_code(code, command, slurm, description):
    path, label = description()
    from aiida_ufpnmr.tools.cluster_setup import computer_of

    computer_of(read_cluster(path)).store()
    result = command('setup', '--computer', path)
    assert result.exit_code == 0, result.exception
    assert stored(label) == [label, 'ufpnmr'] and orm.load_computer(label).is_configured


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'hots': 'x'}, "unknown setting 'hots'; known are account, append"),
        ({'scheduler': 'core.torque9'}, 'scheduler must be one of core.slurm'),
        ({'work_directory': 'work'}, 'work_directory work must be an absolute path'),
        ({'work_directory': '/w/{user}'}, 'work_directory /w/{user}: unknown {user}; known are username'),
        ({'work_directory': '/w/{user'}, 'work_directory /w/{user: '),
        ({'mpirun': 'mpirun {cores}'}, 'mpirun mpirun {cores}: unknown {cores}; known are tot_num_mpiprocs'),
        ({'shebang': ''}, 'must begin with #!'),
        ({'label': 'a b@c'}, 'must be letters, digits, - and _ alone'),
        ({'scheduler': 'core.direct', 'queue': 'main'}, 'queue: core.direct starts jobs at once'),
        ({'host': 'elsewhere'}, 'core.local reaches localhost only'),
        ({'memory': 'much'}, "'much' is no memory such as 4GB"),
        ({'cores': 0}, 'cores must be at least 1'),
        ({'host': None}, 'host is missing; Host, as in'),
        ({'codes': {'ufpnm': {}}}, "codes: unknown program 'ufpnm'; known are ufpnmr, gpaw, castep"),
        ({'codes': {'ufpnmr': {}}}, 'codes: ufpnmr: path is missing'),
        ({'codes': {'ufpnmr': {'path': 'ufpnmr'}}}, 'path ufpnmr must be absolute'),
        ({'codes': {'gpaw': {'path': '/bin/ufpnmr'}}}, 'gpaw: python is missing'),
        ({'codes': {'ufpnmr': '/bin/ufpnmr'}}, 'must have "path: ..." and so on below it'),
    ],
)
def test_a_mistake_in_the_file_is_named(description, changes, reason):
    path, _ = description(**changes)
    with pytest.raises(InputError, match=f'{path}: .*{reason}'):
        read_cluster(path)


def test_modules_and_variables_come_before_other_lines():
    values = {'label': 'a', 'host': 'a', 'work_directory': '/w'}
    settings = ClusterSettings(**values, modules=['gcc', 'python'], environment={'A': 'b c'}, prepend='source x\n')
    assert settings.head == "module load gcc\nmodule load python\nexport A='b c'\nsource x"


def test_questions_need_a_terminal(code, command):
    assert 'give a file instead' in str(command('setup', '--computer', '-').exception)


def test_answers_make_the_file_that_says_the_same(code, monkeypatch, capsys):
    from aiida_ufpnmr.cli import questions

    given = {'label': 'here', 'host': 'localhost', 'work_directory': '/tmp/w', 'transport': 'core.local', 'cores': '4'}
    given |= {'path': '/bin/ufpnmr'}

    def answer(text, default=None, **_):
        return given.get(text.rpartition('[')[2].rstrip(']'), default)

    monkeypatch.setattr('sys.stdin.isatty', lambda: True, raising=False)
    monkeypatch.setattr(questions.click, 'prompt', answer)
    monkeypatch.setattr(questions.click, 'confirm', lambda text, default: default)
    cluster = questions.ask_for_cluster()
    shown = yaml.safe_load(capsys.readouterr().out.split('The same as a file:')[1])
    assert shown == {
        'label': 'here', 'host': 'localhost', 'work_directory': '/tmp/w', 'transport': 'core.local', 'cores': 4,
        'codes': {'ufpnmr': {'path': '/bin/ufpnmr'}},
    }  # fmt: skip
    assert cluster == cluster_of(shown, 'shown')


def test_a_job_runs_in_a_container(code, command, slurm, description, tmp_path, structure, potential):
    """The engine is a stand-in, which runs the command as it is and keeps what it was asked."""
    engine = program(tmp_path / 'apptainer', f'echo "$@" >> {tmp_path}/asked; shift 4; exec "$@"')
    image = tmp_path / 'ufpnmr.sif'
    image.write_text('an image')
    container = {'path': str(ufpnmr_executable()), 'image': str(image)}
    container['engine'] = f'{engine} exec --bind {{work_directory}} {{image_name}}'
    path, label = description({'ufpnmr': container})
    result = command('setup', '--computer', path)
    assert result.exit_code == 0, result.exception
    there = orm.load_code(f'ufpnmr@{label}')
    assert isinstance(there, orm.ContainerizedCode) and there.image_name == str(image)
    parameters = {'steps': 1, 'timestep': 1.0, 'temperature': 100.0}
    _, node = run_get_node(
        CalculationFactory('ufpnmr.md'), code=there, potential=potential, structure=structure, parameters=parameters
    )
    assert node.is_finished_ok, node.exit_message
    lines = (tmp_path / 'asked').read_text().splitlines()
    start = f'exec --bind {tmp_path}/work {image} {ufpnmr_executable()}'
    assert lines[0] == f'{start} --version' and lines[1].startswith(f'{start} md potential.h5')
    assert command('setup', '--computer', path).exit_code == 0


def test_the_recipe_for_clusters_with_containers_is_one_that_setup_takes():
    cluster = read_cluster(RECIPES / 'cluster.yaml')
    assert cluster.codes['ufpnmr'].words('/scratch/me/aiida') == [
        'apptainer', 'exec', '--bind', '/scratch/me/aiida', '/software/ufpnmr.sif',
    ]  # fmt: skip
    # both recipes install the same
    assert 'pip install --no-cache-dir /src' in (RECIPES / 'Dockerfile').read_text()
    assert 'pip install --no-cache-dir /src' in (RECIPES / 'ufpnmr.def').read_text()


@pytest.mark.slow
def test_a_run_that_ran_out_of_memory_goes_on_with_twice_as_much(
    code, command, slurm, description, tmp_path, structure, potential
):
    """The first job is killed, and Slurm says why."""
    kill = f'[ -e {tmp_path}/killed ] || {{ touch {tmp_path}/killed; echo OUT_OF_MEMORY > state; kill -9 $$; }}'
    path, label = description({'ufpnmr': {'path': str(ufpnmr_executable()), 'prepend': kill}})
    (tmp_path / 'killed').touch()
    assert command('setup', '--computer', path).exit_code == 0
    (tmp_path / 'killed').unlink()
    nodes = {'code': orm.load_code(f'ufpnmr@{label}'), 'structure': structure, 'potential': potential}
    parameters = {'steps': 2000, 'timestep': 1.0, 'temperature': 100.0, 'every': 100}
    overrides = {'min_cell_height_angstrom': 1.0, 'md': {'parameters': parameters}}
    builder = MdWorkChain.get_builder_from_protocol(**nodes, overrides=overrides, options=Resources(memory='1GB'))
    _, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    first, second = sorted(node.called_descendants, key=lambda job: job.pk)[:2]
    assert first.exit_status == OUT_OF_MEMORY and 'the scheduler says so' in first.exit_message
    assert (first.get_option('max_memory_kb'), second.get_option('max_memory_kb')) == (2**20, 2**21)
    asked = sorted(slurm.glob('*.job'), key=lambda job: int(job.stem))
    assert '"mem": "1024"' in asked[-2].read_text() and '"mem": "2048"' in asked[-1].read_text()
    assert node.outputs.trajectory.time_ps == 2


def test_a_profile_whose_name_could_be_no_file_is_refused_and_not_made(command, aiida_profile):
    result = command('setup', '--profile', 'a/b')
    assert "profile 'a/b': its name becomes that of files" in str(result.exception)
    assert 'a/b' not in get_config().profile_names


def test_a_code_that_is_missing_is_made_by_the_command_that_is_named(aiida_profile):
    for label, words in (('gpaw', 'setup --gpaw"'), ('gpaw@localhost', 'setup --gpaw"'), ('none', 'setup"'),
                         ('ufpnmr@far', 'setup --computer CLUSTER.yaml"')):  # fmt: skip
        with pytest.raises(InputError, match=words):
            load_code(label)
