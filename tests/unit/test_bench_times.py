"""What `make bench` makes of the times of calls."""

from bench.times import EDGE, growth, summary


def test_percentiles_are_measured_values_in_milliseconds() -> None:
    assert summary([0.004, 0.001, 0.002]) == {"count": 3, "p50": 2.0, "p99": 4.0, "max": 4.0}


def test_growth_is_of_the_last_beside_the_first_and_the_middle_does_not_count() -> None:
    found = growth([0.002] * EDGE + [9.0] * 50 + [0.003] * EDGE)
    assert (found["first"]["p50"], found["last"]["p50"]) == (2.0, 3.0)
    assert (found["ratio"], found["low"], found["high"]) == (1.5, 1.5, 1.5)


def test_the_interval_holds_the_ratio_and_is_the_same_again() -> None:
    times = [0.001 * (number % 7 + 1) for number in range(250)]
    found = growth(times)
    assert found["low"] < found["ratio"] < found["high"]
    assert growth(times) == found
