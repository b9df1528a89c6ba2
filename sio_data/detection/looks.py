"""A look at one batch of images on its way through a network, shared by all detectors that want one."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from sio_data.errors import InputError
from sio_data.training.checkpoint import Classifier

Objective = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From features [n, D] and logits [n, C] to one number an image, [n]."""

Reduction = Callable[[torch.Tensor], torch.Tensor]
"""From the maps of a convolution, [n, K, h, w], to something small, [n, ...]."""


@dataclass(frozen=True)
class _Pass:
    features: torch.Tensor
    logits: torch.Tensor
    stages: tuple[torch.Tensor, ...]
    reduced: dict[str, list[torch.Tensor]]


class Look:
    """One batch in one network. All that is asked for is computed once, and most of it in one plain forward pass.

    What that pass has to leave behind is wanted before anything is asked for, by the methods `want_...`.

    Args:
        classifier: In evaluation mode. No parameter requires a gradient.
        images: uint8 [n, 3, H, H], where the classifier is.
        labels: int64 [n]; -1 where an image has none.
        places: int64 [n], which images of their set these are.
    """

    def __init__(
        self, classifier: Classifier, images: torch.Tensor, labels: torch.Tensor, places: torch.Tensor
    ) -> None:
        self.classifier = classifier
        self.images = images
        self.labels = labels
        self.places = places
        self._objectives: dict[str, Objective] = {}
        self._with_stages = False
        self._reductions: dict[str, Reduction] = {}
        self._gradients: dict[str, torch.Tensor] = {}

    def want_gradient(self, name: str, objective: Objective) -> None:
        """Let the plain pass be one that the gradient of an objective at the inputs can go back through.

        Args:
            name: What to ask for; the same name stands for the same objective.
            objective: Each image's number must hang on that image alone.

        Raises:
            InputError: See `require_gradients`.
        """
        require_gradients(self.classifier)
        self._objectives[name] = objective

    def want_stages(self) -> None:
        """Let the plain pass keep the maps of all stages."""
        self._with_stages = True

    def want_convolutions(self, name: str, reduce: Reduction) -> None:
        """Let the plain pass reduce the output of every `nn.Conv2d` as soon as it is there.

        Args:
            name: What to ask for; the same name stands for the same reduction.
            reduce: Must leave its argument as it is.
        """
        self._reductions[name] = reduce

    @cached_property
    def inputs(self) -> torch.Tensor:
        """What the network takes: the images, normalised, float [n, 3, H, H]."""
        return self.classifier.normalise(self.images).requires_grad_(bool(self._objectives))

    @property
    def features(self) -> torch.Tensor:
        """The features, float [n, D]."""
        return self._plain.features.detach()

    @property
    def logits(self) -> torch.Tensor:
        """The logits, float [n, C]."""
        return self._plain.logits.detach()

    @property
    def stage_maps(self) -> tuple[torch.Tensor, ...]:
        """The maps that each stage gives, float [n, K, h, w]."""
        return tuple(maps.detach() for maps in self._plain.stages)

    def reduced(self, name: str) -> list[torch.Tensor]:
        """Give what was made of each convolution's output, in the order in which they ran."""
        return self._plain.reduced[name]

    def gradient(self, name: str) -> torch.Tensor:
        """Give the gradient of an objective at the inputs, float [n, 3, H, H]."""
        if not self._gradients:
            with torch.enable_grad():
                values = {
                    one: aim(self._plain.features, self._plain.logits).sum() for one, aim in self._objectives.items()
                }
            last = [*values][-1]
            for one, value in values.items():
                # What the pass has kept for them goes with the last, before anything else takes memory.
                found = torch.autograd.grad(value, self.inputs, retain_graph=one != last)
                self._gradients[one] = found[0]
        return self._gradients[name]

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the network on changed inputs, float [n, 3, H, H]; give features [n, D] and logits [n, C]."""
        with torch.no_grad():
            features = self.classifier.network(inputs)
            return features, self.classifier.head(features)

    @cached_property
    def _plain(self) -> _Pass:
        reduced: dict[str, list[torch.Tensor]] = {name: [] for name in self._reductions}

        def reduce(_layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
            with torch.no_grad():
                for name, reduction in self._reductions.items():
                    reduced[name].append(reduction(output.detach()))

        layers = [module for module in self.classifier.network.modules() if isinstance(module, nn.Conv2d)]
        hooks = [layer.register_forward_hook(reduce) for layer in layers] if reduced else []
        try:
            with torch.set_grad_enabled(bool(self._objectives)):
                features, stages = self._run()
                return _Pass(features, self.classifier.head(features), stages, reduced)
        finally:
            for hook in hooks:
                hook.remove()

    def _run(self) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        network = self.classifier.network
        if not self._with_stages:
            return network(self.inputs), ()
        maps = [self.inputs]
        for stage in network.stages():
            maps.append(stage(maps[-1]))
        return network.pool(maps[-1]), tuple(maps[1:])


def require_gradients(classifier: Classifier) -> None:
    """Refuse a classifier that no gradient can go through.

    Raises:
        InputError: It was made under `torch.inference_mode`.
    """
    if any(parameter.is_inference() for parameter in classifier.parameters()):
        raise InputError(
            "gradients cannot go through a classifier that was made under torch.inference_mode: make or load it "
            "outside of that."
        )
