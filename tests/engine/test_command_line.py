"""The ways of all commands: options, their old names, and how a command fails."""

import io
from dataclasses import dataclass
from typing import Literal

import click
import pytest

from aiida_ufpnmr.engine.commands.options import options_of, settings_from_options, with_options
from aiida_ufpnmr.engine.commands.shared import Command, Duration, plot_option, run
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.md.conditions import MdSettings
from aiida_ufpnmr.engine.settings import Settings, setting


@click.group()
def program():
    pass


@dataclass(frozen=True)
class Weather(Settings):
    """The weather of a place."""

    wind_m_per_s: float = setting(3.0, 'Wind in m/s.', least=0, most=100, metavar='SPEED', option='wind')
    sky: str | None = setting(None, 'What is seen above.', choices=('blue', 'grey'))
    hours: int = setting(24, 'Hours of a day.', option='')
    unit: Literal['', 'Celsius', 'Kelvin'] = setting('', 'Unit of a report that names none.')
    night: tuple[float, float] = setting((22.0, 6.5), 'From when to when.')
    rain_mm: tuple[float, ...] = setting((1.0, 2.5), 'Rain of each day.')


@program.command('forecast', cls=Command, example='')
@with_options(*options_of(Weather, wind_m_per_s=5.0))
def forecast(**options):
    click.echo(settings_from_options(Weather, options))


@program.command('guess', cls=Command, example='')
@with_options(*options_of(Weather, 'wind_m_per_s', unset='{} at sea'))
def guess(**options):
    click.echo(options)


@program.command('wait', cls=Command, example='')
@click.option('--threads', type=int)
@click.option('--max-wall-time', type=Duration())
@with_options(*options_of(MdSettings, 'timestep_fs', unset='{}'))
def wait(threads, max_wall_time, timestep):
    click.echo(f'{threads} {max_wall_time} {timestep}')


@program.command('fail', cls=Command, example='')
def fail():
    raise EOFError('Ran out of input')


@program.command('own', cls=Command, example='')
@click.option('--cores', type=int)
def own(cores):
    click.echo(cores)


@program.command('draw', cls=Command, example='')
@plot_option('Draw it.')
def draw(plot):
    click.echo(plot)


@program.command('share', cls=Command, example='')
@click.option('--jobs', type=int)
@click.option('--threads', type=int)
def share(jobs, threads):
    click.echo(f'{jobs} {threads}')


def call(monkeypatch, capsys, *arguments):
    """Status, stdout and stderr of the program."""
    monkeypatch.setattr('sys.argv', ['program', *arguments])
    with pytest.raises(SystemExit) as ended:
        run(program, 'program')
    return ended.value.code, *capsys.readouterr()


@pytest.mark.parametrize(
    'arguments, answer, said',
    [
        (['--max-wall-time', '30'], 'None 30.0 None', []),
        (['--max-wall-time', '1.5h'], 'None 5400.0 None', []),
        (['--max-wall-time=2min', '--timestep', '0.05'], 'None 120.0 0.05', []),
        (['--cores', '3'], '3 None None', ['--cores is now --threads']),
        (['--max-wallclock-hours', '2'], 'None 7200.0 None', ['--max-wallclock-hours is now --max-wall-time']),
        (['--max-wallclock-hours=2', '--cores=1'], '1 7200.0 None', ['--max-wallclock-hours is', '--cores is']),
    ],
)
def test_an_option_has_one_name_and_its_old_one_works_with_a_word(monkeypatch, capsys, arguments, answer, said):
    status, output, words = call(monkeypatch, capsys, 'wait', *arguments)
    assert (status, output.strip()) == (0, answer)
    assert len(words.splitlines()) == len(said)
    assert all(f'warning: {start}' in line for start, line in zip(said, words.splitlines()))


def test_a_command_that_has_an_option_of_an_old_name_keeps_it(monkeypatch, capsys):
    assert call(monkeypatch, capsys, 'own', '--cores', '2') == (0, '2\n', '')


def test_an_old_name_of_two_options_is_that_of_the_first(monkeypatch, capsys):
    status, output, words = call(monkeypatch, capsys, 'share', '--cores', '2')
    assert (status, output) == (0, 'None 2\n') and '--cores is now --threads' in words and len(words.splitlines()) == 1


