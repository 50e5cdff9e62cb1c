"""Claims about queries along the provenance, on a graph whose answers are known."""

from __future__ import annotations

import json
import time

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import calcfunction

from aiida_ufpnmr.engine.transport.hops import HOPS, RATTLING
from aiida_ufpnmr.tools.costs import cost_by_step
from aiida_ufpnmr.tools.differences import differences
from aiida_ufpnmr.tools.outcomes import decay_times, made_of, outcomes_of, outcomes_of_label
from aiida_ufpnmr.tools.queries import calculations_behind, creators_of, inputs_of, pk_of, step_name, step_names


@calcfunction
def fit(dataset, settings):
    from aiida_ufpnmr.data import PotentialData

    with orm.load_node(settings['like']).as_path() as path:
        return {'potential': PotentialData(path), 'timing': orm.Dict({'wall_s': 3.0, 'cpu_s': 6.0})}


@calcfunction
def run(potential, temperature):
    del potential
    tau = 1000 / temperature.value
    return orm.Dict(
        {'verdict': 'decay', 'tau_ns': tau, 'tau_ns_ci95': [tau / 2, 2 * tau], 'versions': {'numpy': '2.4'}}
    )


@calcfunction
def summarise(acf, temperature):
    return orm.Dict(
        {
            **acf.get_dict(),
            'temperature_mean_K': float(temperature.value),
            'hop_rate_per_s': 1e9,
            'hop_rate_corrected': temperature.value != 600,
            'hops_verdict': RATTLING if temperature.value == 900 else HOPS,
        }
    )


@calcfunction
def transport(potential):
    """Results of other analyses have verdicts, too."""
    del potential
    return {
        'msd': orm.Dict({'verdict': 'diffusion', 'diffusion_coefficient_cm2_per_s': 1e-5}),
        'hops': orm.Dict({'verdict': HOPS, 'hop_rate_per_s': 1e9}),
    }


class Graph:
    """Two fits to one data set, the first with decay times at three temperatures, the second with one."""

    def __init__(self, dataset, potential):
        self.dataset, like = dataset.store(), potential.store().pk
        self.fits = [fit(self.dataset, orm.Dict({'like': like, 'penalty': penalty}).store()) for penalty in (0.1, 0.2)]
        self.potentials = [found['potential'] for found in self.fits]
        self.answers = {}
        for number, temperature in ((0, 900), (0, 300), (0, 600), (1, 600)):
            kelvin = orm.Int(temperature).store()
            correlation = run(self.potentials[number], kelvin)
            self.answers[number, temperature] = summarise(acf=correlation, temperature=kelvin)
        self.transport = transport(self.potentials[0])


@pytest.fixture
def graph(dataset, potential):
    return Graph(dataset, potential)


def test_decay_times_of_a_potential_come_by_temperature(graph):
    found = decay_times(graph.potentials[0])
    assert [one.temperature_K for one in found] == [300, 600, 900]
    assert [one.pk for one in found] == [
        graph.answers[0, t].pk for t in (300, 600, 900)
    ]  # summaries, not what they sum up
    assert found[0].tau_ns == pytest.approx(10 / 3) and found[0].hop_rate_per_s == 1e9
    assert [one.pk for one in decay_times(graph.potentials[1])] == [graph.answers[1, 600].pk]


def test_a_hop_rate_that_its_verdict_speaks_against_gives_way_to_it(graph, command):
    shown = command('query', 'decay-times', graph.potentials[0].pk).output.splitlines()[2:]
    rows = {line.split()[1]: line for line in shown if line.strip()}
    assert RATTLING in rows['900'] and '1e+09' not in rows['900']
    assert rows['300'].endswith('1e+09') and '>' not in rows['300']
    assert rows['600'].endswith('> 1e+09')  # a lower limit
    assert [one.hop_rate_corrected for one in decay_times(graph.potentials[0])] == [True, False, True]


def test_results_of_a_label_are_those_of_every_model_that_it_trained(graph):
    expected = {answer.pk for answer in graph.answers.values()}
    label = graph.dataset.rows[0]['label_id']
    assert {one.pk for one in outcomes_of(graph.dataset)} == expected
    assert expected <= {one.pk for one in outcomes_of_label(label)}  # other tests label the same structures


def test_all_that_was_made_of_a_potential_is_found_and_nothing_of_another(graph, command):
    first, second = ({one.pk for one in made_of([potential])} for potential in graph.potentials)
    assert (
        len(first) == 8 and len(second) == 2 and not first & second
    )  # a decay time and a summary for each temperature, diffusion and hops
    assert {graph.answers[0, t].pk for t in (300, 600, 900)} | {one.pk for one in graph.transport.values()} < first
    of_all = made_of([graph.dataset])
    assert {one.pk for one in of_all} == first | second | {potential.pk for potential in graph.potentials}
    assert {one.output for one in of_all} == {'result', 'potential', 'msd', 'hops'}  # and not their timing
    shown = command('query', 'results', graph.dataset.pk, '--all')
    assert shown.exit_code == 0 and shown.output.count('potential') == 2


