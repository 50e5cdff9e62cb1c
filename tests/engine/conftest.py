"""Fixtures of the engine tests."""

from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def example_data() -> Path:
    """The labelled Li3PS4 set that the project ships."""
    return Path(__file__).parents[2] / 'examples' / 'data' / 'li3ps4-pbe-gpaw.extxyz'
