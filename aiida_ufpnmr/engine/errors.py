"""The one exception that stands for a mistake in what the user gave."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input: one line that names the file, the row where there is one, and the remedy.

    The commands print it as it is and leave with exit status 2.
    """


def one_line(error: Exception) -> str:
    """Message of an error of a library in one line; its type where it says nothing."""
    if isinstance(error, UnicodeDecodeError):
        return 'letters that are not UTF-8; convert it with "iconv -f latin1 -t utf-8"'
    text = ' '.join(str(error).split())
    if isinstance(error, (IndexError, AttributeError)) or (isinstance(error, AssertionError) and not text):
        return 'incomplete or damaged'  # readers of files run into these where something is missing
    return f'unknown name {text}' if isinstance(error, KeyError) else text or type(error).__name__
