"""What all tests share: AiiDA keeps its files in a folder that goes away."""

import atexit
import os
import shutil
import tempfile

import pytest

# Set before anything imports AiiDA, which would make a folder in the home otherwise.
if 'AIIDA_PATH' not in os.environ:
    os.environ['AIIDA_PATH'] = tempfile.mkdtemp(prefix='ufpnmr-tests-')
    atexit.register(shutil.rmtree, os.environ['AIIDA_PATH'], ignore_errors=True)


@pytest.fixture(scope='session')
def gpaw_installation():
    """A GPAW that can be used; tests/run.sh sees to it that there is one, wherever one can be installed."""
    from aiida_ufpnmr.engine.dft.gpaw_engine import find_gpaw
    from aiida_ufpnmr.engine.errors import InputError

    try:
        return find_gpaw()
    except InputError as error:
        pytest.skip(str(error))
