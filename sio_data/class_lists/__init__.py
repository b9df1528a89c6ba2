"""Class names of the field's data sets, in their own order, and the groups that `--class` knows.

ImageNet's names are the first lemmas of its synsets; the two that occur twice (crane, maillot) are told apart in
brackets. The groups are those of SIO's experiments (arXiv 2303.14531), and ImageNet-200, which has the classes of
ImageNet-R (arXiv 2006.16241).
"""

from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files

_IMAGENET_10 = (31, 62, 94, 207, 281, 404, 569, 751, 814, 949)
_IMAGENET_DOGS = range(151, 251)


@cache
def imagenet_names() -> tuple[str, ...]:
    """Give the 1000 class names of ImageNet-1k, in its order; no two are alike."""
    return tuple(line.partition(" ")[2] for line in _lines("imagenet"))


@cache
def imagenet_wnids() -> tuple[str, ...]:
    """Give the 1000 WordNet ids of ImageNet-1k, like `n01440764`: the names of its folders."""
    return tuple(line.partition(" ")[0] for line in _lines("imagenet"))


def _lines(name: str) -> tuple[str, ...]:
    return tuple(files(__name__).joinpath(f"{name}.txt").read_text(encoding="utf-8").splitlines())


_GROUPS: dict[str, Callable[[], Sequence[str]]] = {
    "cifar10": lambda: _lines("cifar10"),
    "cifar100": lambda: _lines("cifar100"),
    "imagenet": imagenet_names,
    "imagenet-10": lambda: [imagenet_names()[index] for index in _IMAGENET_10],
    "imagenet-dogs": lambda: [imagenet_names()[index] for index in _IMAGENET_DOGS],
    "imagenet-200": lambda: [imagenet_names()[imagenet_wnids().index(wnid)] for wnid in _lines("imagenet-200")],
    "imagenet:wnid": imagenet_wnids,
    "imagenet-10:wnid": lambda: [imagenet_wnids()[index] for index in _IMAGENET_10],
    "imagenet-dogs:wnid": lambda: [imagenet_wnids()[index] for index in _IMAGENET_DOGS],
    "imagenet-200:wnid": lambda: _lines("imagenet-200"),
}
GROUP_NAMES = tuple(_GROUPS)


def expand_classes(classes: Sequence[str]) -> tuple[str, ...]:
    """Put the members of a group, like `imagenet-10`, in the place of its name; other names stay."""
    return tuple(name for entry in classes for name in (_GROUPS[entry]() if entry in _GROUPS else (entry,)))
