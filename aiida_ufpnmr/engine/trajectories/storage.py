"""How numbers are stored in a trajectory: settings, and what follows from them for an array."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.settings import Settings, setting
from aiida_ufpnmr.engine.trajectories.series import EDGES, LOG, POSITION

#: Bytes of a chunk, which is what is compressed, and read, at once.
_CHUNK_BYTES = 1 << 18


def _is_double(value: str | bool) -> bool:
    """Whether numbers of 64 bits are meant, by a word or by yes and no."""
    if value not in ('single', 'double', True, False):
        raise ValueError(f'{value!r} is neither single nor double')
    return value in ('double', True)


@dataclass(frozen=True)
class Storage(Settings):
    """Precision and compression of stored numbers; rounding is to multiples of the power of two next below."""

    double: bool = setting(
        'single',
        'Precision of the numbers in the trajectory.',
        parse=_is_double,
        metavar='[single|double]',
        option='stored-precision',
    )
    rounding_angstrom: float = setting(
        0.0,
        'Round stored positions to about this, so that they compress well.',
        least=0,
        most=0.1,
        metavar='Å',
        option='position-rounding',
    )
    compression: int = setting(1, 'Lossless compression of the trajectory, 0 for none.', least=0, most=9)

    def stored(self, name: str, value) -> np.ndarray:
        """``value`` of the series ``name`` as it goes into the file."""
        if name == POSITION and self.rounding_angstrom > 0:
            grid = 2.0 ** np.floor(np.log2(self.rounding_angstrom))
            value = np.round(value / grid) * grid
        return np.array(value, np.float64 if self.double or name == EDGES or name.startswith(f'{LOG}/') else np.float32)

    def filters(self, shape: tuple[int, ...], dtype) -> dict:
        """Arguments for a data set of this shape."""
        if not self.compression or 0 in shape:
            return {}
        row = np.dtype(dtype).itemsize * int(np.prod(shape[1:]))
        chunk = (min(shape[0], max(1, _CHUNK_BYTES // row)), *shape[1:])
        return {'chunks': chunk, 'shuffle': True, 'compression': 'gzip', 'compression_opts': self.compression}