@pytest.mark.parametrize('name', ['figure.xyz', 'figure', '.png'])
def test_a_figure_of_an_unknown_format_is_refused_before_the_work(monkeypatch, capsys, name):
    status, output, said = call(monkeypatch, capsys, 'draw', '--plot', name)
    assert (status, output) == (2, '') and '.png' in said and '.pdf' in said and len(said.splitlines()) == 1


@pytest.mark.parametrize('name', ['figure.png', 'figure.PDF', 'a.b.svg', 'figure.jpg'])
def test_a_figure_of_a_known_format_is_taken(monkeypatch, capsys, name):
    assert call(monkeypatch, capsys, 'draw', '--plot', name) == (0, f'{name}\n', '')


@pytest.mark.parametrize('time', ['soon', '0', '-3h', 'nan', '5d', ''])
def test_what_is_no_time_is_refused_with_examples(monkeypatch, capsys, time):
    status, _, said = call(monkeypatch, capsys, 'wait', '--max-wall-time', time)
    assert status == 2 and '30min or 23.5h' in said


def test_a_time_step_in_ps_is_refused_with_the_same_in_fs(monkeypatch, capsys):
    status, _, said = call(monkeypatch, capsys, 'wait', '--timestep', '0.002')
    assert status == 2 and 'give 2 for 0.002 ps' in said


def test_the_end_of_a_file_is_no_interrupt(monkeypatch, capsys):
    status, _, said = call(monkeypatch, capsys, 'fail')
    assert status == 1 and 'Ran out of input' in said and 'interrupted' not in said


@program.command('speak', cls=Command, example='')
def speak():
    click.echo('τ = 2.8·10⁻⁵ ± 1 Å, q·q′ ≥ 0 → 漢')


def test_what_a_terminal_cannot_show_is_spelled_out(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr('sys.stdout', io.TextIOWrapper(written, encoding='latin-1', write_through=True))
    monkeypatch.setattr('sys.argv', ['program', 'speak'])
    with pytest.raises(SystemExit) as ended:
        run(program, 'program')
    assert ended.value.code == 0
    assert written.getvalue().decode('latin-1') == "tau = 2.8·10-5 ± 1 Å, q·q' >= 0 -> ?\n"


def test_options_have_the_names_the_defaults_and_the_bounds_of_the_settings(monkeypatch, capsys):
    assert call(monkeypatch, capsys, 'forecast')[1] == f'{Weather(wind_m_per_s=5.0)}\n'
    assert call(monkeypatch, capsys, 'forecast', '--wind', '7', '--sky', 'blue')[1] == f'{Weather(7.0, "blue")}\n'
    for words in (('--wind', '-1'), ('--wind', '200'), ('--sky', 'green'), ('--hours', '12')):
        status, _, said = call(monkeypatch, capsys, 'forecast', *words)
        assert status == 2 and words[0] in said and len(said.splitlines()) == 1
    for values in ({'wind_m_per_s': -1.0}, {'wind_m_per_s': 200.0}, {'sky': 'green'}):
        with pytest.raises(InputError, match=next(iter(values))):
            Weather(**values)


def test_an_option_without_a_value_can_be_told_from_the_default_that_its_help_shows(monkeypatch, capsys):
    assert call(monkeypatch, capsys, 'guess')[1] == "{'wind': None}\n"
    assert '(3.0 at sea); 0<=x<=100' in ' '.join(call(monkeypatch, capsys, 'guess', '--help')[1].split())


def test_the_help_shows_choices_and_defaults_as_they_are_given(monkeypatch, capsys):
    shown = ' '.join(call(monkeypatch, capsys, 'forecast', '--help')[1].split())
    assert '--unit [Celsius|Kelvin]' in shown
    assert '(22 6.5)' in shown and '(1,2.5)' in shown


def test_a_group_without_a_command_answers_with_its_help(monkeypatch, capsys):
    status, _, said = call(monkeypatch, capsys)
    assert (
        status == 2
        and 'error' not in said
        and {'Commands:', 'Usage: program [OPTIONS] COMMAND [ARGS]...'} <= set(said.splitlines())
    )


def test_settings_explain_themselves_by_their_help():
    assert 'wind_m_per_s: Wind in m/s.' in Weather.__doc__ and 'hours: Hours of a day.' in Weather.__doc__
