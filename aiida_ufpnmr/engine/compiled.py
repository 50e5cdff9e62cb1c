"""Compiled kernels, and the folder that keeps them between runs.

Numba decides by the file of a function whether its compiled form is still good, and does not see that it calls a
kernel of another file that has changed since. Here a compiled kernel goes with the code, without comments and
docstrings, of its file and of all files with kernels that this one imports, so that a new version never runs an old
kernel, and only new code is compiled. Numba's own key, which is part of it, keeps processors and signatures apart.

Processes that need the same kernel at the same time compile it once: one does, under a lock, and the others wait for
its file. A file that is damaged counts as none. Where nothing can be kept, each process compiles for itself.

A kernel whose sums may be reordered (``fastmath``) and that other kernels call is inlined by force. Otherwise a
process holds it more than once, alone and within each caller, rounded differently, and which of these all run depends
on which was loaded first: the process that compiles would get other bits than those that read the cache.
"""

from __future__ import annotations

import ast
import contextlib
import fcntl
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType
from typing import IO

import numba as nb
from numba.core import event, types
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps, loads

#: Names that make a file of the package one with kernels.
_MARKS = {'njit', 'intrinsic', 'overload'}
#: How long a process waits for a kernel of another one before it compiles for itself, s, and how often it looks.
LONGEST_WAIT, _LOOK = 600.0, 0.05
#: Whether it is said on stderr that kernels are compiled, which takes a while; commands choose so.
aloud = False
_said: set[str] = set()


def _say(line: str) -> None:
    """Say something on stderr, once in a process."""
    if line not in _said:
        _said.add(line)
        print(line, file=sys.stderr, flush=True)


def cache_folder() -> Path:
    """The folder of all compiled kernels: below ``NUMBA_CACHE_DIR`` where that is set, else the user's cache folder."""
    parent = os.environ.get('NUMBA_CACHE_DIR') or os.environ.get('XDG_CACHE_HOME')
    return (Path(parent) if parent else Path('~/.cache').expanduser()) / 'aiida-ufpnmr' / 'kernels'


@cache
def _code_of(path: Path) -> CodeType | None:
    """The code of a file with kernels, without docstrings; ``None`` for other files, of which this is one."""
    source = path.read_bytes() if path.is_file() else b''
    if path == Path(__file__) or not any(mark.encode() in source for mark in _MARKS):
        return None
    tree = ast.parse(source)
    nodes: list[ast.Module | ast.FunctionDef | ast.ClassDef] = [tree]
    for node in nodes:
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        nodes.extend(inner for inner in node.body if isinstance(inner, ast.FunctionDef | ast.ClassDef))
    code = compile(tree, path.name, 'exec')
    return code if _MARKS & set(code.co_names) else None


def _content(code: CodeType) -> tuple:
    """The parts of code that decide what it does: no names of files, no numbers of lines."""
    constants = []
    for value in code.co_consts:
        inner = _content(value) if isinstance(value, CodeType) else value
        constants.append(repr(sorted(inner, key=repr) if isinstance(inner, frozenset) else inner))
    return code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, constants


def _imported(code: CodeType) -> Iterator[Path]:
    """Files with kernels that a module imports at its top."""
    root, package = Path(__file__).parents[2], __name__.partition('.')[0]
    for name in code.co_names:
        if name.partition('.')[0] == package:
            path = root.joinpath(*name.split('.'))
            for candidate in (path.with_suffix('.py'), *(path / f'{part}.py' for part in code.co_names)):
                if _code_of(candidate):
                    yield candidate


@cache
def kernel_key(path: Path) -> str:
    """A digest of the code of a file and of those with kernels that it imports, directly or not."""
    files, new = {path}, [path]
    while new:
        found = set(_imported(_code_of(new.pop()) or compile('', '', 'exec'))) - files
        files |= found
        new.extend(found)
    contents = sorted(repr(_content(code)) for code in map(_code_of, files) if code)
    return hashlib.sha256('\n'.join([nb.__version__, *contents]).encode()).hexdigest()[:16]


