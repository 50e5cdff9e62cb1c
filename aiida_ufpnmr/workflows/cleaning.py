"""Remove the working directories of calculations whose files are safe in the repository."""

from __future__ import annotations

from collections.abc import Iterable

from aiida.engine import ProcessSpec
from aiida.orm import Bool, CalcJobNode, to_aiida_type


def clean_input(spec: ProcessSpec) -> None:
    """Let a workflow be asked whether working directories are to go."""
    spec.input(
        'clean_workdir',
        valid_type=Bool,
        serializer=to_aiida_type,
        default=lambda: Bool(True),
        help='Remove the working directories of what went well in the end; what matters is kept as nodes.',
    )


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
