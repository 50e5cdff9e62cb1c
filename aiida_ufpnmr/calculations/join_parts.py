"""Join the parts of a run into one trajectory, on record."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from aiida.engine import calcfunction
from aiida.orm import Data, Dict

from aiida_ufpnmr.data.trajectory import TrajectoryData


@calcfunction
def join_parts(results: Dict, **parts: TrajectoryData) -> dict[str, Data]:
    """Join the parts of a run into one trajectory, and bring up to date what the run reports.

    The files of the parts become those of the trajectory, and the repository holds equal files once. The trajectory has
    the hash that the run would have had in one go.

    Args:
        results: what the last part reports.
        parts: trajectories, in the order of their labels.
    """
    with _joined(parts) as path:
        trajectory = TrajectoryData(path)
        reported: dict[str, Any] = results.get_dict()
        from aiida_ufpnmr.engine.md.statistics import log_statistics  # takes a while to import

        reported |= log_statistics(path, reported['atoms'])
    return {'trajectory': trajectory, 'results': Dict(reported)}


@calcfunction
def with_statistics(results: Dict, joined: Dict) -> dict[str, Dict]:
    """What a run reports, brought up to date by what a job found that joined its parts."""
    known = {name: value for name, value in joined.get_dict().items() if name != 'versions'}
    return {'results': Dict({**results.get_dict(), **known})}


@calcfunction
def join_stopped(**parts: TrajectoryData) -> TrajectoryData:
    """Join the parts of a run that a guard stopped, in the order of their labels, into one trajectory."""
    with _joined(parts) as path:
        return TrajectoryData(path)


@contextmanager
def _joined(parts: Mapping[str, TrajectoryData]) -> Iterator[Path]:
    from aiida_ufpnmr.engine.trajectories.chain import chain

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        paths = [stack.enter_context(parts[label].as_path()) for label in sorted(parts)]
        path = folder / TrajectoryData.DEFAULT_FILENAME
        chain(paths, path)
        yield path
