"""Records: made, read and compared like frozen dataclasses, by position or by name, with defaults."""

import pickle
from collections.abc import Callable

import pytest

from cartesia_cli.record import Record


def twice(number: int) -> int:
    return 2 * number


class Sum(Record):
    first: int
    second: int = 3
    change: Callable[[int], int] = twice

    @property
    def total(self) -> int:
        return self.change(self.first + self.second)


def test_fields_of_a_record_are_given_by_position_or_name_and_have_defaults() -> None:
    assert [Sum(1).total, Sum(1, 2).total, Sum(second=5, first=1).total, Sum(1, change=abs).total] == [8, 6, 12, 4]
    assert Sum(1) == Sum(1, 3) != Sum(1, 2)
    assert Sum(1) != (1, 3, twice)
    assert repr(Sum(1, 2, abs)) == "Sum(first=1, second=2, change=<built-in function abs>)"


def test_a_record_needs_all_fields_without_a_default_and_takes_no_others() -> None:
    for values, named in [((), {}), ((), {"second": 1}), ((1,), {"third": 3}), ((1, 2, abs, 4), {})]:
        with pytest.raises(TypeError, match="the fields of Sum are first, second, change"):
            Sum(*values, **named)


def test_a_copy_of_a_record_has_other_values_of_some_fields() -> None:
    assert Sum(1)._replace(second=5, change=abs) == Sum(1, 5, abs)
    with pytest.raises(TypeError, match="the fields of Sum are"):
        Sum(1)._replace(third=3)


def test_a_record_can_be_sent_to_another_process() -> None:
    assert pickle.loads(pickle.dumps(Sum(1, 2))) == Sum(1, 2)
