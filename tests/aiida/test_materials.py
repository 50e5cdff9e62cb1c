"""Claims about the materials that are kept with the examples: their archives, and what their pages say of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from aiida_ufpnmr.tools.verification import verify_archive

PROJECT = Path(__file__).parents[2]


def archive_of(page: Path) -> Path:
    return PROJECT / 'examples' / 'archives' / f'{page.stem}.aiida'


PAGES = [
    page
    for page in sorted((PROJECT / 'docs' / 'source').glob('*/*.rst'))
    if archive_of(page).exists() or (page.parent.name == 'materials' and page.stem != 'index')
]


@pytest.mark.parametrize('page', PAGES, ids=lambda path: path.stem)
def test_the_archive_of_a_material_is_whole_and_small(page):
    checks, faults = verify_archive(archive_of(page))
    assert not faults and not [check.fault for check in checks if check.fault]
    assert archive_of(page).stat().st_size <= 10e6


@pytest.mark.parametrize('page', PAGES, ids=lambda path: path.stem)
def test_the_tables_of_a_page_are_those_that_its_archive_gives(page, tmp_path):
    program = PROJECT / 'examples' / 'materials' / 'results.py'
    command = [sys.executable, str(program), str(archive_of(page)), str(tmp_path / 'figures')]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    known = {line.strip() for line in printed}
    blocks = re.findall(r'\.\. code-block:: text\n\n((?:   .*\n|\n)+)', page.read_text())
    shown = [line.strip() for block in blocks for line in block.splitlines() if line.strip()]
    assert len(shown) > 20 and not [line for line in shown if line not in known]
    assert list((tmp_path / 'figures').glob('*.png'))
    linked = re.findall(rf'<\.\./{page.stem}/([^>]+/index\.html)>', page.read_text())
    assert linked and all((tmp_path / 'figures' / name).exists() for name in linked)


@pytest.mark.parametrize(
    ('content', 'said'), [(None, 'no such archive'), (b'no archive', 'not a readable AiiDA archive')]
)
def test_what_is_no_archive_is_refused_by_the_program_of_the_tables(content, said, tmp_path):
    path = tmp_path / 'x.aiida'
    if content is not None:
        path.write_bytes(content)
    program = PROJECT / 'examples' / 'materials' / 'results.py'
    ended = subprocess.run([sys.executable, str(program), str(path)], capture_output=True, text=True)
    assert ended.returncode == 2 and said in ended.stderr.splitlines()[-1] and 'Traceback' not in ended.stderr
