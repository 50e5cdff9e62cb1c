"""Claims about active learning that is killed in every step of a generation, under a real daemon."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from own_profile import PATIENCE, OwnProfile

pytest.importorskip('aiida_castep')  # tests/run.sh installs it
pytestmark = pytest.mark.slow

CUT_OFF, STOPPED_BY_GUARD = 400, 410


@pytest.fixture(scope='module')
def found(tmp_path_factory) -> dict[str, dict]:
    """What came out of a run that nothing disturbed, of one whose jobs were killed, and of one whose daemon was."""
    profile = OwnProfile(tmp_path_factory.mktemp('kills'))
    profile.tool('aiida-ufpnmr', 'setup')
    folder = profile.folder / 'codes'
    folder.mkdir()
    program = Path(__file__).with_name('disturbed_learning.py')
    try:
        told = profile.run(sys.executable, program, folder, patience=3 * PATIENCE)
        return json.loads(told.splitlines()[-1])
    finally:
        profile.tool('verdi', 'daemon', 'stop', '--timeout', 60)


def test_a_generation_without_disturbance_runs_every_job_once(found):
    expected = found['undisturbed']
    assert expected['status'] in (0, 501), expected['message']
    assert set(expected['hashes']) == {'dataset', 'potential', 'efg_model'}
    assert expected['jobs'] == {
        'md': [0, STOPPED_BY_GUARD],
        'select': [0],
        'label_castep': [0, 0, 0, 0],
        'fit_potential': [0, 0],  # before the generation, and in it
        'fit_efg': [0, 0],
    }


def test_jobs_killed_in_every_step_are_run_again_and_change_nothing(found):
    expected, killed = found['undisturbed'], found['jobs']
    for step, ended in killed['jobs'].items():
        assert ended == sorted([*expected['jobs'][step], CUT_OFF]), step
    assert without_jobs(killed) == without_jobs(expected)


def test_a_daemon_killed_in_every_step_loses_no_job_and_changes_nothing(found):
    expected, killed = found['undisturbed'], found['daemon']
    assert killed == expected


def without_jobs(outcome: dict) -> dict:
    return {name: value for name, value in outcome.items() if name != 'jobs'}
