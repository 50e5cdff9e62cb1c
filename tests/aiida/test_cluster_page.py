"""The page on clusters says what works: its commands are run, with a stand-in for Slurm."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path

import ase.io
import pytest
from own_profile import OwnProfile
from slurm_stand_in import install

from aiida_ufpnmr.tools.profile import ufpnmr_executable

PAGE = Path(__file__).parents[2] / 'docs' / 'source' / 'howto' / 'cluster.rst'


def block(name: str) -> str:
    """The code of the page below this name."""
    found = re.search(rf'^   :name: {name}\n\n((?:   .*\n|\n)+)', PAGE.read_text(), re.MULTILINE)
    assert found is not None, name
    return textwrap.dedent(found[1]).strip()


@pytest.fixture
def here(tmp_path, potential_file, dataset):
    """A folder with a structure and a potential, and a profile that is to be made there."""
    profile = OwnProfile(tmp_path)
    (tmp_path / 'potential.h5').write_bytes(potential_file.read_bytes())
    ase.io.write(tmp_path / 'beta.cif', dataset.get_structure(0).get_ase())
    yield profile
    profile.tool('verdi', 'daemon', 'stop', '--timeout', 60)


def run(profile: OwnProfile, name: str) -> str:
    """Run the commands of a block, with a few steps of dynamics only."""
    script = re.sub(r'--steps \d+', '--steps 20', block(name))
    return profile.run('bash', '-e', '-c', script)


@pytest.mark.slow
def test_the_commands_from_a_laptop_to_a_cluster_work(here, tmp_path):
    said = run(here, 'cluster-laptop')
    assert 'profile   ufpnmr                 made' in said and 'Trajectory #' in said

    slurm = tmp_path / 'slurm'
    slurm.mkdir()
    install(slurm)
    for program, line in (('module', 'true'), ('castep.mpi', 'echo CASTEP version 24.1')):
        (slurm / program).write_text(f'#!/bin/bash\n{line}\n')
        (slurm / program).chmod(0o755)
    here.environment['PATH'] = f'{slurm}{os.pathsep}{here.environment["PATH"]}'
    description = block('cluster-file')
    for there, stand_in in (
        (
            'host: login.cluster.edu',
            'host: localhost\ntransport: core.local\nlogin_shell: false\nconnection_interval_s: 0',
        ),
        ('/scratch/{username}/aiida', f'{tmp_path}/scratch'),
        ('/home/me/venv/bin/ufpnmr', str(ufpnmr_executable())),
        ('/software/castep/castep.mpi', f'{slurm}/castep.mpi'),
    ):
        assert there in description
        description = description.replace(there, stand_in)
    (tmp_path / 'cluster.yaml').write_text(description + '\npoll_interval_s: 1\n')
    said = run(here, 'cluster-setup')
    assert 'trial     castep                 CASTEP version 24.1' in said and 'Trajectory #' in said
    last = max(slurm.glob('*.job'), key=lambda job: int(job.stem)).read_text()
    for asked in ('"cpus-per-task": "2"', '"mem": "2048"', '"time": "02:00:00"', '"account": "my-project"'):
        assert asked in last

    said = run(here, 'cluster-workstation')
    pk = said.splitlines()[-1]
    ended = here.python(
        """
        import json, sys, time
        from aiida import load_profile, orm
        load_profile()
        for _ in range(600):
            node = orm.load_node(int(sys.argv[1]))
            if node.is_terminated:
                break
            time.sleep(1)
        print(json.dumps(node.exit_status))
        """,
        pk,
    )
    assert ended == 0
