"""Tables of text, for terminals and notebooks."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

#: Errors of a fitted model that are shown to readers: key of the results, words and unit.
ERRORS = {
    'energy_rmse_meV_per_atom': ('energy, RMSE', 'meV/atom'),
    'forces_rmse_meV_per_angstrom': ('forces, RMSE', 'meV/Å'),
    'stress_rmse_GPa': ('stress, RMSE', 'GPa'),
    'omega_q_mae_khz': ('ω_Q, MAE', 'kHz'),
    'c_q_mae_khz': ('|C_Q|, MAE', 'kHz'),
    'eta_mae': ('η, MAE', ''),
    'quaternion_dot_fraction_above_0_9': ('axes with q·q′ ≥ 0.9', ''),
}


def with_weighted(columns: Mapping[str, dict]) -> dict[str, dict]:
    """Columns of errors, and behind them those by weight where structures have weights."""
    weighted = {f'{name}, weighted': errors['weighted'] for name, errors in columns.items() if 'weighted' in errors}
    return {**columns, **weighted}


def aligned(rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    """Lines of rows in aligned columns; the first row is the heading."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[c]) for row in cells if c < len(row)) for c in range(max(map(len, cells)))]
    for n, row in enumerate(cells):
        padded = [
            cell.ljust(width) if c == 0 else cell.rjust(width) for c, (cell, width) in enumerate(zip(row, widths))
        ]
        yield '  ' + '  '.join(padded).rstrip()
        if n == 0:
            yield '  ' + '  '.join('-' * width for width in widths)


def with_interval(value: float, limits: Sequence[float] | None, form: str) -> str:
    """A number and its interval in the format ``form``; what is not known is left out."""
    if not math.isfinite(value):
        return '-'
    if limits is None or not all(map(math.isfinite, limits)):
        return f'{value:{form}}'
    low, high = limits
    return f'{value:{form}} ({low:{form}} to {high:{form}})'


def interval_row(words: str, value: float, limits: Sequence[float], form: str) -> tuple[str, str, str]:
    """A row of a table of quantities, values and 95 % intervals, in the format ``form``."""
    return words, f'{value:{form}}', ' to '.join(f'{end:{form}}' for end in limits)


class Tabular:
    """Something that a notebook shows as a table, below a headline and above remarks."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # IPython takes the representation of a dataclass unless the class itself has this
        cls._repr_pretty_ = Tabular._repr_pretty_  # type: ignore[method-assign]

    @property
    def headline(self) -> str:
        """One line about what the table shows."""
        return type(self).__name__

    @property
    def remarks(self) -> Sequence[str]:
        """Lines that a reader of the table has to know."""
        return ()

    def table(self) -> Sequence[tuple[str, ...]]:
        """Rows of text, the heading first."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        def line(cells: Sequence[str], tag: str) -> str:
            return '<tr>' + ''.join(f'<{tag}>{html.escape(str(cell))}</{tag}>' for cell in cells) + '</tr>'

        head, *body = self.table()
        lines = ''.join([line(head, 'th'), *(line(row, 'td') for row in body)])
        notes = ''.join(f'<p>{html.escape(note)}</p>' for note in self.remarks)
        return f'<p>{html.escape(self.headline)}</p><table>{lines}</table>{notes}'

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text('\n'.join([self.headline, *aligned(self.table()), *self.remarks]))
