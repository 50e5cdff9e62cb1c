"""Codes that stand in for DFT codes, with plans of what goes wrong."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aiida import orm

TESTS = Path(__file__).resolve().parents[1]


@dataclass
class CastepCode:
    """A code that stands in for CASTEP."""

    code: orm.InstalledCode
    folder: Path
    plans: int = 0

    def overrides(self, *behaviours: str) -> dict:
        """Overrides for a restart chain whose runs behave like this, one after the other."""
        return {'calculation': {'parameters': {'PARAM': {'comment': self.plan(behaviours)}}}}

    def plan(self, behaviours: Sequence[str]) -> str:
        """The name of a new plan."""
        self.plans += 1
        name = f'plan{self.plans}'
        (self.folder / f'{name}.plan').write_text('\n'.join(behaviours))
        return name


def install_castep(computer: orm.Computer, folder: Path) -> CastepCode:
    """Make the stand-in for CASTEP known as ``castep@localhost``."""
    executable = folder / 'castep'
    shutil.copy(TESTS / 'castep_stand_in.py', executable)
    executable.chmod(0o755)
    code = orm.InstalledCode(label='castep', computer=computer, filepath_executable=str(executable), with_mpi=False)
    return CastepCode(code.store(), folder)


@dataclass
class GpawCode:
    """A code that stands in for the command ``ufpnmr`` where there is GPAW."""

    code: orm.InstalledCode
    folder: Path

    def plan(self, *behaviours: str) -> None:
        """What the next runs do."""
        for name in ('runs', 'computed', 'gone_on_with'):
            (self.folder / name).unlink(missing_ok=True)
        (self.folder / 'plan').write_text('\n'.join(behaviours))

    @property
    def computed(self) -> int:
        """How many structures have been computed under this plan."""
        return len(self._said('computed'))

    @property
    def gone_on_with(self) -> list[float]:
        """Where the first atom is of each structure that went on from a checkpoint."""
        return [float(line) for line in self._said('gone_on_with')]

    def _said(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


def install_gpaw(
    computer: orm.Computer, folder: Path, label: str = 'gpaw', script: str = 'gpaw_stand_in.py'
) -> GpawCode:
    """Make a stand-in for GPAW known as ``LABEL@localhost``."""
    executable = folder / 'ufpnmr'
    executable.write_text(f'#!{sys.executable}\n{(TESTS / script).read_text()}')
    executable.chmod(0o755)
    code = orm.InstalledCode(
        label=label,
        computer=computer,
        filepath_executable=str(executable),
        with_mpi=False,
        prepend_text=f'export STAND_IN_FOLDER={folder} PYTHONPATH={TESTS}:$PYTHONPATH',
    )
    return GpawCode(code.store(), folder)
