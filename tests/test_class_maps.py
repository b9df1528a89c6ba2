"""Classes are matched by their names."""

import pytest

from sio_data.class_maps import match_classes
from sio_data.errors import ClassMapError


class Name(str):
    """A name that counts how often it is compared."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        Name.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_each_class_has_its_place_in_the_other_map() -> None:
    assert match_classes(("dog", "cat"), ("cat", "cow", "dog"), "set") == [2, 0]
    with pytest.raises(ClassMapError, match=r"set has the class\(es\) ape, yak, which are not among cat, cow"):
        match_classes(("cat", "ape", "yak"), ("cat", "cow"), "set")


def test_many_classes_take_few_comparisons() -> None:
    wanted = [Name(f"class {number}") for number in range(2000)]
    own = [Name(name) for name in reversed(wanted)]
    assert match_classes(own, wanted, "set") == list(reversed(range(2000)))
    assert Name.compared < 20_000
