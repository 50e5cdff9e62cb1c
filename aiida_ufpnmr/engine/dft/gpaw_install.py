"""Put GPAW into this environment, unless there is one: ``python -m aiida_ufpnmr.engine.dft.gpaw_install``."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
from importlib.metadata import requires
from pathlib import Path

from aiida_ufpnmr.engine.dft import gpaw_siteconfig
from aiida_ufpnmr.engine.dft.gpaw_engine import Installation, find_gpaw
from aiida_ufpnmr.engine.errors import InputError

EXTRA = 'gpaw'


def requirements() -> list[str]:
    """Requirements of the extra ``gpaw`` of this package."""
    marked = [line.split(';') for line in requires('aiida-ufpnmr') or []]
    return [
        entry.strip() for entry, *marker in marked if marker and f'extra == "{EXTRA}"' in marker[0].replace("'", '"')
    ]


def missing_tools() -> str | None:
    """Tools that are missing to compile GPAW, with the remedy; ``None`` if all are there."""
    if not gpaw_siteconfig.can_link(gpaw_siteconfig.compiler, 'int main() { return 0; }'):
        return 'no C compiler; install one (Debian: apt-get install gcc libc6-dev)'
    if not (Path(sysconfig.get_path('include')) / 'Python.h').is_file():
        return f'no Python.h of {sys.executable}; install it (Debian: apt-get install python3-dev)'
    if importlib.util.find_spec('pip') is None:
        return f'no pip for {sys.executable}; install it (python -m ensurepip)'
    return None


def install() -> Installation:
    """Compile GPAW into this environment, which takes a minute.

    Raises:
        InputError: it cannot be done; the message says what is missing, or what pip said last.
    """
    missing = missing_tools()
    if missing is not None:
        raise InputError(
            f'GPAW cannot be compiled: {missing}, or take the GPAW of the system (Debian: apt-get install gpaw)'
        )
    # pip may have kept a GPAW that was compiled in another way, with libraries that are not here
    options = ['--disable-pip-version-check', '--no-input', '--no-cache-dir']
    ended = subprocess.run(
        [sys.executable, '-m', 'pip', 'install', *options, *requirements()],
        env={**os.environ, 'GPAW_CONFIG': gpaw_siteconfig.__file__},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if ended.returncode:
        said = [line for line in ended.stdout.splitlines() if 'error' in line.lower()] or ['it said nothing']
        raise InputError(
            f'GPAW cannot be installed: pip says {said[0].strip()!r}; see the how-to on labelling for other ways'
        )
    return find_gpaw(sys.executable)


def find_or_install() -> tuple[Installation, bool]:
    """A GPAW that can be used, and whether it has just been installed; :class:`InputError` if there is no way."""
    try:
        return find_gpaw(), False
    except InputError:
        return install(), True


def main() -> None:
    """Find or install, and say which it is."""
    try:
        found, new = find_or_install()
    except InputError as error:
        sys.exit(str(error))
    print(f'GPAW {found.gpaw} {"installed" if new else "there"}: {found.python}')


if __name__ == '__main__':
    main()
