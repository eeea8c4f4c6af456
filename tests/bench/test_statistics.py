"""Medians, spreads and differences of the benchmark's measurements."""

from __future__ import annotations

import numpy as np
import pytest

from bench.statistics import difference, line, power, round_ratios, summaries, summary


def run(times, i=0, case="forward", peer="engine", **more):
    return {"case": case, "peer": peer, "round": i, "times": times, **more}


def test_the_time_is_the_median_of_all_passes_and_the_spread_that_of_the_rounds():
    rounds = [run([1.0, 2.0, 3.0], memory=5), run([4.0, 4.0, 4.0], memory=9)]
    result = summary(rounds)
    assert (result.seconds, result.low, result.high, result.memory) == (3.5, 2.0, 4.0, 9)
    assert result.spread == pytest.approx(1 / 3.5)


def test_on_a_device_the_memory_is_the_device_s():
    assert summary([run([1.0], memory=5, device_memory=70)]).memory == 70


def test_other_measurements_are_kept_by_name():
    assert summary([run([1.0], first=3.0), run([1.0], first=5.0)]).extra == {"first": 4.0}


def test_runs_are_grouped_by_case_and_peer_in_the_order_of_the_rounds():
    results = {
        "runs": [
            run([2.0], 1, peer="bvlc"),
            run([1.0], 0),
            run([4.0], 0, peer="bvlc"),
            run([7.0], 0, case="load"),
        ]
    }
    cases = summaries(results)
    assert list(cases) == ["forward", "load"] and list(cases["forward"]) == ["engine", "bvlc"]
    assert cases["forward"]["bvlc"].seconds == 3.0


def test_differences_are_shares_of_the_largest_score_and_of_the_pixels():
    theirs = np.zeros((1, 2, 2, 2), np.float32)
    theirs[0, 0] = [[4, 1], [1, 1]]
    ours = theirs.copy()
    ours[0, 1, 1, 1] = 2
    assert difference(ours, theirs) == {"scores": 0.5, "labels": 0.25}
    assert difference(theirs, theirs) == {"scores": 0.0, "labels": 0.0}
    assert difference(np.ones(3), np.full(3, 2.0))["labels"] is None


def test_a_value_that_is_not_a_number_does_not_agree():
    ours = np.array([1.0, np.nan])
    assert not difference(ours, np.ones(2))["scores"] <= 1e30


def test_scores_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"scores of shape \(3,\), needs \(2,\)"):
        difference(np.ones(3), np.ones(2))


def test_the_exponent_of_a_power_law_is_fitted():
    areas = [1.0, 4.0, 9.0, 100.0]
    assert power(areas, [3 * a**1.5 for a in areas]) == pytest.approx(1.5)


def test_a_straight_line_is_fitted():
    areas = [1.0, 4.0, 9.0, 100.0]
    assert line(areas, [3 + 2 * a for a in areas]) == pytest.approx((3, 2))


def test_ratios_of_rounds_compare_what_was_measured_close_together():
    ours = [run([2.0, 2.0], 1), run([1.0, 3.0], 0), run([9.0], 2)]
    theirs = [run([4.0], 0, peer="other"), run([1.0], 1, peer="other")]
    assert round_ratios(ours, theirs) == [0.5, 2.0]
