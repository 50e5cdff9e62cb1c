"""The one exception that stands for a mistake in what the user gave."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input: one line that names the file, the row where there is one, and the remedy.

    The commands print it as it is and leave with exit status 2.
    """
