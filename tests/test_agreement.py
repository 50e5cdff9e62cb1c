"""Claims about the page that puts our numbers beside published ones: each is on the page that it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
SOURCE = PROJECT / 'docs' / 'source'
ROWS = re.findall(
    r'   \* - (.*)\n     - (.*)\n     - (.*)\n     - ?(.*)\n     - (.*)\n', (SOURCE / 'agreement.rst').read_text()
)
NUMBERED = [row for row in ROWS if re.search(r'\d', row[2])]


def plain(text: str) -> str:
    """Without markup, and with one sign for each of what a reader takes for the same."""
    return re.sub(r'\\ :\w+:`([^`]*)`', r'\1', text).replace('−', '-')


def test_the_page_has_rows_of_each_article():
    assert len(NUMBERED) > 20
    assert all(any(f'[{letter}]' in row[1] for row in ROWS) for letter in 'HMC')


@pytest.mark.parametrize('row', NUMBERED, ids=lambda row: plain(row[0]))
def test_a_number_is_on_the_page_that_its_row_names(row):
    page = re.match(r':doc:`([^`]+)`|``([^`]+)``', row[4])
    text = plain((SOURCE / f'{page[1]}.rst' if page[1] else PROJECT / page[2]).read_text())
    numbers = re.findall(r'-?\d+(?:\.\d+)?', plain(row[2]))
    assert [one for one in numbers if not re.search(rf'(?<![\d.]){re.escape(one)}(?![\d]|\.\d)', text)] == []


@pytest.mark.parametrize('row', [row for row in ROWS if row[3] == 'no'], ids=lambda row: plain(row[0]))
def test_what_differs_says_why(row):
    assert ': ' in row[4].replace(':doc: ', '')
