"""Places of frames in a run whose files hold neither steps nor times, such as XDATCAR."""

from __future__ import annotations

import hashlib

import numpy as np

from aiida_ufpnmr.engine.trajectories.frames import Frame


class FramePlaces:
    """Tells where frames belong that have at most numbers of their own, in one file or in several.

    A file, or a numbering that begins anew, goes on from the frame before, unless it begins with a frame that was there
    already: then it goes on from that one, as a restart does. A number that goes back was made again, and one that
    jumps leaves a gap.
    """

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}
        self._last = -1
        self._positions: np.ndarray | None = None
        self._number: int | None = None
        self._first_number: int | None = None
        self._first_place = 0
        self._stride: int | None = None

    def place(self, frame: Frame, begins_file: bool) -> int:
        """Place of the next frame, counted from 0; that of an earlier one where it was made again.

        Raises:
            ValueError: numbers of frames that jump by no multiple of their spacing.
        """
        if self._positions is not None and np.array_equal(frame.positions, self._positions):
            place = self._last
        elif begins_file or self._begins_anew(frame.number):
            place = self._places.get(_digest(frame.positions), self._last + 1)
            self._first_number, self._first_place = frame.number, place
        else:
            place = self._counted(frame.number)
        self._places[_digest(frame.positions)] = place
        self._last, self._positions, self._number = place, frame.positions, frame.number
        return place

    def _begins_anew(self, number: int | None) -> bool:
        return number is not None and self._first_number is not None and number <= self._first_number

    def _counted(self, number: int | None) -> int:
        if number is None or self._number is None or self._first_number is None:
            return self._last + 1
        jump = number - self._number
        if jump <= 0:  # made again: counted from where the numbering began
            jump, before = number - self._first_number, self._first_place
        else:
            before = self._last
        self._stride = self._stride or jump
        if jump % self._stride:
            raise ValueError(
                f'its number is {number} after {self._number}, no multiple of the {self._stride} before; give the '
                'frames of one run, in order'
            )
        return before + jump // self._stride


def _digest(positions: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(positions).tobytes(), digest_size=8).digest()
