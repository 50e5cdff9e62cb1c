"""Claims about the materials that are kept with the examples: their archives, and what their pages say of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from aiida_ufpnmr.tools.verification import verify_archive

PROJECT = Path(__file__).parents[2]
PAGES = [path for path in sorted((PROJECT / 'docs' / 'source' / 'materials').glob('*.rst')) if path.stem != 'index']


def archive_of(page: Path) -> Path:
    return PROJECT / 'examples' / 'archives' / f'{page.stem}.aiida'


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
