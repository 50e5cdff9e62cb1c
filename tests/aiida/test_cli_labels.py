"""Claims about labels of other codes that a workflow is launched with."""

from pathlib import Path

import pytest
from code_outputs import Frame, outcar

from aiida_ufpnmr.cli.shared import load_or_store
from aiida_ufpnmr.engine.errors import InputError

INPUTS = Path(__file__).parents[1] / 'engine' / 'inputs'


def test_labels_of_any_code_become_a_data_set(aiida_profile, tmp_path, capsys):
    frames = [Frame(0), Frame(1)]
    (tmp_path / 'OUTCAR').write_text(outcar(frames))
    node = load_or_store(str(tmp_path / 'OUTCAR'), 'labels')
    assert node.is_stored and node.label == 'OUTCAR'
    assert [atoms.calc.results['energy'] for atoms in node.get_dataset()] == pytest.approx([f.energy for f in frames])
    assert load_or_store(str(tmp_path / 'OUTCAR'), 'labels').pk == node.pk


def test_names_of_labels_are_said_when_a_workflow_is_launched(aiida_profile, capsys):
    path = INPUTS / 'names_with_ref.extxyz'
    node = load_or_store(str(path), 'labels')
    assert 'read REF_energy as energy' in capsys.readouterr().err
    assert node.base.attributes.get('with_energy') == 7 and node.get_content() == path.read_text()
    with pytest.raises(InputError, match='no such data set'):
        load_or_store('missing.extxyz', 'labels')
