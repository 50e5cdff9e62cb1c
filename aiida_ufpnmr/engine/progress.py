"""Progress bars: shown on a terminal, silent elsewhere."""

from __future__ import annotations

from tqdm import tqdm


def progress(total: int | None = None, description: str = '', unit: str = 'it', silent: bool = False, **kwargs) -> tqdm:
    """A progress bar on stderr with an estimate of the time left; nothing is printed where stderr is no terminal."""
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        disable=silent or None,
        leave=False,
        delay=1,
        dynamic_ncols=True,
        **kwargs,
    )
