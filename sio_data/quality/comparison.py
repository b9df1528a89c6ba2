"""What `measure` compares a set with: networks and real images, checked before anything takes long."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sio_data.commands import shown_place
from sio_data.errors import ClassMapError, InputError, UnknownNameError
from sio_data.image_set import ImageSet
from sio_data.quality.agreement import Counts, summarise_agreement
from sio_data.quality.extractors import Extractor, checkpoint_extractor, open_extractor, weights_revision
from sio_data.quality.findings import Agreement, Network, RealImages
from sio_data.sets import SyntheticSet
from sio_data.source_names import SourceName, Split
from sio_data.sources import load_source
from sio_data.training.checkpoint import Classifier


@dataclass(frozen=True, eq=False)
class Networks:
    """The networks that look at the images.

    Attributes:
        extractor: Gives the features.
        judge: Names the classes; None if it is not to.
        judge_name: How the judge was named.
        shared: Whether the features are the judge's own.
    """

    extractor: Extractor
    judge: Classifier | None
    judge_name: str
    shared: bool = False

    @classmethod
    def open(cls, features: str | Extractor | None, classifier: str | Path | None, device: torch.device) -> "Networks":
        """Open them; see `measure`.

        Raises:
            InputError: Neither is named, or one is unsound.
        """
        judge = Classifier.from_pretrained(classifier).to(device) if classifier else None
        name = str(classifier)
        if isinstance(features, Extractor):
            return cls(features, judge, name)
        if features is not None:
            return cls(open_extractor(features, device), judge, name)
        if judge is None:
            raise InputError(
                "distances are measured in the features of a network, and none was named: give --features "
                "(a checkpoint, or transformers:NAME) or --classifier, whose features are then taken."
            )
        return cls(checkpoint_extractor(judge, name), judge, name, shared=True)

    def check(self, synthetic: SyntheticSet, real_size: int, size: int) -> None:
        """Refuse what cannot be compared.

        Args:
            synthetic: The set.
            real_size: Pixels of the real images.
            size: Pixels that the set's images are brought to.

        Raises:
            InputError: The sizes are not the same, or not the networks'.
            ClassMapError: The judge does not know a class of the set.
        """
        if real_size != size:
            raise InputError(
                f"{synthetic.folder} has images of {size}x{size} pixels, the real ones have {real_size}x{real_size}. "
                "Give --image-size."
            )
        taken = {self.extractor.image_size, self.judge.image_size if self.judge else None} - {None, size}
        if taken:
            raise InputError(f"a checkpoint takes images of {taken.pop()} pixels, not {size}. Give --image-size.")
        known = self.judge.class_names if self.judge else synthetic.manifest.recipe.class_names
        if unknown := [name for name in synthetic.manifest.recipe.class_names if name not in known]:
            raise ClassMapError(
                f"{synthetic.folder} has the class(es) {', '.join(unknown)}, which the classifier does not know. It "
                f"knows {', '.join(known)}. Classes are matched by name."
            )

    def match_classes(self, images: ImageSet) -> ImageSet:
        """Give real images in the judge's class map, if there is a judge.

        Raises:
            ClassMapError: An image has no label, or one that the judge does not know.
        """
        return images.require_labels().with_class_names(self.judge.class_names) if self.judge else images

    def agreement(self, confusion: Counts, held_out: Counts, names: Sequence[str]) -> Agreement | None:
        """Summarise what the judge said, if there is one; see `summarise_agreement`."""
        if self.judge is None:
            return None
        judge = Network(shown_place(self.judge_name), weights_revision(self.judge))
        return summarise_agreement(judge, confusion, held_out, names, self.judge.class_names)


@dataclass(frozen=True, eq=False)
class RealSplits:
    """The real images.

    Attributes:
        train: What the set is compared to.
        held_out: What to expect of images that copy nothing.
        split: Which split these are.
    """

    train: ImageSet
    held_out: ImageSet
    split: Split

    @classmethod
    def load(cls, real: str, image_size: int | None, needs_test: bool) -> "RealSplits":
        """Load all training images and the test split; without one, the two parts of the training split.

        Raises:
            UnknownNameError: There is no such source, or no test split where one is needed.
            InputError: See `load_source`; or the name is of one split alone where a test split is needed.
        """
        if not SourceName.parse(real).split:
            try:
                test = load_source(real, "test", image_size=image_size)
            except UnknownNameError:
                if needs_test:
                    raise
            else:
                return cls(load_source(real, "train", image_size=image_size, hold_out=False), test, "test")
        elif needs_test:
            raise InputError(f"{real} is one split alone; the accuracy score needs a test split beside it.")
        train, val = (load_source(real, split, image_size=image_size) for split in ("train", "val"))
        return cls(train, val, "val")

    def describe(self, name: str) -> RealImages:
        """Say what they are, by their source's name."""
        return RealImages(shown_place(name), self.train.digest, len(self.train), self.split, len(self.held_out))
