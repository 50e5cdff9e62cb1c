"""Claims about what jobs ask of schedulers."""

from __future__ import annotations

import re

import pytest
from aiida import orm
from aiida.common.folders import SandboxFolder
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.plugins import CalculationFactory
from aiida.schedulers.datastructures import JobTemplate

from aiida_ufpnmr.calculations.resources import (
    IN_QUEUE,
    PROPERTY,
    Resources,
    in_words,
    jobs_at_a_time,
    memory_kb,
    with_cores,
)
from aiida_ufpnmr.engine.cores import available_cores
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.workflows.label import LabelWorkChain
from aiida_ufpnmr.workflows.md import MdWorkChain
from aiida_ufpnmr.workflows.wall_time import MARGIN, MOST, SPEED, START


def computer(scheduler: str, **node) -> orm.Computer:
    """A computer that is not stored."""
    made = orm.Computer(
        label=scheduler.removeprefix('core.'),
        hostname='localhost',
        transport_type='core.local',
        scheduler_type=scheduler,
        workdir='/tmp',
    )
    made.set_property(PROPERTY, node)
    return made


@pytest.fixture
def slurm_code(code):
    """The command on a computer with Slurm whose nodes have 16 cores."""
    label = 'slurm-16'
    try:
        where = orm.Computer.collection.get(label=label)
    except Exception:
        where = computer('core.slurm', cores=16, queue='main')
        where.label = label
        where.store().configure(safe_interval=0)
    return orm.InstalledCode(
        label='ufpnmr', computer=where, filepath_executable=str(code.filepath_executable), with_mpi=False
    ).store()


ASKED = {'queue': 'long', 'account': 'nmr', 'cores': 8, 'memory': '4GB', 'max_wallclock_hours': 2.5}


@pytest.mark.parametrize(
    ('scheduler', 'mpi', 'more', 'lines'),
    [
        (
            'core.slurm',
            False,
            {'gpus': 2, 'scheduler_line': ('#SBATCH --constraint=zen4',)},
            ['#SBATCH --partition=long', '#SBATCH --account=nmr', '#SBATCH --nodes=1', '#SBATCH --ntasks-per-node=1',
             '#SBATCH --cpus-per-task=8', '#SBATCH --mem=4096', '#SBATCH --time=02:30:00', '#SBATCH --gres=gpu:2',
             '#SBATCH --constraint=zen4'],
        ),
        (
            'core.slurm',
            True,
            {'nodes': 2},
            ['#SBATCH --nodes=2', '#SBATCH --ntasks-per-node=8', '#SBATCH --mem=4096'],
        ),
        (
            'core.pbspro',
            False,
            {},
            ['#PBS -q long', '#PBS -A nmr', '#PBS -l select=1:mpiprocs=1:ncpus=8:mem=4194304kb',
             '#PBS -l walltime=02:30:00'],
        ),
        ('core.sge', False, {}, ['#$ -q long', '#$ -P nmr', '#$ -pe smp 8', '#$ -l h_rt=02:30:00']),
        ('core.lsf', False, {'gpus': 1}, ['#BSUB -q long', '#BSUB -n 8', '#BSUB -W 02:30', '#BSUB -gpu "num=1"']),
    ],
)  # fmt: skip
def test_what_is_asked_for_stands_in_the_job_script_of_each_scheduler(aiida_profile, scheduler, mpi, more, lines):
    where = computer(scheduler)
    asked = Resources(**ASKED, **more)
    asked.check([where], mpi)
    options = asked.options(where, mpi)
    job = JobTemplate()
    job.codes_info, job.codes_run_mode, job.shebang = [], None, '#!/bin/bash'
    job.queue_name, job.account = options['queue_name'], options['account']
    job.max_memory_kb, job.max_wallclock_seconds = options['max_memory_kb'], options['max_wallclock_seconds']
    job.custom_scheduler_commands = options.get('custom_scheduler_commands')
    job.job_resource = where.get_scheduler().create_job_resource(**options['resources'])
    head = where.get_scheduler()._get_submit_script_header(job).splitlines()
    assert [line for line in lines if line not in head] == []


