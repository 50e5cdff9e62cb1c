"""Claims about ``ufpnmr batch``: several commands, each in a folder of its own, some at a time."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from click.testing import CliRunner

from aiida_ufpnmr.engine.commands.batch import OUT_OF_TIME, batch
from aiida_ufpnmr.engine.errors import InputError

HELP, WRONG = ['md', '--help'], ['md', '--no-such-option']


def write(folder: Path, runs: dict) -> Path:
    path = folder / 'runs.yaml'
    path.write_text(yaml.safe_dump(runs, sort_keys=False))
    return path


def run(path: Path, *options) -> tuple[int, dict]:
    """Exit status, and what was written as JSON."""
    result = CliRunner().invoke(batch, [str(path), '--json', str(path.with_name('out.json')), *map(str, options)])
    return result.exit_code, json.loads(path.with_name('out.json').read_text())


def test_a_run_that_fails_stops_no_other_and_what_ended_well_is_not_run_again(tmp_path):
    path = write(tmp_path, {'first': HELP, 'wrong': WRONG, 'last': HELP})
    status, found = run(path, '--jobs', 2)
    assert status == 1
    assert {name: one['exit_status'] for name, one in found['runs'].items()} == {'first': 0, 'wrong': 2, 'last': 0}
    assert (tmp_path / 'wrong' / 'exit-status').read_text() == '2\n'
    assert 'No such option' in (tmp_path / 'wrong' / 'ufpnmr.err').read_text()
    written = (tmp_path / 'first' / 'ufpnmr.out').stat().st_mtime_ns
    write(tmp_path, {'first': HELP, 'wrong': HELP, 'last': HELP})
    status, found = run(path)
    assert status == 0 and {one['exit_status'] for one in found['runs'].values()} == {0}
    assert 'wall_s' in found['runs']['wrong'] and 'wall_s' not in found['runs']['first']
    assert (tmp_path / 'first' / 'ufpnmr.out').stat().st_mtime_ns == written


def test_at_the_end_of_its_time_no_run_is_begun_and_the_others_are_asked_to_end(tmp_path):
    # a tenth of the second that the program takes to load
    status, found = run(write(tmp_path, {'first': HELP, 'second': HELP}), '--max-wall-time', 0.1)
    assert status == OUT_OF_TIME and found['stop_reason'] == 'out of time'
    assert found['runs']['first']['exit_status'] == 128 + 15  # SIGTERM, before it could listen
    assert found['runs']['second'] == {'state': 'waiting'}


def test_a_run_that_is_killed_has_the_status_of_a_shell_and_the_next_goes_on(tmp_path):
    path = write(tmp_path, {'first': HELP, 'second': HELP})
    command = [sys.executable, '-m', 'aiida_ufpnmr.engine.main', 'batch', path, '--json', tmp_path / 'out.json']
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    batch_process = psutil.Process(process.pid)
    while not (children := batch_process.children()):
        time.sleep(0.01)
    children[0].kill()
    assert process.wait(timeout=120) == 1
    found = json.loads((tmp_path / 'out.json').read_text())['runs']
    assert (found['first']['exit_status'], found['second']['exit_status']) == (128 + 9, 0)


@pytest.mark.parametrize(
    ('runs', 'words'),
    [
        ({}, 'holds no runs'),
        ({'../elsewhere': HELP}, 'must lie beside'),
        ({'/elsewhere': HELP}, 'must lie beside'),
        ({'first': 'md --help'}, 'must be a list of words'),
        ({'first': ['batch', 'runs.yaml']}, 'a batch holds no other'),
    ],
)
def test_what_is_no_list_of_commands_is_refused_before_anything_runs(tmp_path, runs, words):
    with pytest.raises(InputError, match=words):
        CliRunner().invoke(batch, [str(write(tmp_path, runs))], catch_exceptions=False)
    assert [path.name for path in tmp_path.iterdir()] == ['runs.yaml']