class _Lock:
    """The right to compile the kernels of one file, of which one process at a time has it.

    The system takes it back from a process that dies. File systems that know no locks give it to everybody.
    """

    def __init__(self, folder: Path):
        self.path = folder / 'lock'
        self.depth = 0
        self._file: IO[bytes] | None = None

    def take(self) -> bool:
        """Try to get it, and return whether this process has it now."""
        if self.depth == 0:
            try:
                self._file = file = open(self.path, 'ab')
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                return False
            except OSError:
                pass
        self.depth += 1
        return True

    def give_back(self) -> None:
        self.depth = max(0, self.depth - 1)
        if self.depth == 0 and self._file is not None:
            self._file.close()


class KernelCache(NullCache):
    """The compiled forms of one kernel on disk; takes the place of Numba's own cache, whose interface it has."""

    _locks: dict[Path, _Lock] = {}

    def __init__(self, function):
        self._function = function
        source = Path(function.__code__.co_filename)
        self._folder = cache_folder() / f'{source.stem}-{kernel_key(source)}'
        self._lock = self._locks.setdefault(self._folder, _Lock(self._folder))

    @property
    def cache_path(self) -> str:
        return str(self._folder)

    def _path(self, signature, codegen) -> Path:
        arguments = signature.args if hasattr(signature, 'args') else signature
        fields = [kind.fields for kind in arguments if isinstance(kind, types.NamedTuple)]
        key = repr((signature, fields, codegen.magic_tuple())).encode()
        return self._folder / f'{self._function.__qualname__}-{hashlib.sha256(key).hexdigest()[:16]}.kernel'

    def load_overload(self, sig, target_context):
        """The compiled form for a signature; ``None`` for the caller to compile it, while other processes wait."""
        target_context.refresh()
        path = self._path(sig, target_context.codegen())
        end = time.monotonic() + LONGEST_WAIT
        while True:
            found = self._read(path, target_context)
            if found is not None:
                return found
            if self._take_lock():
                break
            if time.monotonic() > end:
                return None
            if aloud:
                _say('waiting for kernels that another process compiles ...')
            time.sleep(_LOOK)
        found = self._read(path, target_context)  # it may have come in between
        if found is not None:
            self._lock.give_back()
        elif aloud:
            _say('compiling kernels, which takes up to a minute the first time (ufpnmr compile does so ahead) ...')
        return found

    def _take_lock(self) -> bool:
        with contextlib.suppress(OSError):  # said when it comes to writing
            self._folder.mkdir(parents=True, exist_ok=True)
        return self._lock.take()

    @staticmethod
    def _read(path: Path, target_context):
        """The kernel in a file; a damaged file is removed."""
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, payload = content[:32], content[32:]
        if hashlib.sha256(payload).digest() == digest:
            return CompileResult._rebuild(target_context, *loads(payload))
        with contextlib.suppress(OSError):
            path.unlink()
        return None

    def save_overload(self, sig, data):
        """Keep a compiled form, where that is possible, and let other processes go on."""
        try:
            if not (data.library.has_dynamic_globals or any(not lifted.can_cache for lifted in data.lifted)):
                self._write(self._path(sig, data.codegen), dumps(data._reduce()))
        except OSError as error:
            _say(
                f'{self._folder.parent}: compiled kernels cannot be kept here ({error.strerror}), so that each run '
                'compiles them anew; set XDG_CACHE_HOME to a folder that can be written to'
            )
        finally:
            self._lock.give_back()

    @staticmethod
    def _write(path: Path, payload: bytes) -> None:
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f'{path.name}.')
        try:
            with open(handle, 'wb') as file:
                file.write(hashlib.sha256(payload).digest() + payload)
            os.replace(partial, path)
        except BaseException:
            os.unlink(partial)
            raise


class _Failures(event.Listener):
    """Gives back the lock of a kernel that could not be compiled."""

    def on_start(self, event):
        pass

    def on_end(self, event):
        kept = getattr(event.data['dispatcher'], '_cache', None)
        failed = event._exc_details is not None  # `is_failed` says the contrary
        if failed and isinstance(kept, KernelCache):
            kept._lock.give_back()


event.register('numba:compile', _Failures())


def njit(**options):
    """Compile a function as ``numba.njit`` does, and keep what comes out in :func:`cache_folder`."""

    def decorate(function):
        kernel = nb.njit(**options)(function)
        kernel._cache = KernelCache(function)
        return kernel

    return decorate