def test_differences_are_what_was_given_and_what_came_out(graph):
    first, second = graph.answers[0, 600], graph.answers[1, 600]
    assert [(one.step, one.what, one.first, one.second) for one in differences(first, second)] == [
        ('fit', 'settings penalty', 0.1, 0.2)
    ]
    changed = {(one.step, one.what) for one in differences(first, graph.answers[0, 300])}
    assert changed == {('run', 'temperature'), ('summarise', 'temperature')}
    assert differences(first, first) == []
    missing = differences(first, graph.potentials[0])
    assert {one.step for one in missing} == {'run', 'summarise'} and all(one.second is None for one in missing)


def test_costs_are_those_that_the_steps_report(graph):
    found = {step.name: step for step in cost_by_step(graph.answers[0, 300])}
    assert list(found) == ['fit', 'run', 'summarise']
    assert (found['fit'].wall_s, found['fit'].cpu_s, found['run'].cpu_s) == (3.0, 6.0, None)


def test_every_query_is_a_command_with_a_table_and_json(graph, command, tmp_path):
    potential, answer = graph.potentials[0], graph.answers[0, 300]
    other = graph.answers[1, 600]
    label = graph.dataset.rows[0]['label_id']
    for arguments, key, shown in (
        (('decay-times', potential.pk), 'results', '3.33'),
        (('results', graph.dataset.pk), 'results', '900'),
        (('results', label), 'results', '900'),
        (('cost', answer.pk), 'steps', '6.0'),
        (('differences', answer.pk, other.pk), 'differences', 'penalty'),
        (('labels', answer.pk), 'labels', label),
        (('settings', answer.pk), 'settings', 'penalty'),
    ):
        found = command('query', *arguments, '--json', tmp_path / 'found.json')
        assert found.exit_code == 0, (found.output, found.exception)
        assert shown in found.output
        assert json.loads((tmp_path / 'found.json').read_text())[key]
    assert 'nothing' in command('query', 'differences', answer.pk, answer.pk).output


def test_that_there_is_nothing_is_said(code, command):
    for query, said in (
        ('labels', 'no labelled structure lies behind it'),
        ('settings', 'no calculation lies behind it'),
        ('cost', 'no calculation lies behind it'),
        ('results', 'no answer rests on it'),
    ):
        assert command('query', query, orm.Int(1).store().pk).output == f'{said}\n'


def test_a_label_that_is_nowhere_is_named(graph, command):
    assert 'no-such-label: no data set' in str(command('query', 'results', 'no-such-label').exception)


@calcfunction
def gather(first, second, third):
    return orm.Dict({'verdict': 'decay', 'tau_ns': first['tau_ns'] + second['tau_ns'] + third['tau_ns']})


def test_ways_that_multiply_from_generation_to_generation_are_not_counted(graph):
    answer = graph.answers[0, 300]
    answers = []
    for _ in range(14):
        answer = gather(answer, answer, answer)
        answers.append(answer)
    begin = time.process_time()
    assert len(calculations_behind(answer)) == 14 + 3  # with fit, run and summarise
    assert {one.pk for one in outcomes_of(graph.answers[0, 300])} == {one.pk for one in answers}
    assert len(made_of([graph.answers[0, 300]])) == 14
    assert time.process_time() - begin < 5  # about 0.6; a join that follows each of the 3¹⁴ = 5 million ways takes 12


def test_names_inputs_and_origins_of_many_are_those_of_each(graph):
    calculations = [calculation for answer in graph.answers.values() for calculation in calculations_behind(answer)]
    given, names = inputs_of(calculations), step_names(calculations)
    for calculation in calculations:
        links = calculation.base.links.get_incoming(link_type=LinkType.INPUT_CALC).all()
        pk = pk_of(calculation)
        assert {name: one.pk for name, one in given[pk].items()} == {link.link_label: link.node.pk for link in links}
        origins = {pk_of(link.node): link.node.creator for link in links}
        assert creators_of(origins) == {made: by.pk for made, by in origins.items() if by is not None}
        assert names[pk] == step_name(calculation) == calculation.process_label
    assert not inputs_of([]) and not step_names([]) and not creators_of([])


def test_nothing_rests_on_a_result_that_no_calculation_took(graph):
    answer = graph.answers[0, 300]
    assert not outcomes_of(answer) and not made_of([answer])
