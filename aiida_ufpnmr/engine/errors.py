"""The one exception that stands for a mistake in what the user gave."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input: one line that names the file, the row where there is one, and the remedy.

    The commands print it as it is and leave with exit status 2.
    """


def one_line(error: Exception) -> str:
    """Message of an error of a library in one line; its type where it says nothing, or only a name."""
    text = ' '.join(str(error).split())
    return f'{type(error).__name__} {text}'.strip() if not text or isinstance(error, KeyError) else text