@pytest.mark.parametrize(
    ('scheduler', 'asked', 'remedy'),
    [
        ('core.direct', {'queue': 'long'}, '--queue: direct has core.direct: .* leave it out'),
        ('core.direct', {'gpus': 1}, '--gpus: .* leave it out'),
        ('core.direct', {'memory': '1GB'}, '--memory: .* leave it out'),
        ('core.pbspro', {'gpus': 1}, '--gpus: .* --scheduler-line "#PBS'),
        ('core.sge', {'gpus': 1}, '--gpus: .* --scheduler-line "#\\$'),
        ('core.slurm', {'nodes': 2}, '--nodes 2: only CASTEP'),
        ('core.slurm', {'cores': 17}, '--cores 17: a node of slurm has 16'),
        ('core.slurm', {'memory': '65GB'}, '--memory 65GB: a node of slurm has 64GB'),
    ],
)
def test_what_a_scheduler_does_not_have_is_refused_with_a_remedy(aiida_profile, scheduler, asked, remedy):
    with pytest.raises(InputError, match=remedy):
        Resources(**asked).check([computer(scheduler, cores=16, memory_kb=memory_kb('64GB'))], mpi=False)


def test_of_two_computers_each_is_asked_for_what_it_has(aiida_profile):
    here, there = computer('core.direct'), computer('core.slurm')
    asked = Resources(queue='long', cores=4)
    asked.check([here, there], mpi=False)
    assert asked.options(here) == {
        'resources': {'num_machines': 1, 'num_mpiprocs_per_machine': 1, 'num_cores_per_mpiproc': 4}
    }
    assert asked.options(there)['queue_name'] == 'long'


def test_a_computer_has_a_queue_of_its_own_where_none_is_asked_for(aiida_profile):
    where = computer('core.slurm', queue='main', account='group')
    assert Resources().options(where) == {'queue_name': 'main', 'account': 'group'}
    assert Resources(queue='long').options(where)['queue_name'] == 'long'


def test_memory_is_read_as_people_write_it():
    assert [memory_kb(given) for given in ('4GB', '4 gb', '4G', '500MB', '1.5TB')] == [
        4 * 1024**2, 4 * 1024**2, 4 * 1024**2, 500 * 1024, 1.5 * 1024**3,
    ]  # fmt: skip
    assert in_words(memory_kb('4GB')) == '4GB' and Resources(memory='2048MB').memory == '2GB'
    for wrong in ('4', 'GB', '-1GB', '1kB', '1e300TB'):
        with pytest.raises(InputError, match='memory'):
            Resources(memory=wrong)


@pytest.mark.parametrize(
    ('given', 'cores', 'expected'),
    [
        ({'num_machines': 1, 'num_mpiprocs_per_machine': 1}, 1, {'num_machines': 1, 'num_mpiprocs_per_machine': 1}),
        (
            {'num_machines': 1, 'num_mpiprocs_per_machine': 1},
            4,
            {'num_machines': 1, 'num_mpiprocs_per_machine': 1, 'num_cores_per_mpiproc': 4},
        ),
        ({'num_machines': 1, 'num_mpiprocs_per_machine': 8}, 4, {'num_machines': 1, 'num_mpiprocs_per_machine': 8}),
        ({'parallel_env': 'smp', 'tot_num_mpiprocs': 1}, 4, {'parallel_env': 'smp', 'tot_num_mpiprocs': 4}),
    ],
)
def test_cores_are_asked_for_where_threads_need_more(given, cores, expected):
    assert with_cores(given, cores) == expected


