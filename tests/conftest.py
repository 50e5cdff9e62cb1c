"""What all tests share: AiiDA keeps its files in a folder that goes away."""

import atexit
import os
import shutil
import tempfile

# Set before anything imports AiiDA, which would make a folder in the home otherwise.
if 'AIIDA_PATH' not in os.environ:
    os.environ['AIIDA_PATH'] = tempfile.mkdtemp(prefix='ufpnmr-tests-')
    atexit.register(shutil.rmtree, os.environ['AIIDA_PATH'], ignore_errors=True)
