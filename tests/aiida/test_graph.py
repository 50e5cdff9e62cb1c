"""Claims about the picture of the provenance."""

from aiida_ufpnmr.tools.graph import Box, folded, layers, svg


def box(text, kind='calculation'):
    return Box(text, '#', kind)


#: Four structures are labelled, one by one; two calculations of another name use the labels.
BOXES = {
    1: box('data set', 'data'), 2: box('select'),
    **{pk: box('structure', 'data') for pk in range(3, 7)}, **{pk: box('label') for pk in range(7, 11)},
    11: box('collect'), 12: box('fit potential'), 13: box('fit efg'), 14: box('answer', 'answer'),
}  # fmt: skip
ARROWS = [
    (1, 2), *((2, pk) for pk in range(3, 7)), *((pk, pk + 4) for pk in range(3, 7)), *((pk, 11) for pk in range(7, 11)),
    (11, 12), (11, 13), (12, 14), (13, 14),
]  # fmt: skip


def test_what_was_done_many_times_is_drawn_once():
    boxes, arrows = folded(BOXES, ARROWS)
    assert [b.text for b in boxes.values()] == [
        'data set', 'select', '4 × structure', '4 × label', 'collect', 'fit potential', 'fit efg', 'answer'
    ]  # fmt: skip
    assert arrows == [(1, 2), (2, 3), (3, 7), (7, 11), (11, 12), (11, 13), (12, 14), (13, 14)]
    assert max(map(len, layers(boxes, arrows))) == 2


def test_what_has_another_origin_is_not_taken_for_the_same():
    boxes = {**{pk: box('data set', 'data') for pk in (1, 2)}, 3: box('fit'), 4: box('fit'), 5: box('answer', 'answer')}
    arrows = [(1, 3), (2, 4), (3, 5), (4, 5)]
    assert folded(boxes, arrows) == (boxes, arrows)


def test_names_are_no_markup():
    assert '<b>' not in svg({1: box('a <b> & c')}, []) and 'a &lt;b&gt; &amp; c' in svg({1: box('a <b> & c')}, [])