@pytest.mark.parametrize(
    ('parameters', 'cores', 'threads', 'words'),
    [
        ({}, None, 1, ''),
        ({'threads': 2}, None, 2, '--threads 2'),
        ({}, 3, 3, '--threads 3'),
        ({'threads': 2}, 3, 2, '--threads 2'),
        ({'cores': 2}, None, 2, '--cores 2'),
    ],
)
def test_one_number_sets_threads_environment_and_cores(code, structure, potential, parameters, cores, threads, words):
    resources = {'num_machines': 1, 'num_mpiprocs_per_machine': 1}
    if cores:
        resources['num_cores_per_mpiproc'] = cores
    inputs = {'code': code, 'structure': structure, 'potential': potential, 'parameters': {'steps': 1, **parameters}}
    process = instantiate_process(
        get_manager().get_runner(),
        CalculationFactory('ufpnmr.md'),
        metadata={'options': {'resources': resources}},
        **inputs,
    )
    assert process.threads == threads
    environment = process.node.get_option('environment_variables')
    assert {environment[name] for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'NUMBA_NUM_THREADS')} == {
        str(threads)
    }
    assert process.node.get_option('resources').get('num_cores_per_mpiproc', 1) == (cores or threads)
    with SandboxFolder() as folder:
        line = ' '.join(process.prepare_for_submission(folder).codes_info[0].cmdline_params)
    assert re.findall(r'--(?:threads|cores) \d+', line) == ([words] if words else [])


def test_a_fit_has_one_thread_on_any_number_of_cores(code, dataset):
    resources = {'num_machines': 1, 'num_mpiprocs_per_machine': 1, 'num_cores_per_mpiproc': 4}
    process = instantiate_process(
        get_manager().get_runner(),
        CalculationFactory('ufpnmr.fit_potential'),
        code=code,
        dataset=dataset,
        metadata={'options': {'resources': resources}},
    )
    assert process.node.get_option('environment_variables')['OPENBLAS_NUM_THREADS'] == '1'
    assert process.node.get_option('resources') == resources


def test_dynamics_asks_a_queue_for_the_time_that_its_steps_need(slurm_code, code, structure, potential):
    overrides = {'min_cell_height_angstrom': 1.0, 'md': {'parameters': {'steps': 10_000_000}}}
    nodes = {'structure': structure, 'potential': potential}

    def options(code, **more):
        return MdWorkChain.get_builder_from_protocol(code, **nodes, overrides=overrides, **more).md.metadata.options

    needed = START + MARGIN * len(structure.sites) * 1e7 / SPEED
    assert needed < MOST
    found = options(slurm_code)['max_wallclock_seconds']
    assert needed <= found < needed + 60
    of_four = options(slurm_code, options=Resources(cores=4))['max_wallclock_seconds']
    assert abs(of_four - START - (needed - START) / 4) <= 60  # which whole minutes add
    assert options(slurm_code, options=Resources(max_wallclock_hours=1))['max_wallclock_seconds'] == 3600
    overrides['md']['parameters']['steps'] = 10**9
    assert options(slurm_code)['max_wallclock_seconds'] == MOST
    assert 'max_wallclock_seconds' not in options(code)  # which starts it at once, and lets it end


def test_labels_take_the_cores_of_a_node_of_known_size(slurm_code, code, dataset):
    def resources(label_code, **more):
        builder = LabelWorkChain.get_builder_from_protocol(label_code, 'gpaw', dataset=dataset, protocol='fast', **more)
        return builder.gpaw.calculation.metadata.options.resources

    assert resources(slurm_code)['num_cores_per_mpiproc'] == 8
    assert resources(slurm_code, options=Resources(cores=2))['num_cores_per_mpiproc'] == 2
    assert 'num_cores_per_mpiproc' not in resources(code)
    assert resources(slurm_code, options={'resources': {'num_machines': 1, 'num_mpiprocs_per_machine': 3}}) == {
        'num_machines': 1, 'num_mpiprocs_per_machine': 3,
    }  # fmt: skip


@pytest.mark.parametrize(('scheduler', 'node', 'asked', 'jobs'), [
    ('core.direct', {}, 1, available_cores()),
    ('core.direct', {'cores': 16}, 4, 4),
    ('core.direct', {'cores': 2}, 4, 1),
    ('core.slurm', {'cores': 16}, 4, IN_QUEUE),
])  # fmt: skip
def test_jobs_that_start_at_once_are_as_many_as_there_are_cores_for(aiida_profile, scheduler, node, asked, jobs):
    """A scheduler shares out the cores itself."""
    code = orm.InstalledCode(computer=computer(scheduler, **node), filepath_executable='/bin/true')
    resources = {'num_machines': 1, 'num_mpiprocs_per_machine': 1, 'num_cores_per_mpiproc': asked}
    assert jobs_at_a_time({'code': code, 'metadata': {'options': {'resources': resources}}}) == jobs
