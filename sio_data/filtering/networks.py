"""The networks and the real images that a filter needs, opened and checked before anything is looked at."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from sio_data.device import pick_device
from sio_data.errors import ClassMapError, InputError
from sio_data.filtering.judging import Judge
from sio_data.filtering.rules import Rules
from sio_data.quality.comparison import RealSplits
from sio_data.quality.extractors import Extractor, checkpoint_extractor, open_extractor, weights_revision
from sio_data.recipe import Option
from sio_data.sets import SyntheticSet
from sio_data.training.checkpoint import Classifier


@dataclass(frozen=True, eq=False)
class Networks:
    """What looks at the images.

    Attributes:
        judge: Looks at them.
        rules: The rules, with every bound known.
        known: The classifier's classes; the set's own without one.
        image_size: Pixels that images are brought to for it.
        about: What the new set records of the networks and the real images.
    """

    judge: Judge
    rules: Rules
    known: tuple[str, ...]
    image_size: int
    about: Mapping[str, Option]

    @classmethod
    def open(
        cls,
        rules: Rules,
        synthetic: SyntheticSet,
        classifier: str | None,
        features: str | None,
        real: str | None,
        device: str | None,
    ) -> "Networks":
        """Open what the rules need.

        Raises:
            InputError: Something that a rule needs was not given, something was given that none needs, or it cannot be
                opened.
            ClassMapError: The classifier does not know a class of the set.
        """
        target = pick_device(device)
        _check_needs(rules, classifier, features, real)
        names = synthetic.manifest.recipe.class_names
        about: dict[str, Option] = {}
        model = extractor = images = None
        if classifier is not None:
            model = Classifier.from_pretrained(classifier).to(target)
            about["classifier"] = weights_revision(model)
            if unknown := [name for name in names if name not in model.class_names]:
                raise ClassMapError(
                    f"{synthetic.folder} has the class(es) {', '.join(unknown)}, which the classifier does not know. "
                    f"It knows {', '.join(model.class_names)}. Classes are matched by name."
                )
        if rules.needs_real:
            extractor = _open_extractor(features, model, classifier, target)
            about["features"] = extractor.revision
        size = _image_size(model, extractor, synthetic)
        if rules.needs_real and real is not None:
            images = RealSplits.load(real, size, needs_test=False)
            about["real"] = images.train.digest
        judge = Judge(model if rules.needs_classifier else None, extractor, images, target)
        if rules.needs_real and rules.ratio is None:
            rules = replace(rules, ratio=judge.choose_ratio())
        return cls(judge, rules, model.class_names if model else names, size, about)


def _check_needs(rules: Rules, classifier: str | None, features: str | None, real: str | None) -> None:
    if rules.needs_classifier and classifier is None:
        raise InputError("keeping the surest and dropping what disagrees need a checkpoint: give --classifier.")
    if rules.needs_real and real is None:
        raise InputError("dropping near-copies needs the real training images: give --real.")
    unused = {
        "--classifier": classifier and not rules.needs_classifier and (features or not rules.needs_real),
        "--features": features and not rules.needs_real,
        "--real": real and not rules.needs_real,
    }
    for option in (name for name, idle in unused.items() if idle):
        raise InputError(f"no rule has a use for {option}: leave it out, or add a --drop or --keep that needs it.")


def _open_extractor(
    features: str | None, model: Classifier | None, classifier: str | None, device: torch.device
) -> Extractor:
    if features is not None:
        return open_extractor(features, device)
    if model is None:
        raise InputError("near-copies are looked for in the features of a network: give --features or --classifier.")
    return checkpoint_extractor(model, str(classifier))


def _image_size(model: Classifier | None, extractor: Extractor | None, synthetic: SyntheticSet) -> int:
    sizes = {model.image_size if model else None, extractor.image_size if extractor else None} - {None}
    if len(sizes) > 1:
        raise InputError(f"classifier and features take images of different sizes: {sizes}.")
    return sizes.pop() or 0 if sizes else synthetic.manifest.recipe.image_size
