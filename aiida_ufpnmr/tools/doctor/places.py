"""Findings about codes that cannot run, and disks that are full."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from aiida.manage import get_config
from aiida.orm import Computer, InstalledCode, QueryBuilder

from aiida_ufpnmr.tools.connections import connected
from aiida_ufpnmr.tools.doctor.finding import Finding
from aiida_ufpnmr.tools.doctor.jobs import used_computers
from aiida_ufpnmr.tools.profile import loaded_profile
from aiida_ufpnmr.version import __version__

#: Below this a run of a day is likely to fill what is left, GB.
LEAST_FREE_GB = 2.0
#: Seconds that a computer has to say which version it has; compiled kernels are not needed for that.
PATIENCE = 60


def broken_codes() -> list[Finding]:
    """Codes on computers in use whose executable is not there, and commands `ufpnmr` of another version."""
    found = []
    for computer in used_computers():
        query = QueryBuilder().append(Computer, filters={'id': computer.pk}, tag='computer')
        codes = query.append(InstalledCode, with_computer='computer').all(flat=True)
        try:
            with connected(computer.get_transport()) as transport:
                for code in codes:
                    if not code.is_hidden and type(code) is InstalledCode:
                        found += _faults_of(code, transport)
        except Exception:  # a computer that does not answer is named where its jobs are looked at
            continue
    return found


def _faults_of(code: InstalledCode, transport) -> list[Finding]:
    path = str(code.filepath_executable)
    is_ours = PurePosixPath(path).name == 'ufpnmr'
    asked = f'{shlex.quote(path)} --version' if is_ours else f'command -v {shlex.quote(path)}'
    script = f'{code.prepend_text}\n{asked}'
    status, said, errors = transport.exec_command_wait(f'bash -c {shlex.quote(script)}', timeout=PATIENCE)
    words = (errors or said).split()
    if status:
        reason = ' '.join(words[-12:]) or 'it is not there'
        remedy = f'install it, or hide the code with "verdi code hide {code.full_label}"'
        return [Finding('code-broken', code.full_label, f'{path} cannot run ({reason})', remedy, (code.pk or 0,))]
    if is_ours and (version := said.split()[-1]) != __version__:
        message = f'{path} is version {version}, and this is {__version__}'
        remedy = 'install the same version there, since files and options may differ'
        return [Finding('code-version', code.full_label, message, remedy, (code.pk or 0,))]
    return []


def full_disks(least_free_gb: float) -> list[Finding]:
    """Folders on disks with less room than this: of AiiDA, of its repository, and working directories of computers."""
    found = []
    for folder in dict.fromkeys((Path(get_config().dirpath), _repository())):
        found += _shortage(str(folder), shutil.disk_usage(folder).free / 1e9, least_free_gb)
    for computer in used_computers():
        workdir = computer.get_workdir().replace('{username}', '$(id -un)')
        try:
            with connected(computer.get_transport()) as transport:
                status, said, _ = transport.exec_command_wait(f'mkdir -p "{workdir}" && df -Pk "{workdir}"')
        except Exception:  # named where its jobs are looked at
            continue
        if status == 0:
            free_gb = float(said.splitlines()[-1].split()[-3]) * 1024 / 1e9
            found += _shortage(f'{computer.label}:{computer.get_workdir()}', free_gb, least_free_gb)
    return found


def _repository() -> Path:
    """The folder with the files of the profile's nodes, and its database where that is a file."""
    config = loaded_profile().storage_config
    return Path(config.get('filepath') or urlsplit(config['repository_uri']).path)


def _shortage(folder: str, free_gb: float, least_free_gb: float) -> list[Finding]:
    if free_gb >= least_free_gb:
        return []
    remedy = 'make room, as with "verdi calcjob cleanworkdir" for working directories, before runs fail'
    return [Finding('disk-full', folder, f'{free_gb:.2f} GB are left of its disk', remedy)]
