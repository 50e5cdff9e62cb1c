"""Remove the working directories of calculations whose files are safe in the repository."""

from __future__ import annotations

from collections.abc import Iterable

from aiida.orm import CalcJobNode


def clean_working_directories(calculations: Iterable[CalcJobNode]) -> list[int]:
    """Clean the working directories of ``calculations``; return their pks. What cannot be reached is left alone."""
    cleaned = []
    for calculation in calculations:
        try:
            calculation.outputs.remote_folder._clean()
        except (OSError, AttributeError, KeyError):
            continue
        cleaned.append(calculation.pk)
    return cleaned
