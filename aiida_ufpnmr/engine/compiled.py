"""Where compiled kernels are kept between runs.

Numba decides by the file of a function whether its compiled form is still good, and does not see that it calls a kernel
of another file that has changed since. Here the folder of the cache goes with the content of all files that hold
kernels, so that a new version never runs an old kernel. Numba itself keeps processors apart.

A kernel whose sums may be reordered (``fastmath``) and that other kernels call is inlined by force. Otherwise a process
holds it more than once, alone and within each caller, rounded differently, and which of these all run depends on which
was loaded
first: the process that compiles would get other bits than those that find the kernels in the cache.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """The folder for this version of the kernels, below the user's cache folder."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob('*.py')):
        source = path.read_bytes()
        if b'numba' in source:
            digest.update(source)
    parent = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    return parent / 'aiida-ufpnmr' / f'kernels-{digest.hexdigest()[:12]}'


def choose_cache() -> None:
    """Tell Numba about the folder, unless the user has chosen one with ``NUMBA_CACHE_DIR``."""
    if 'NUMBA_CACHE_DIR' in os.environ:
        return
    folder = str(cache_folder())
    os.environ['NUMBA_CACHE_DIR'] = folder
    if 'numba' in sys.modules:  # it has read its environment already
        sys.modules['numba'].config.CACHE_DIR = folder
