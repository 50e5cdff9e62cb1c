"""Tables of text for notebooks."""

from __future__ import annotations

import html
from collections.abc import Sequence


def html_table(rows: Sequence[Sequence[str]], headline: str = '', notes: Sequence[str] = ()) -> str:
    """Rows as an HTML table, the heading first, below a line and above notes."""

    def line(cells: Sequence[str], tag: str) -> str:
        return '<tr>' + ''.join(f'<{tag}>{html.escape(str(cell))}</{tag}>' for cell in cells) + '</tr>'

    head, *body = rows
    lines = ''.join([line(head, 'th'), *(line(row, 'td') for row in body)])
    top = f'<p>{html.escape(headline)}</p>' if headline else ''
    return f'{top}<table>{lines}</table>' + ''.join(f'<p>{html.escape(note)}</p>' for note in notes)
