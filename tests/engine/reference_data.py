"""Data of other projects, which is not part of this one; tests that use it say so where it is not at hand."""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get('UFPNMR_REFERENCE_DATA', Path(__file__).parents[3] / 'shared' / 'data'))


def needs(name: str):
    """Mark of a test that reads the folder ``name`` of the reference data."""
    return pytest.mark.skipif(not (FOLDER / name).is_dir(), reason=f'UFPNMR_REFERENCE_DATA names no folder with {name}')
