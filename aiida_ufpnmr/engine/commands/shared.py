"""What all sub-commands share: their options, their table of results, their way of failing."""

from __future__ import annotations

import codecs
import dataclasses
import importlib
import io
import keyword
import math
import os
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import NO_LOCKS, check_output, is_without_locks, whole_file, write_json
from aiida_ufpnmr.engine.tables import Tabular, aligned


class Number(click.FloatRange):
    """A finite number in a range; the range of click lets NaN and, without an upper end, infinity pass."""

    name = 'number'

    def convert(self, value, param, ctx):
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f'{value} is not a finite number', param, ctx)
        return number


class Count(click.IntRange):
    """A whole number that 64 bits hold; the end of that range would only clutter the help."""

    def convert(self, value, param, ctx):
        number = super().convert(value, param, ctx)
        if number >= 2**62:
            self.fail(f'{value} is too large', param, ctx)
        return number


class Duration(click.ParamType):
    """A time in seconds: a number of them, or one with a unit, such as ``30min`` or ``23.5h``."""

    name = 'duration'

    def convert(self, value, param, ctx):
        number, factor = str(value), 1.0
        for unit, seconds in (('min', 60.0), ('h', 3600.0), ('s', 1.0)):
            if number.endswith(unit):
                number, factor = number.removesuffix(unit), seconds
                break
        try:
            return POSITIVE.convert(number, param, ctx) * factor
        except click.BadParameter:
            self.fail(f'{value!r} is no time such as 3000 (in seconds), 30min or 23.5h', param, ctx)


class Figure(click.Path):
    """A path of a figure; one whose suffix is no format that can be drawn is refused."""

    def convert(self, value, param, ctx):
        from matplotlib.backend_bases import FigureCanvasBase  # takes a while to import

        formats = FigureCanvasBase.filetypes
        if Path(value).suffix.lower().removeprefix('.') not in formats:
            self.fail(f'{value}: a figure is written as .{", .".join(formats)}; choose one of these', param, ctx)
        return super().convert(value, param, ctx)


POSITIVE = Number(min=0, min_open=True)
COUNT = Count(min=1)

INPUT = click.Path(path_type=Path)
OUTPUT = click.Path(path_type=Path)
FIGURE = Figure(path_type=Path)

#: ``--json FILE``, the same everywhere.
json_option = click.option(
    '--json', 'json_path', type=OUTPUT, metavar='FILE', help='Write the results as JSON; keys carry their units.'
)
index_option = click.option(
    '--index', type=int, metavar='I', help='Which structure of a file of several; 0 is the first, -1 the last.'
)
supercell_option = click.option(
    '--supercell', type=COUNT, nargs=3, default=(1, 1, 1), metavar='A B C', help='Repeat the cell: --supercell 1 1 2.'
)
keep_option = click.option(
    '--keep-in',
    type=click.Path(file_okay=False, path_type=Path),
    metavar='FOLDER',
    help='Move the trajectory there in the end, to ab/abcd.../NAME by the hash of its content; --json says where to.',
)
settings_option = click.option(
    '--settings',
    'settings_path',
    type=INPUT,
    metavar='S.yaml',
    help='Settings as "name: value" lines; see the documentation.',
)


def plot_option(help: str) -> Callable[[Callable], Callable]:
    """``--plot FIG.png``; the help says what is drawn."""
    return click.option('--plot', type=FIGURE, metavar='FIG.png', help=help)


#: Options that had another name up to version 0.1: the present one, the first that a command has, and a unit that goes
#: with the value.
RENAMED = {
    '--closest-approach': (('--guard-fraction', ''),),
    '--cores': (('--threads', ''), ('--jobs', '')),
    '--max-wallclock-hours': (('--max-wall-time', 'h'),),
}


def _files_named(values: Iterable[Any]) -> Iterator[str]:
    """Texts among the values of parameters that may name files, also in ``600=FILE``, ``FILE:NAME`` and settings."""
    for value in values:
        if isinstance(value, (str, os.PathLike)):
            text = os.fspath(value)
            yield from filter(None, (text, text.partition('=')[2], text.rpartition(':')[0]))
        elif isinstance(value, (tuple, list)):
            yield from _files_named(value)
        elif dataclasses.is_dataclass(value):
            yield from _files_named(vars(value).values())


