"""The base of nodes with one file, which is checked when it is put there and hashed by its content."""

from __future__ import annotations

import shutil
import tempfile
import typing as t
from contextlib import contextmanager
from pathlib import Path

from aiida.orm import SinglefileData
from aiida.orm.nodes.caching import NodeCaching

from aiida_ufpnmr.engine.errors import InputError

#: Extra of a node whose files an archive leaves out: a mapping with ``size_bytes``.
LEFT_OUT = 'ufpnmr_left_out'


def attribute(name: str, text: str) -> t.Any:
    """A property of a node that reads the attribute ``name``; ``text`` describes it."""
    return property(lambda node: node.base.attributes.get(name, None), doc=text)


class ContentCaching(NodeCaching):
    """Hashing of a node by the content of its file, whatever its name, its bytes on disk and the versions."""

    def get_objects_to_hash(self) -> dict[str, t.Any]:
        return {'class': str(self._node.__class__), 'sha256': self._node.base.attributes.get('sha256', None)}


class CheckedFileData(SinglefileData):
    """A single file whose content is checked on construction and described by the node's attributes.

    Args:
        file: absolute path, relative path, or open binary handle of the file.
        filename: name of the file in the repository; the same for all nodes of a type unless given.

    Raises:
        InputError: the file cannot be used; one line that says why.
    """

    _CLS_NODE_CACHING = ContentCaching

    @classmethod
    def describe(cls, path: Path) -> dict[str, t.Any]:
        """Check the file and return the attributes of its node; ``sha256`` must be the hash of the content."""
        raise NotImplementedError

    def set_file(self, file: str | Path | t.IO, filename: str | Path | None = None) -> None:
        """Check the file, copy it into the repository and set the attributes that describe it."""
        if not isinstance(file, (str, Path)):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / self.DEFAULT_FILENAME
                with open(path, 'wb') as copy:
                    shutil.copyfileobj(_binary(file), copy)
                self._set_path(path, filename)
        else:
            self._set_path(Path(file), filename)

    def _set_path(self, path: Path, filename: str | Path | None) -> None:
        attributes = self._described(path)
        super().set_file(path.absolute(), filename=filename or self.DEFAULT_FILENAME)
        self.base.attributes.set_many(attributes)

    def _described(self, path: Path) -> dict[str, t.Any]:
        return self.describe(path)

    sha256 = attribute('sha256', 'Hash of the content: equal for equal numbers, however the bytes lie on disk.')

    @property
    def left_out_bytes(self) -> int | None:
        """The size of the file, where it was left out of the archive that the node came with."""
        return self.base.extras.get(LEFT_OUT, {}).get('size_bytes')

    def check_is_there(self) -> None:
        """Raise :class:`InputError` where the file was left out of an archive."""
        if not self.base.repository.list_object_names():
            raise InputError(
                f'{type(self).__name__} {self.uuid}: its file was left out of the archive that it came with; make it '
                f'again with "aiida-ufpnmr archive remake {self.pk}"'
            )

    @contextmanager
    def open(self, path: t.Any = None, mode: t.Any = 'r') -> t.Iterator[t.Any]:
        """Open the file; :class:`InputError` where it was left out of an archive."""
        self.check_is_there()
        with super().open(path, mode=mode) as handle:
            yield handle

    @contextmanager
    def as_path(self) -> t.Iterator[Path]:
        """A copy of the file as long as the context lasts."""
        self.check_is_there()
        with super().as_path() as path:
            yield path


def _binary(handle: t.IO) -> t.IO[bytes]:
    """The binary handle behind ``handle``; text is refused, since it has been decoded already."""
    if isinstance(handle.read(0), str):
        raise InputError('a handle opened as text cannot be stored; open the file in binary mode')
    return handle
