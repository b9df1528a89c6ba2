"""The checkpoints of an evaluation: groups of runs, loaded and checked to fit together."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sio_data.detection.detectors import create
from sio_data.detection.measuring import Choice
from sio_data.errors import ClassMapError, InputError
from sio_data.image_set import ImageSet
from sio_data.runs import find_runs
from sio_data.training.checkpoint import Classifier

_MOST_LISTED = 10


class Checkpoints:
    """Groups of runs by name, with the classifier of each run.

    Args:
        places: Folders that `train` made, or single checkpoints.

    Attributes:
        groups: For each name its runs, in the order of the seeds.
        classifiers: That of each run.

    Raises:
        InputError: There is none, one is given twice, or one is unsound.
    """

    def __init__(self, places: Sequence[str | Path]) -> None:
        if not places:
            raise InputError("an evaluation needs a checkpoint at least.")
        if len({Path(one).resolve() for one in places}) != len(places):
            raise InputError("each checkpoint can be given once.")
        self.groups = {_name(one, places): find_runs(one) for one in places}
        runs = [run for several in self.groups.values() for run in several]
        self.classifiers = {run: Classifier.from_pretrained(run) for run in runs}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of the first."""
        return next(iter(self.classifiers.values())).class_names

    @property
    def load_size(self) -> int:
        """To how many pixels images are loaded.

        Raises:
            InputError: The checkpoints differ in it.
        """
        sizes = {classifier.load_size for classifier in self.classifiers.values()}
        if len(sizes) > 1:
            raise InputError(
                f"the checkpoints are for images of different sizes ({sorted(sizes)}); evaluate them apart."
            )
        return sizes.pop()

    def runs(self) -> Iterator[tuple[str, Path, Classifier]]:
        """Give the name of the group, the folder and the classifier of each run."""
        for name, runs in self.groups.items():
            yield from ((name, run, self.classifiers[run]) for run in runs)

    def check_detectors(self, choices: Mapping[str, Choice]) -> None:
        """Refuse detectors that suit no checkpoint at all.

        Raises:
            InputError: There is one, or no detector.
        """
        if not choices:
            raise InputError("an evaluation needs a detector at least.")
        for shown, (name, parameters) in choices.items():
            detector = create(name, **parameters)
            reasons = [detector.misfit(classifier) for classifier in self.classifiers.values()]
            if all(reasons):
                raise InputError(f"{shown} suits none of the checkpoints: {reasons[0]}.")

    def check_classes(self, images: ImageSet) -> None:
        """Refuse known images of other classes.

        Raises:
            ClassMapError: A checkpoint knows others.
        """
        for run, classifier in self.classifiers.items():
            own, others = classifier.class_names, images.class_names
            if {*own} != {*others}:
                raise ClassMapError(
                    f"checkpoint {run} knows the classes {_list_others(own, others)}; {images.name} has "
                    f"{_list_others(others, own)} in their place. Evaluate it on the data that it was trained for."
                )


def _list_others(names: Sequence[str], known: Sequence[str]) -> str:
    """Give the first of the names that are not known."""
    others = [name for name in names if name not in {*known}]
    more = f" and {len(others) - _MOST_LISTED} more" if len(others) > _MOST_LISTED else ""
    return f"{', '.join(others[:_MOST_LISTED])}{more}" if others else "none"


def _name(place: str | Path, all_of_them: Sequence[str | Path]) -> str:
    name = Path(place).name
    alone = sum(Path(other).name == name for other in all_of_them) == 1
    return name if alone and name else str(place)