class Command(click.Command):
    """A sub-command whose help ends with an example, kept as it is written."""

    def __init__(self, *args, example: str, **kwargs):
        super().__init__(*args, **kwargs)
        self.example = example

    def parse_args(self, context, args):
        """Read the command line; old names of options are said to be old, and work."""
        names = {name for parameter in self.params for name in parameter.opts}
        present, unit = [], ''
        for argument in args:
            name, equals, value = argument.partition('=')
            argument, unit = argument + unit, ''
            for new, new_unit in RENAMED.get(name, ()) if name not in names else ():
                if new in names:
                    warn([f'{name} is now {new}; the old name goes with the next version'])
                    argument, unit = (f'{new}={value}{new_unit}', '') if equals else (new, new_unit)
                    break
            present.append(argument)
        return super().parse_args(context, present)

    def invoke(self, context):
        """Run the command, unless it would write over what it reads."""
        outputs = {parameter.name or '' for parameter in self.params if parameter.type in (OUTPUT, FIGURE)}
        values = {name: value for name, value in context.params.items() if value is not None}
        inputs = {os.path.realpath(name) for name in _files_named(v for n, v in values.items() if n not in outputs)}
        for path in (values[name] for name in sorted(outputs & set(values))):
            if os.path.realpath(path) in inputs:
                raise InputError(
                    f'{path}: is an input, too, and would be written over; choose another name for the output'
                )
        return super().invoke(context)

    def format_epilog(self, context, formatter):
        with formatter.section('Example'):
            indent = ' ' * formatter.current_indent
            room = formatter.width - 2 * len(indent) - len(' \\')
            for line in self.example.splitlines():
                words = textwrap.wrap(line, room, break_long_words=False, break_on_hyphens=False)
                formatter.write(indent + f' \\\n{indent}{indent}'.join(words) + '\n')


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports them when needed, so that ``--help`` is quick.

    Args:
        package: where the modules of the commands lie.
        commands: for each name its module in the package and one line about it; a command is an attribute of the name,
            with underscores for hyphens, and one at the end of a word of Python.
    """

    def __init__(self, *args, package: str, commands: dict[str, tuple[str, str]], **kwargs):
        super().__init__(*args, **kwargs)
        self.package = package
        self.summaries = commands

    def list_commands(self, context):
        return list(self.summaries)

    def get_command(self, context, name):
        if name not in self.summaries:
            return None
        module = importlib.import_module(f'{self.package}.{self.summaries[name][0]}')
        return getattr(module, name.replace('-', '_') + '_' * keyword.iskeyword(name))

    def format_commands(self, context, formatter):
        with formatter.section('Commands'):
            formatter.write_dl([(name, summary) for name, (_, summary) in self.summaries.items()])


def check_outputs(*paths: Path | None) -> None:
    """Refuse output paths that cannot be written or that name one file twice, before any work is done."""
    given = [path for path in paths if path is not None]
    for path in given:
        check_output(path)
    if len({os.path.realpath(path) for path in given}) < len(given):
        raise InputError(f'{given[0]}: two outputs have the same name; choose another for one of them')


def report(results: dict, json_path: Path | None) -> None:
    """Write the results as JSON where asked."""
    if json_path is not None:
        write_json(json_path, results)


def warn(lines: Iterable[str]) -> None:
    """Say on stderr, a line each, what is not wrong enough to stop."""
    for line in lines:
        click.echo(f'warning: {line}', err=True)


def print_table(rows: Iterable[Sequence[Any]], title: str | None = None) -> None:
    """Print rows in aligned columns; the first row is the heading."""
    if title:
        click.echo(title)
    for line in aligned(list(rows)):
        click.echo(line)


def show_result(found: Any, output: Path | None, plot: Path | None, json_path: Path | None, **record: Any) -> None:
    """Save, draw and print the result of an analysis; ``record`` goes into the JSON beside it."""
    from aiida_ufpnmr.engine.hdf5 import versions  # takes a while to import

    if output is not None:
        found.save(output)
    if plot is not None:
        with whole_file(plot) as partial:
            found.plot().savefig(partial, dpi=150)
    report({**found.to_dict(), 'versions': versions(), **record}, json_path)
    print_result(found)


def print_result(found: Tabular) -> None:
    """Print what a table shows, below its headline and above its remarks."""
    click.echo(found.headline)
    print_table(found.table())
    for line in found.remarks:
        click.echo(line)


#: Characters that neither Unicode nor their names bring to ASCII.
_ALIKE = {'±': '+-', '−': '-', '–': '-', '→': '->', '≥': '>=', '≤': '<=', '′': "'", '·': '*'}
#: Handler of characters that an encoding lacks: Greek letters by their names, others by what they consist of.
SPELLED = 'ufpnmr-spelled'


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error

    def ascii_of(character: str) -> str:
        name = unicodedata.name(character, '')
        if name.startswith('GREEK'):
            return name.split()[-1].lower()
        parts = unicodedata.normalize('NFKD', character)
        return ''.join(_ALIKE.get(part, part) for part in parts).encode('ascii', 'ignore').decode() or '?'

    return ''.join(map(ascii_of, error.object[error.start : error.end])), error.end


codecs.register_error(SPELLED, _spelled)


def run(group: click.Group, name: str) -> None:
    """Run a click group as a program: one line and status 2 for bad input, status 1 for anything else that went
    wrong. What the terminal cannot show is spelled out."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=SPELLED)
    try:
        sys.exit(group.main(prog_name=name, standalone_mode=False) or 0)
    except InputError as error:
        message, status = str(error), 2
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.UsageError as error:
        hint = f' (see {error.ctx.command_path} --help)' if error.ctx else ''
        message, status = f'{error.format_message()}{hint}', 2
    except click.ClickException as error:
        message, status = error.format_message(), error.exit_code
    except (KeyboardInterrupt, click.Abort) as error:
        # click takes the end of a file for Ctrl-D
        ended = isinstance(error.__cause__, EOFError)
        message, status = (f'a file ends too early ({error.__cause__})' if ended else 'interrupted'), 1
    except OSError as error:
        message, status = NO_LOCKS if is_without_locks(error) else str(error), 1
    one_line = ' '.join(message.split())
    click.echo(f'{name}: error: {one_line}', err=True)
    sys.exit(status)
