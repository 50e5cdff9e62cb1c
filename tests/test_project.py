"""Claims about the project as a whole: the two floors, the command lines, the documentation."""

from __future__ import annotations

import ast
import os
import pkgutil
import subprocess
import sys
from configparser import ConfigParser
from importlib.metadata import entry_points, version
from pathlib import Path

import click
import pytest

import aiida_ufpnmr
from aiida_ufpnmr import engine

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'aiida_ufpnmr'


def engine_modules() -> list[str]:
    return [module.name for module in pkgutil.walk_packages(engine.__path__, 'aiida_ufpnmr.engine.')]


def imported_names(source: str) -> set[str]:
    """Top-level packages that a text of Python imports anywhere, in functions too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split('.')[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.split('.')[0])
    return found


def declared_entry_points() -> list[tuple[str, str]]:
    config = ConfigParser()
    config.read(ROOT / 'setup.cfg')
    return [
        (group, line.split('=')[0].strip())
        for group, lines in config['options.entry_points'].items()
        for line in lines.strip().splitlines()
    ]


@pytest.fixture(scope='module')
def command_lines() -> dict[str, click.Command]:
    """All commands of both programs by the words that call them."""
    from aiida_ufpnmr.cli import aiida_ufpnmr as upper
    from aiida_ufpnmr.engine.main import ufpnmr as lower

    found = {}

    def add(words, command):
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                add(f'{words} {name}', command.get_command(context, name))
        else:
            found[words] = command

    add('ufpnmr', lower)
    add('aiida-ufpnmr', upper)
    return found


def test_no_file_of_the_engine_names_aiida():
    guilty = [
        str(path.relative_to(ROOT))
        for path in (PACKAGE / 'engine').rglob('*.py')
        if 'aiida' in imported_names(path.read_text(encoding='utf-8'))
    ]
    assert guilty == []


def test_the_engine_imports_nothing_of_the_floor_above():
    floor_above = {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {'engine', '__pycache__'}
    for source in (PACKAGE / 'engine').rglob('*.py'):
        for node in ast.walk(ast.parse(source.read_text(encoding='utf-8'))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith('aiida_ufpnmr.'):
                assert node.module.split('.')[1] not in floor_above, f'{source} imports {node.module}'


def test_importing_the_whole_engine_does_not_import_aiida():
    modules = engine_modules()
    assert len(modules) > 20  # else this test looks at the wrong place
    code = f'import importlib, sys; [importlib.import_module(m) for m in {modules!r}]; print("aiida" in sys.modules)'
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout.strip() == 'False', result.stderr


PICKLING = {'pickle', '_pickle', 'cloudpickle', 'dill', 'joblib', 'marshal', 'shelve'}


def pickles(source: str) -> bool:
    """Whether a file imports what pickles, or lets another library unpickle, which runs whatever code the data hold."""
    return bool(PICKLING & imported_names(source)) or any(
        node.arg == 'allow_pickle' and not (isinstance(node.value, ast.Constant) and node.value.value is False)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.keyword)
    )


def test_no_file_uses_pickle():
    assert [str(p.relative_to(ROOT)) for p in PACKAGE.rglob('*.py') if pickles(p.read_text(encoding='utf-8'))] == []
    for guilty in (
        'import pickle',
        'def f():\n from dill import load',
        'load(path, allow_pickle=True)',
        'f(allow_pickle=x)',
    ):
        assert pickles(guilty)
    assert not pickles('numpy.load(path, allow_pickle=False)')


@pytest.mark.parametrize(('group', 'name'), declared_entry_points())
def test_every_entry_point_loads(group, name):
    (found,) = [e for e in entry_points(group=group, name=name) if e.value.startswith('aiida_ufpnmr')]
    assert callable(found.load())


def test_there_is_one_version():
    assert version('aiida-ufpnmr') == aiida_ufpnmr.__version__


def test_every_sub_command_explains_itself_with_an_example(command_lines):
    assert len(command_lines) >= 10
    for words, command in command_lines.items():
        text = command.get_help(click.Context(command, info_name=words))
        assert 'Example' in text and words.split()[0] in text.split('Example')[1], f'{words} --help has no example'
        unexplained = [p.name for p in command.params if isinstance(p, click.Option) and not p.help]
        assert not unexplained, f'{words}: no help for {unexplained}'


@pytest.mark.parametrize('program', ['ufpnmr', 'aiida-ufpnmr'])
def test_a_mistyped_option_gives_one_line_and_status_2(program, tmp_path):
    script = Path(sys.executable).with_name(program)
    result = subprocess.run(
        [script, '--no-such-option'], capture_output=True, text=True, env={**os.environ, 'AIIDA_PATH': str(tmp_path)}
    )
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1


def test_no_file_is_too_big_to_review():
    listed = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard'], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip('not a git checkout')
    big = [
        name for name in listed.stdout.splitlines() if (ROOT / name).is_file() and (ROOT / name).stat().st_size > 3e6
    ]
    assert [name for name in big if not name.startswith(('examples/data/', 'examples/archives/'))] == []


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(tmp_path):
    command = [sys.executable, '-m', 'sphinx', '-W', '--keep-going', '-q', '-b', 'html']
    result = subprocess.run(
        [*command, str(ROOT / 'docs' / 'source'), str(tmp_path / 'html'), '-d', str(tmp_path / 'doctrees')],
        capture_output=True,
        text=True,
        env={**os.environ, 'AIIDA_PATH': str(tmp_path / 'aiida')},
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize('check', [('check',), ('format', '--check')], ids=' '.join)
def test_code_is_as_ruff_would_have_it(check):
    command = [sys.executable, '-m', 'ruff', *check, *(str(ROOT / name) for name in ('aiida_ufpnmr', 'tests', 'docs'))]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.slow
def test_types_hold(tmp_path):
    command = [sys.executable, '-m', 'mypy', '--cache-dir', str(tmp_path)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
