"""Trajectories that stay where they were made: each content once, under its hash."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import content_hash
from aiida_ufpnmr.engine.piece_folder import pieces_folder
from aiida_ufpnmr.engine.trajectories.chain import files_of
from aiida_ufpnmr.engine.trajectories.series import efg_group
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory


def describe(path: Path) -> dict[str, Any]:
    """What a trajectory holds: numbers of frames and atoms, elements, time, and the hash of its content."""
    with Trajectory(path) as trajectory:
        times = [trajectory.time_fs] if trajectory.n_frames else []
        efg_frames = {}
        for species in trajectory.efg_species:
            efg_time = trajectory.series(f'{efg_group(species)}/efg')['time'][...]
            efg_frames[species] = len(efg_time)
            times.append(efg_time)
        return {
            'n_frames': trajectory.n_frames,
            'n_atoms': len(trajectory.numbers),
            'species': sorted(set(trajectory.symbols)),
            'efg_frames': efg_frames,
            'time_ps': max((float(time[-1] - time[0]) for time in times if len(time)), default=0.0) / 1000,
            'sha256': content_hash(path),
        }


def keep(path: Path, store: Path) -> dict[str, Any]:
    """Move a trajectory, with its pieces, into ``store``, to ``ab/abcd…/NAME`` by the hash of its content.

    What has that content there already is left as it is, and the new one removed; one that was damaged there gives way.

    Returns:
        What :func:`describe` says; ``path``, where it is now; ``pieces``, whether its rows lie in the folder beside it;
        and ``size_bytes`` of all files.

    Raises:
        InputError: the store cannot be written to.
    """
    described = describe(path)
    home = store / described['sha256'][:2] / described['sha256']
    there = kept_in(home)
    if there is None or not _holds(there, described['sha256']):
        try:
            shutil.rmtree(home, ignore_errors=True)
            home.parent.mkdir(parents=True, exist_ok=True)
            # beside the place where it goes, so that it appears there whole or not at all
            with tempfile.TemporaryDirectory(dir=home.parent) as name:
                folder = Path(name) / home.name
                folder.mkdir()
                _move(path, folder)
                try:
                    os.rename(folder, home)
                except OSError:  # another process was faster
                    if kept_in(home) is None:
                        raise
        except OSError as error:
            raise InputError(f'{store}: cannot be written ({error.strerror}); keep the trajectory elsewhere') from error
    for file in _parts(path):
        shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
    kept = kept_in(home)
    assert kept is not None  # put there, or found there
    files = files_of(kept)
    return {
        **described,
        'path': str(kept.resolve()),
        'pieces': files != [kept],
        'size_bytes': sum(file.stat().st_size for file in {kept, *files}),
    }


def kept_in(home: Path) -> Path | None:
    """The trajectory in a folder of the store; ``None`` where there is none."""
    return next(iter(sorted(home.glob('*.h5'))), None)


def _holds(path: Path, sha256: str) -> bool:
    try:
        return content_hash(path) == sha256
    except (InputError, OSError):
        return False


def _parts(path: Path) -> list[Path]:
    return [path, pieces_folder(path)]


def _move(path: Path, folder: Path) -> None:
    """Move the files of a trajectory; where they are second names of others, these stay."""
    for file in _parts(path):
        if file.exists():
            shutil.move(file, folder / file.name)
