"""Claims about ``verdi data ufpnmr``."""

import pytest
from click.testing import CliRunner

from aiida_ufpnmr.cli.data import data_ufpnmr
from aiida_ufpnmr.data import DatasetData


@pytest.fixture
def call(aiida_profile):
    return lambda *arguments: CliRunner().invoke(data_ufpnmr, [str(argument) for argument in arguments])


def test_nodes_are_listed_and_shown(call, dataset, trajectory, efg_model):
    for node in (dataset, trajectory, efg_model):
        node.store()
        assert str(node.pk) in call('list').output
        shown = call('show', node.pk).output
        assert node.sha256 in shown and 'Li-P-S' in shown
    assert '"rows"' not in call('show', dataset.pk).output  # thousands of lines in a real set


def test_an_exported_file_makes_an_equal_node(call, dataset, tmp_path):
    result = call('export', dataset.store().pk, '-o', tmp_path / 'out.extxyz')
    assert result.exit_code == 0, result.output
    assert DatasetData(tmp_path / 'out.extxyz').sha256 == dataset.sha256


def test_nodes_of_other_kinds_and_unwritable_places_are_refused(call, dataset, structure, tmp_path):
    assert call('show', structure.store().pk).exit_code != 0
    assert call('show', 'no-such-label').exit_code != 0
    assert call('export', dataset.store().pk, '-o', tmp_path / 'no' / 'where').exit_code != 0
