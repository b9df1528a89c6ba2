"""Benchmarks by name: which images are ID, near-OOD, far-OOD, and for choosing parameters, as YAML files.

id:                          # a source, whose splits are then used, or a place for each of train, val and test
  classes: cifar10           # names of the labels in lists: a group of `sio_data.class_lists`, or a list of names
  train: {list: cifar10/train_cifar10.txt, hub: uoft-cs/cifar10#train}
  val: {list: cifar10/val_cifar10.txt, hub: uoft-cs/cifar10#test, first: 1000}
  test: {list: cifar10/test_cifar10.txt, hub: uoft-cs/cifar10#test, after: 1000}
near:
  cifar100: {list: cifar10/test_cifar100.txt}
far:
  textures: textures         # a text is a source, see `sio_data.sources`
ood_val: {list: cifar10/val_cifar100.txt}
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from sio_data.class_lists import expand_classes
from sio_data.errors import InputError
from sio_data.image_lists import is_image_list
from sio_data.named_yaml import load_named
from sio_data.source_names import SourceName, Split, without_split

BENCHMARKS = (
    "cifar10",
    "cifar10-v1.5",
    "cifar100",
    "cifar100-v1.5",
    "imagenet-10",
    "imagenet-dogs",
    "imagenet-200",
    "imagenet-1k",
)
GROUPS = ("near", "far")
SPLITS: tuple[Split, ...] = ("train", "val", "test")
OOD_VAL = "ood_val"

_TEXTS, _NAMES, _COUNTS = ("source", "list", "hub"), ("classes", "exclude_classes"), ("first", "after")


@dataclass(frozen=True)
class Place:
    """Where a set of images is found; a place has a source, or a list, or a name on the Hub, or the last two.

    Attributes:
        source: See `sio_data.sources`.
        list: An image list, below `benchmark_imglist` in a folder of OpenOOD's layout.
        hub: A data set on the Hub, with its split: `uoft-cs/cifar10#test`.
        classes: Names of the labels in the list, or groups of them.
        exclude_classes: Classes, or groups of them, whose images are left out.
        first: Of a source or the Hub, take this many images only, each class in proportion.
        after: Leave out those that `first` takes.
    """

    source: str = ""
    list: str = ""
    hub: str = ""
    classes: tuple[str, ...] = ()
    exclude_classes: tuple[str, ...] = ()
    first: int = 0
    after: int = 0


@dataclass(frozen=True)
class OODPlace:
    """An OOD set of a benchmark.

    Attributes:
        group: `near` or `far`.
        name: What to call it.
        place: Where it is found.
    """

    group: str
    name: str
    place: Place


@dataclass(frozen=True)
class Benchmark:
    """Which images an evaluation is made on.

    Attributes:
        name: What to call it.
        id: For `train`, `val` and `test` where the in-distribution images are found.
        ood: The OOD sets.
        ood_val: OOD images for choosing parameters; None if there are none.
        needs_all: Whether a missing OOD set is an error, and not only left out.
    """

    name: str
    id: Mapping[Split, Place]
    ood: tuple[OODPlace, ...]
    ood_val: Place | None = None
    needs_all: bool = False


def load_benchmark(name: str) -> Benchmark:
    """Read a benchmark.

    Args:
        name: One of `BENCHMARKS`, or a YAML file of one's own, whose name ends in `.yaml` or `.yml`. Sources in it are
            named as on the command line, relative to the current folder.

    Raises:
        UnknownNameError: There is no benchmark of that name.
        InputError: There is no such file, or it describes no benchmark; all faults are named.
    """
    return _parse(load_named("benchmark", name, BENCHMARKS, __name__, "with id, near, far and ood_val"), name)


def id_places(id: str) -> dict[Split, Place]:
    """Give the places of the splits of one source, as `--id` names it: a `#split` in it is the test split.

    Raises:
        InputError: It names a split that detectors are fitted on, or an image list, which is one split only.
    """
    whole, named = without_split(id)
    if named in ("train", "val"):
        raise InputError(
            f"{id}: detectors are fitted on that split, not to be judged by it; name a test split, or add test/."
        )
    if is_image_list(SourceName.parse(id).path):
        raise InputError(f"{id} is one list of images; name those for train, val and test in a benchmark file.")
    return {"train": Place(whole), "val": Place(whole), "test": Place(id)}


def is_set_name(name: object) -> bool:
    """Tell whether an OOD set can be called so: a text that is not blank, and not the name of the validation images."""
    return isinstance(name, str) and bool(name.strip()) and name.strip() != OOD_VAL


def _parse(value: dict[Any, Any], name: str) -> Benchmark:
    if faults := list(_find_faults(value)):
        raise InputError(f"benchmark {name}: {'; '.join(faults)}.")
    ood = tuple(
        OODPlace(group, one, _place(place)) for group in GROUPS for one, place in (value.get(group) or {}).items()
    )
    validation = value.get(OOD_VAL)
    return Benchmark(name, _parse_id(value["id"]), ood, None if validation is None else _place(validation))


def _parse_id(value: Any) -> dict[Split, Place]:
    if isinstance(value, str):
        return id_places(value)
    classes = _names(value.get("classes"))
    places = {split: _place(value[split]) for split in SPLITS}
    return {split: replace(place, classes=place.classes or classes) for split, place in places.items()}


def _place(value: Any) -> Place:
    if isinstance(value, str):
        return Place(value)
    parts: dict[str, Any] = {key: _names(part) if key in _NAMES else part for key, part in value.items()}
    return Place(**parts)


def _names(value: str | list[str] | None) -> tuple[str, ...]:
    return tuple([value] if isinstance(value, str) else value or ())


def _find_faults(value: dict[Any, Any]) -> Iterator[str]:
    yield from _unknown(value, ("id", *GROUPS, OOD_VAL), "")
    identity = value.get("id")
    if isinstance(identity, dict):
        yield from _unknown(identity, ("classes", *SPLITS), "id: ")
        yield from _name_faults(identity, "id: ", ("classes",))
        for split in SPLITS:
            yield from _place_faults(identity.get(split), f"id: {split}")
    elif not isinstance(identity, str):
        yield "id must be a source, or a mapping with train, val and test"
    sets: list[object] = []
    for group in GROUPS:
        members = value.get(group) or {}
        if not isinstance(members, dict):
            yield f"{group} must be a mapping of names to places, such as `textures: path/to/folder`"
            continue
        sets += members
        for one, place in members.items():
            if not is_set_name(one):
                yield f"{group}: {one!r} is no name for a set"
            yield from _place_faults(place, f"{group}: {one}")
    if not sets:
        yield "there is no OOD set, near or far"
    yield from (f"{one} is the name of a near and of a far set" for one in {*sets} if sets.count(one) > 1)
    if value.get(OOD_VAL) is not None:
        yield from _place_faults(value[OOD_VAL], OOD_VAL)


def _place_faults(place: object, where: str) -> Iterator[str]:
    if isinstance(place, str) and place.strip():
        return
    if not isinstance(place, dict):
        yield f"{where} must be a source, or a mapping with source, list or hub"
        return
    yield from _unknown(place, [field.name for field in fields(Place)], f"{where}: ")
    for key in _TEXTS:
        if key in place and not (isinstance(place[key], str) and place[key].strip()):
            yield f"{where}: {key} must be a text"
    listed = place.get("list")
    if isinstance(listed, str) and (Path(listed).is_absolute() or ".." in Path(listed).parts):
        yield f"{where}: list must lie below benchmark_imglist; name a list elsewhere as a source"
    for key in _COUNTS:
        if key in place and not (type(place[key]) is int and place[key] > 0):
            yield f"{where}: {key} must be a number of images"
    yield from _name_faults(place, f"{where}: ", _NAMES)
    if ("source" in place) == ("list" in place or "hub" in place):
        yield f"{where} needs either source, or list or hub or both"
    if "first" in place and "after" in place:
        yield f"{where}: first and after exclude each other"
    if ("first" in place or "after" in place) and not ("source" in place or "hub" in place):
        yield f"{where}: first and after cut a source or the Hub's images; a list is cut already"


def _name_faults(value: dict[Any, Any], where: str, keys: tuple[str, ...]) -> Iterator[str]:
    for key in keys:
        found = value.get(key, "")
        if not isinstance(found, str) and not (isinstance(found, list) and all(isinstance(one, str) for one in found)):
            yield f"{where}{key} must be a group of classes or a list of names"
        elif len({*(names := expand_classes(_names(found)))}) != len(names):
            yield f"{where}{key} holds a name twice"


def _unknown(value: dict[Any, Any], known: Any, where: str) -> Iterator[str]:
    yield from (f"{where}{key!r} is not among {', '.join(known)}" for key in value if key not in known)
