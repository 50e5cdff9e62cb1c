"""Claims about the labels that are kept with the examples, and the archive of the calculations behind the last."""

from __future__ import annotations

import zipfile
from pathlib import Path

import ase.io
import numpy as np
import pytest

from aiida_ufpnmr.engine.dft.identity import structure_sha256
from aiida_ufpnmr.tools.manifest import database_of
from aiida_ufpnmr.tools.verification import verify_archive

EXAMPLES = Path(__file__).parents[2] / 'examples'
DATA = EXAMPLES / 'data'
ARCHIVE = EXAMPLES / 'archives' / 'li3ps4-labels-v6.aiida'
#: Rows of the last version that the archive does not hold, and rows whose calculations it does.
EARLIER, LATER = 121, 444
#: The row at which packed glasses begin.
PACKED = 382


@pytest.fixture(scope='module')
def labels():
    """The rows of the last version."""
    return ase.io.read(DATA / 'li3ps4-pbe-gpaw-v6.extxyz', ':')


@pytest.fixture(scope='module')
def later(labels):
    """The rows whose calculations are in the archive."""
    return labels[EARLIER:]


@pytest.mark.parametrize(('version', 'before'), [('-v5', ''), ('-v6', '-v5')])
def test_each_version_begins_with_the_one_before(version, before):
    whole, start = ((DATA / f'li3ps4-pbe-gpaw{name}.extxyz').read_bytes() for name in (version, before))
    assert whole.startswith(start) and len(whole) > len(start)


def test_later_labels_are_of_structures_that_were_drawn_and_made_with_the_settings_of_the_others(labels, later):
    drawn = {name: ase.io.read(DATA / name, ':') for name in ('li3ps4-drawn.extxyz', 'li3ps4-packed.extxyz')}
    settings = labels[EARLIER - 1].info['settings_sha256']
    assert len({atoms.info['source_sha256'] for atoms in later}) == len(later) == LATER
    for row, atoms in enumerate(later, EARLIER):
        source = drawn[atoms.info['source_file']][atoms.info['source_row']]
        assert (atoms.info['source_file'] == 'li3ps4-packed.extxyz') is (row >= PACKED)
        assert atoms.info['source_sha256'] == structure_sha256(source)
        assert atoms.info['settings_sha256'] == settings


def test_names_of_packed_glasses_give_their_per_cent_of_lithium_sulphide_or_say_that_there_is_p2s6(labels):
    for atoms in labels[PACKED:]:
        name, _, temperature = atoms.info['config_type'].split('_')[:3]
        n_lithium, n_phosphorus, n_sulphur = (np.sum(atoms.symbols == element) for element in ('Li', 'P', 'S'))
        # two electrons that sulphur has no place for are in each P-P bond
        assert bool(n_lithium + 5 * n_phosphorus > 2 * n_sulphur) is (name == 'packed75p')
        if name != 'packed75p':
            assert abs(float(name.removeprefix('packed')) - 100 * n_lithium / (n_lithium + n_phosphorus)) < 1
        assert temperature in ('300K', '500K', '600K', '700K', '900K')


def test_the_archive_holds_the_calculation_of_each_later_label(later):
    checks, faults = verify_archive(ARCHIVE)
    assert not faults and not [check.fault for check in checks if check.fault]
    assert ARCHIVE.stat().st_size < 20e6
    with zipfile.ZipFile(ARCHIVE) as file, database_of(file) as database:
        found = {
            row[0] for row in database.execute("SELECT uuid FROM db_dbnode WHERE process_type LIKE '%label_gpaw%'")
        }
    assert {atoms.info['calculation_uuid'] for atoms in later} <= found
