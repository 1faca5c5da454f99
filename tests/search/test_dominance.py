"""What beats what, against definitions written out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xcompose.search.dominance import ENOUGH, MARGIN, Finished, beaten_by, dominates, front, outlook

POINTS = st.integers(1, 3).flatmap(
    lambda k: st.lists(st.tuples(*[st.integers(0, 4).map(float)] * k), min_size=1, max_size=12)
)


def test_a_point_beats_another_that_is_nowhere_smaller_and_somewhere_larger():
    assert dominates((1.0, 2.0), (1.0, 3.0))
    assert not dominates((1.0, 2.0), (1.0, 2.0))
    assert not dominates((0.0, 4.0), (1.0, 3.0))


@given(POINTS)
def test_the_front_is_what_no_point_beats(points):
    wanted = []
    for i, p in enumerate(points):
        beaten = False
        for q in points:
            larger, smaller = False, False
            for x, y in zip(q, p, strict=True):
                larger, smaller = larger or x > y, smaller or x < y
            beaten = beaten or (smaller and not larger)
        if not beaten:
            wanted.append(i)

    assert front(points) == wanted
    assert wanted


@given(POINTS, st.data())
def test_the_outlook_grants_the_largest_gain_and_a_half(finals, data):
    size = len(finals[0])
    now = data.draw(st.tuples(*[st.integers(0, 9).map(float)] * size))
    curves = [data.draw(st.tuples(*[st.integers(0, 9).map(float)] * size)) for _ in finals]
    has = [data.draw(st.booleans()) for _ in finals]
    finished = [
        Finished(i, final, {0.5: curve} if there else {})
        for i, (final, curve, there) in enumerate(zip(finals, curves, has, strict=True))
    ]

    hoped = outlook(now, 0.5, finished)

    if sum(has) < ENOUGH:
        assert hoped is None
        assert beaten_by(now, 0.5, finished) is None
        return
    wanted = []
    for i in range(size):
        gain = 0.0
        for final, curve, there in zip(finals, curves, has, strict=True):
            if there:
                gain = max(gain, curve[i] - final[i])
        wanted.append(now[i] - (1 + MARGIN) * gain)
    assert hoped == wanted
    better = [f for f in finished if dominates(f.final, wanted)]
    assert beaten_by(now, 0.5, finished) == (better[0] if better else None)


def test_figures_that_training_does_not_move_gain_nothing():
    finished = [Finished(i, (1.0, 5.0), {0.5: (2.0, 5.0)}) for i in range(ENOUGH)]

    assert outlook((4.0, 7.0), 0.5, finished) == [2.5, 7.0]
    assert beaten_by((4.0, 7.0), 0.5, finished) == finished[0]
    assert beaten_by((4.0, 4.0), 0.5, finished) is None
    assert beaten_by((2.4, 7.0), 0.5, finished) is None
    assert beaten_by((4.0, 7.0), 0.25, finished) is None
