"""Claims about the guide to batches: its commands do what it says."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import pytest
import yaml
from ase.io import write
from click.testing import CliRunner

from aiida_ufpnmr.engine.dataset import bare, read_dataset
from aiida_ufpnmr.engine.main import ufpnmr

PAGE = (Path(__file__).parents[2] / 'docs' / 'source' / 'howto' / 'batch.rst').read_text()


@pytest.fixture
def folder(tmp_path, monkeypatch, dataset_file, potential_file) -> Path:
    """What the page takes for granted: a potential and two structures."""
    (tmp_path / 'potential.h5').write_bytes(Path(potential_file).read_bytes())
    for name, number in (('beta', 0), ('glass', 1)):
        write(tmp_path / f'{name}.extxyz', bare(read_dataset(dataset_file).structures[number]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(program: str, words: str) -> list[str]:
    """The words of a command of the page."""
    (line,) = re.findall(rf'^   {program} ({words} .*)$', PAGE, re.MULTILINE)
    return line.split()


@pytest.mark.slow
def test_the_launch_of_the_page_makes_eight_runs_and_its_status_says_so(folder, command, code):
    launched = command(*shown('aiida-ufpnmr', 'launch batch'))
    assert launched.exit_code == 0, (launched.output, launched.exception)
    pk = re.search(r'MdBatchWorkChain #(\d+)', launched.output)[1]
    words = [pk if word == 'BATCH' else word for word in shown('aiida-ufpnmr', 'status')]
    assert command(*words).exit_code == 0
    found = json.loads((folder / 'status.json').read_text())
    assert found['counts'] == {'done': 8, 'running': 0, 'waiting': 0, 'failed': 0}
    assert {(run['structure'], run['temperature_K']) for run in found['runs']} == {
        (structure, temperature) for structure in ('beta', 'glass') for temperature in (300.0, 400.0)
    }


@pytest.mark.slow
def test_the_list_of_runs_of_the_page_is_run_without_aiida(folder):
    listed = textwrap.dedent(re.search(r'code-block:: yaml\n\n((?:   .*\n)+)', PAGE)[1])
    (folder / 'runs.yaml').write_text(listed)
    result = CliRunner().invoke(ufpnmr, shown('ufpnmr', 'batch'))
    assert result.exit_code == 0, (result.output, result.exception)
    found = json.loads((folder / 'runs.json').read_text())['runs']
    assert {name: run['exit_status'] for name, run in found.items()} == dict.fromkeys(yaml.safe_load(listed), 0)
    assert all((folder / name / 'run.h5').exists() for name in found)
