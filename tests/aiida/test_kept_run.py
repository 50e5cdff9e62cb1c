"""Claims about the run of active learning that is kept with the examples, and about what the guide says of it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from aiida_ufpnmr.tools.manifest import database_of
from aiida_ufpnmr.tools.verification import verify_archive

PROJECT = Path(__file__).parents[2]
ARCHIVE = PROJECT / 'examples' / 'archives' / 'li3ps4-active-learning.aiida'
PAGE = PROJECT / 'docs' / 'source' / 'howto' / 'kept_run.rst'


@pytest.fixture(scope='module')
def generations() -> list[dict]:
    with zipfile.ZipFile(ARCHIVE) as file, database_of(file) as database:
        rows = database.execute('SELECT attributes FROM db_dbnode WHERE attributes LIKE \'%"generations"%\'').fetchall()
    return json.loads(rows[0][0])['generations']


def table_row(generation: dict) -> list[str]:
    """A generation as the guide shows it."""
    explored = 'runs' in generation
    return [
        str(generation['generation']),
        str(generation['labels']),
        f'{generation["runs_stopped_by_guard"]} of {generation["runs"]}' if explored else '',
        f'{100 * generation["fraction_above_grade_1"]:.1f} %' if explored else '',
        f'{generation["energy_rmse_meV_per_atom"]:.1f}',
        f'{generation["forces_rmse_meV_per_angstrom"]:.0f}',
        f'{generation["omega_q_mae_khz"]:.1f}',
    ]


def test_the_archive_is_whole_and_small():
    checks, faults = verify_archive(ARCHIVE)
    assert not faults and not [check.fault for check in checks if check.fault]
    assert ARCHIVE.stat().st_size < 20e6


def test_the_table_of_the_guide_is_the_history_of_the_archive(generations):
    assert len(generations) == 4  # the first fits, and three generations of labels
    borders = PAGE.read_text().split('\n')
    edge = next(line for line in borders if line.startswith('==') and '  ' in line)
    columns, start = [], 0
    for width in map(len, edge.split('  ')):
        columns.append(slice(start, start + width))
        start += width + 2
    first = [number for number, line in enumerate(borders) if line == edge][1] + 1
    shown = [[line[column].strip() for column in columns] for line in borders[first : first + len(generations)]]
    assert shown == [table_row(generation) for generation in generations]


@pytest.mark.slow
def test_running_the_fits_again_gives_the_errors_of_the_history(generations, command):
    """The numbers, not the bits: another processor rounds sums in another way."""
    steps = ('fit_potential', 'fit_efg')
    words = [word for step in steps for word in ('--rerun', step)]
    result = command('archive', 'verify', ARCHIVE, *words, '--tolerance', '1e-3')
    rows = [line.split() for line in result.output.splitlines()]
    again = [row[3] for row in rows if row[:1] and row[0] in steps and row[2] == 'results']
    assert len(again) == 2 * len(generations) and set(again) <= {'identical', 'equal'}, result.output
