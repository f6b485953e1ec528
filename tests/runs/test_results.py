"""What tables call splits and in which order systems stand."""

from __future__ import annotations

import pytest

from medisum_utils.runs import results


def test_a_split_that_stands_twice_says_which_protocol_it_is():
    titles = results.split_titles(["test1", "test1_named", "aci_test1"])
    assert titles == {
        "test1": "test1, header predicted",
        "test1_named": "test1, header given",
        "aci_test1": "aci_test1",
    }
    assert results.split_titles(["test", "test_unseen"]) == {
        "test": "test",
        "test_unseen": "test_unseen",
    }


@pytest.mark.parametrize(
    ("systems", "expected"),
    [
        (
            ["finetuned", "mine", "base", "nearest", "copy"],
            ["nearest", "copy", "base", "mine", "finetuned"],
        ),
        (["copy", "nearest", "finetuned", "base"], ["copy", "nearest", "base", "finetuned"]),
    ],
)
def test_what_needs_no_model_stands_first_in_the_order_it_came(systems, expected):
    assert results.in_order(systems) == expected
