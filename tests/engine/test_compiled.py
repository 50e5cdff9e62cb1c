"""Compiled kernels are made once, go with their code, and never stand in the way."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numba as nb
import pytest

from aiida_ufpnmr.engine import compiled

PACKAGE = Path(compiled.__file__).parents[1]

#: A kernel, and a program that runs it, takes its time to compile and prints how often it did.
KERNEL = """
from aiida_ufpnmr.engine.compiled import njit


@njit()
def add(a, b):
    return a + b
"""
PROGRAM = """
import sys, time
from numba.core import event
from aiida_ufpnmr.engine import compiled

class Count(event.Listener):
    n = 0
    def on_start(self, event):
        Count.n += 1
        print('compiling', flush=True)
        time.sleep(float(sys.argv[1]))
    def on_end(self, event):
        pass

event.register('numba:compile', Count())
compiled.aloud = True
from kernel import add
print(add(2, 3), Count.n)
"""


@pytest.fixture
def start(tmp_path):
    """Start the program, which takes so many seconds more to compile, with its cache in a folder."""
    (tmp_path / 'kernel.py').write_text(KERNEL)
    (tmp_path / 'program.py').write_text(PROGRAM)
    root = os.pathsep.join([str(PACKAGE.parent), os.environ.get('PYTHONPATH', '')])

    def begin(seconds=0.0, cache=tmp_path / 'cache'):
        environment = {**os.environ, 'XDG_CACHE_HOME': str(cache), 'PYTHONPATH': root}
        environment.pop('NUMBA_CACHE_DIR', None)
        return subprocess.Popen(
            [sys.executable, 'program.py', str(seconds)],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return begin


def answer(process):
    """What the kernel gave, how often it was compiled, and what was said."""
    output, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return *map(int, output.split('\n')[-2].split()), said


def test_processes_that_start_at_once_compile_once(start):
    answers = [answer(process) for process in [start(2.0) for _ in range(3)]]
    assert [value for value, _, _ in answers] == [5, 5, 5]
    assert sum(times for _, times, _ in answers) == 1
    assert sorted('waiting for kernels' in said for _, _, said in answers) == [False, True, True]
    assert answer(start())[1] == 0


def test_a_process_that_is_killed_while_it_compiles_keeps_nobody_waiting(start):
    killed = start(300.0)
    assert killed.stdout.readline() == 'compiling\n'
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    begin = time.monotonic()
    assert answer(start())[:2] == (5, 1)
    assert time.monotonic() - begin < 100  # the program by itself takes seconds


def test_a_kernel_that_cannot_be_compiled_gives_its_lock_back(tmp_path, monkeypatch):
    monkeypatch.setenv('NUMBA_CACHE_DIR', str(tmp_path))

    @compiled.njit()
    def wrong(a):
        return a.no_such_thing

    with pytest.raises(nb.TypingError):
        wrong(1.0)
    assert wrong._cache._lock.depth == 0


@pytest.mark.parametrize(
    'damage', [lambda b: b'', lambda b: b[: len(b) // 2], lambda b: b[:-64] + bytes(64), bytes.swapcase]
)
def test_a_damaged_file_of_the_cache_is_compiled_anew(start, tmp_path, damage):
    assert answer(start())[:2] == (5, 1)
    (path,) = tmp_path.rglob('add-*.kernel')
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert answer(start())[:2] == (5, 1)
    assert answer(start())[:2] == (5, 0)


def test_without_a_cache_that_can_be_written_a_run_compiles_for_itself_and_says_so(start, tmp_path):
    (tmp_path / 'file').write_text('no folder')
    for _ in range(2):
        value, times, said = answer(start(cache=tmp_path / 'file'))
        assert (value, times) == (5, 1)
        assert 'cannot be kept' in said and 'XDG_CACHE_HOME' in said


def test_a_file_system_without_locks_lets_everybody_compile(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(compiled.fcntl, 'flock', refuse)
    one, other = compiled._Lock(tmp_path), compiled._Lock(tmp_path)
    assert one.take() and other.take()
    one.give_back()
    other.give_back()


def test_a_lock_is_had_by_one_at_a_time_and_counts(tmp_path):
    one, other = compiled._Lock(tmp_path), compiled._Lock(tmp_path)
    assert one.take() and one.take() and not other.take()
    one.give_back()
    assert not other.take()
    one.give_back()
    assert other.take()
    other.give_back()


def test_the_key_of_kernels_is_their_code_not_its_comments(tmp_path):
    def key(text):
        path = tmp_path / f'{len(list(tmp_path.iterdir()))}.py'
        path.write_text(text)
        return compiled.kernel_key(path)

    told = KERNEL.replace('def add', '# a comment\ndef add').replace('return', '"""A docstring."""\n    return')
    assert key(told) == key('"""What the file is for."""\n\n' + KERNEL) == key(KERNEL)
    assert key(KERNEL.replace('a + b', 'a - b')) != key(KERNEL)
    assert key(KERNEL.replace('njit()', 'njit(fastmath=True)')) != key(KERNEL)


def test_the_key_follows_imports_of_kernels_alone(monkeypatch):
    code_of, other = compiled._code_of, compile('njit = 1', '', 'exec')

    def key(file, changed):
        changed = PACKAGE / changed
        monkeypatch.setattr(compiled, '_code_of', lambda path: other if path == changed else code_of(path))
        return compiled.kernel_key.__wrapped__(PACKAGE / file)

    step = 'engine/md/integrators.py'
    same = key(step, 'nothing')
    assert key(step, 'engine/simd.py') != same  # by way of the kernels of the potential
    assert key(step, 'engine/efg/kernels.py') == same
    assert key('engine/efg/kernels.py', 'engine/efg/kernels.py') != key('engine/efg/kernels.py', 'nothing')
    assert code_of(PACKAGE / 'engine/commands/efg.py') is None


def test_every_kernel_is_kept_in_the_cache_of_the_package():
    here = {path.name for path in PACKAGE.rglob('*.py') if '.njit(' in path.read_text()}
    assert here == {'compiled.py'}


@pytest.mark.slow
def test_compiling_ahead_leaves_a_run_nothing_to_compile(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.delenv('NUMBA_CACHE_DIR', raising=False)
    command = [sys.executable, '-m', 'aiida_ufpnmr.engine.main', 'compile', '--json']
    for name in ('first.json', 'second.json'):
        subprocess.run([*command, str(tmp_path / name)], check=True, capture_output=True)
    assert '"compiled": 0' in (tmp_path / 'second.json').read_text()
    assert '"compiled": 0' not in (tmp_path / 'first.json').read_text()
