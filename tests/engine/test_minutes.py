"""Pushes a minute."""

from headrace.engine.minutes import SHOWN, Minutes


def test_pushes_are_counted_in_the_minute_in_which_they_end() -> None:
    minutes = Minutes()
    for at, succeeded in ((600.0, True), (659.9, False), (660.0, True)):
        minutes.add(at, succeeded=succeeded)
    last = minutes.last(700.0)
    assert (last.times[-2:], last.done[-2:], last.failed[-2:]) == ([600, 660], [1, 1], [1, 0])
    assert len(last.times) == SHOWN


def test_what_is_over_an_hour_old_is_not_kept() -> None:
    minutes = Minutes()
    minutes.add(0.0, succeeded=True)
    minutes.add(60.0 * SHOWN, succeeded=True)
    assert sum(minutes.last(60.0 * SHOWN).done) == 1
    assert sum(minutes.last(60.0 * 3 * SHOWN).done) == 0


def test_a_clock_that_goes_back_loses_no_count_of_its_minute() -> None:
    minutes = Minutes()
    for at in (120.0, 60.0, 61.0):
        minutes.add(at, succeeded=True)
    assert minutes.last(60.0).done[-1] == 2
