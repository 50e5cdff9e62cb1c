"""The notebook among the examples runs from its first cell to its last."""

from __future__ import annotations

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / 'examples'


@pytest.mark.slow
def test_the_notebook_runs_and_shows_tables_and_figures(tmp_path):
    nbformat, nbclient = pytest.importorskip('nbformat'), pytest.importorskip('nbclient')
    (tmp_path / 'data').symlink_to(EXAMPLES / 'data')
    notebook = nbformat.read(EXAMPLES / 'from_labels_to_tau.ipynb', as_version=4)
    kept = [cell.outputs for cell in notebook.cells if cell.cell_type == 'code']
    client = nbclient.NotebookClient(notebook, timeout=600, resources={'metadata': {'path': str(tmp_path)}})
    client.execute()  # an error in a cell is one here
    shown = [cell.outputs for cell in notebook.cells if cell.cell_type == 'code']
    kinds = [[sorted(output.get('data', {})) for output in outputs] for outputs in shown]
    assert kinds == [[sorted(output.get('data', {})) for output in outputs] for outputs in kept]
    tables = [
        output for outputs in shown for output in outputs if '<table>' in output.get('data', {}).get('text/html', '')
    ]
    figures = [output for outputs in shown for output in outputs if 'image/png' in output.get('data', {})]
    assert len(tables) == 6 and len(figures) == 2
    # the fits do not depend on chance: their tables are the kept ones
    for number in (1, 2):
        assert shown[number][0]['data']['text/html'] == kept[number][0]['data']['text/html']
