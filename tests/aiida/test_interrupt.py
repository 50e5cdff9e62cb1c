"""Claims about a workflow in the foreground that is interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from own_profile import PATIENCE, OwnProfile

pytestmark = pytest.mark.slow

STATES = """
import json
from aiida import load_profile, orm
load_profile()
nodes = orm.QueryBuilder().append(orm.ProcessNode).all(flat=True)
print(json.dumps({node.process_label: node.process_state.value for node in nodes}))
"""


def jobs_in(folder: Path) -> list[psutil.Process]:
    """Programs of ufpnmr that run in working directories of a profile."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd().startswith(str(folder)) and any('ufpnmr' in word for word in process.cmdline()[1:2]):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGTERM])
def test_jobs_of_an_interrupted_workflow_are_cancelled_and_one_line_says_so(
    how, tmp_path, dataset_file, potential_file
):
    profile = OwnProfile(tmp_path)
    profile.tool('aiida-ufpnmr', 'setup')
    tool = Path(sys.executable).with_name('aiida-ufpnmr')
    given = ('--index', '0', '--potential', str(potential_file), '--steps', '1000000000')
    running = subprocess.Popen(
        [tool, 'launch', 'md', str(dataset_file), *given], env=profile.environment, cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    end = time.time() + PATIENCE
    while not (jobs := jobs_in(tmp_path / '.aiida')) and time.time() < end:
        time.sleep(0.5)
    assert jobs, running.poll()
    time.sleep(8)  # until the number of the job is on record, which AiiDA writes down after it began
    running.send_signal(how)
    _, said = running.communicate(timeout=PATIENCE)
    assert running.returncode == 1 and 'was interrupted; 1 of its jobs cancelled' in said, said
    assert 'Traceback' not in said
    _, alive = psutil.wait_procs(jobs, timeout=60)
    assert not alive
    assert set(profile.python(STATES).values()) == {'killed'}
