"""Claims about a cluster that is reached by ssh, with a real server and a real scheduler behind it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from own_profile import OwnProfile
from runs import EXAMPLE, POTENTIAL_SETTINGS, ROWS
from services import SshServer

from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.engine.ufp import PotentialSettings, fit_potential

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

#: Runs molecular dynamics by a code to its end, without a daemon: the exit status and the hash of the trajectory.
RUN = """
import json, sys
from aiida import load_profile, orm
from aiida_ufpnmr.cli.progress import run_with_progress
from aiida_ufpnmr.data import PotentialData
from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.workflows.md import MdWorkChain

load_profile()
builder = MdWorkChain.get_builder_from_protocol(
    orm.load_code(sys.argv[1]),
    orm.StructureData(ase=read_dataset(sys.argv[2]).structures[0]),
    PotentialData(sys.argv[3]),
    protocol='fast',
    overrides={'md': {'parameters': {'steps': 50, 'every': 10, 'supercell': [1, 1, 1]}}},
)
node = run_with_progress(builder)
given = node.base.links.get_outgoing(link_label_filter='trajectory').all_nodes()
print(json.dumps([node.exit_status, [one.base.caching.compute_hash() for one in given]]))
"""


@pytest.fixture(scope='module')
def server(services, tmp_path_factory):
    """The front end of the cluster."""
    made = SshServer(tmp_path_factory.mktemp('ssh'), services[2].environment)
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope='module')
def profile(server, tmp_path_factory) -> OwnProfile:
    """A profile without services, in a home folder that knows the cluster."""
    made = OwnProfile(tmp_path_factory.mktemp('profile'), HOME=str(server.home))
    made.tool('aiida-ufpnmr', 'setup')
    settings = {
        'label': 'cluster',
        'host': 'cluster',
        'work_directory': str(made.folder / 'work'),
        'cores': 4,
        'poll_interval_s': 1,
        'connection_interval_s': 0,
        'codes': {'ufpnmr': {'path': str(Path(sys.executable).with_name('ufpnmr'))}},
    }
    (made.folder / 'cluster.yaml').write_text(yaml.safe_dump(settings))
    return made


def ufpnmr(profile: OwnProfile, *words) -> subprocess.CompletedProcess:
    command = [Path(sys.executable).with_name('aiida-ufpnmr'), *words]
    return subprocess.run(command, env=profile.environment, capture_output=True, text=True)


def test_a_server_with_an_unknown_key_is_refused_and_nothing_stored(profile):
    ended = ufpnmr(profile, 'setup', '--computer', profile.folder / 'cluster.yaml')
    assert ended.returncode == 2
    assert 'no connection to cluster (Host key is not trusted' in ended.stderr and 'known_hosts' in ended.stderr
    assert 'cluster' not in profile.tool('verdi', 'computer', 'list', '-a')


def test_dynamics_on_a_cluster_that_ssh_leads_to_is_that_of_this_machine(profile, server, services):
    server.trust()
    profile.tool('aiida-ufpnmr', 'setup', '--computer', profile.folder / 'cluster.yaml')
    potential = profile.folder / 'potential.h5'
    fit_potential(read_dataset(EXAMPLE).subset(ROWS), PotentialSettings(**POTENTIAL_SETTINGS))[0].save(potential)
    ended = services[2].ended
    before = len(ended())
    here, there = (profile.python(RUN, f'ufpnmr@{name}', EXAMPLE, potential) for name in ('localhost', 'cluster'))
    assert here == there and here[0] == 0 and len(here[1]) == 1
    (job,) = ended()[before:]
    assert job['WorkDir'].startswith(str(profile.folder / 'work')) and job['JobState'] == 'COMPLETED'


def test_the_doctor_asks_a_cluster_that_ssh_leads_to(profile, server):
    assert 'cluster' not in ufpnmr(profile, 'doctor').stdout
    server.stop()
    assert 'cluster: no answer from it: Error while opening the transport' in ufpnmr(profile, 'doctor').stdout
    server.start()
