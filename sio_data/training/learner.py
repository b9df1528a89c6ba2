"""One update: forward, SIO objective, backward, SGD; and all tensors that a training changes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sio_data.training.checkpoint import Classifier
from sio_data.training.methods.base import Losses, Method, TrainingBatch
from sio_data.training.objective import sio_loss, weight_sums
from sio_data.training.ranks import Ranks
from sio_data.training.settings import TrainingSettings

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Learner:
    """A classifier in training.

    Args:
        settings: The recipe.
        classifier: On the device of the training.
        method: The training method.
        state: What it made for itself, on the same device.
        ranks: The processes that train together.
    """

    def __init__(
        self, settings: TrainingSettings, classifier: Classifier, method: Method, state: nn.Module, ranks: Ranks
    ) -> None:
        self._settings, self._ranks = settings, ranks
        self._device = next(classifier.parameters()).device
        self._parts = nn.ModuleDict({"classifier": classifier, "method": state})
        step: nn.Module = _Step(method, classifier, state)
        step = torch.compile(step) if settings.compile else step  # type: ignore[assignment]
        self._step = DistributedDataParallel(step) if ranks.world > 1 else step
        self._optimizer = torch.optim.SGD(
            _parameter_groups(classifier, state, settings.weight_decay),
            settings.learning_rate,
            momentum=settings.momentum,
            nesterov=settings.nesterov and settings.momentum > 0,
            fused=True,
        )
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=settings.precision == "fp16")
        self._averaged: AveragedModel | None = None
        if settings.ema is not None:
            decay = get_ema_multi_avg_fn(settings.ema)
            self._averaged = AveragedModel(classifier, multi_avg_fn=decay, use_buffers=True)
            self._parts["averaged"] = self._averaged

    @property
    def classifier(self) -> Classifier:
        """The classifier to judge and to keep: with the averaged weights, if there are any."""
        kept: Any = self._averaged.module if self._averaged else self._parts["classifier"]
        return kept  # type: ignore[no-any-return]

    def update(self, batch: TrainingBatch, rate: float) -> torch.Tensor:
        """Make one update.

        Args:
            batch: This rank's part of the global batch, prepared by the method.
            rate: Learning rate.

        Returns:
            The loss of this rank's part, a scalar on the device; the mean over the ranks is that of the whole batch.
        """
        settings = self._settings
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._parts.train()
        lower = settings.precision != "fp32"
        with torch.autocast(self._device.type, _DTYPES[settings.precision], enabled=lower):
            losses = self._step(batch)
        loss = self._weigh(losses)
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        if settings.clip_norm is not None:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._trained(), settings.clip_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        if self._averaged:
            self._averaged.update_parameters(self._parts["classifier"])
        return loss.detach()

    def _weigh(self, losses: Losses) -> torch.Tensor:
        """Apply the SIO objective to the whole batch, of which this rank has a part."""
        weights = torch.ones_like(losses.each) if losses.weights is None else losses.weights
        sums = self._ranks.add_up(weight_sums(losses.is_synthetic, weights.detach()))
        settings = self._settings
        loss = sio_loss(losses.each.float(), losses.is_synthetic, settings.alpha, settings.mix, weights, sums)
        loss = loss * self._ranks.world  # gradients are averaged over the ranks
        return loss if losses.extra is None else loss + losses.extra

    def _trained(self) -> list[nn.Parameter]:
        return [parameter for group in self._optimizer.param_groups for parameter in group["params"]]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Give all tensors that a training changes, by name, as they are: weights, buffers and momentum."""
        momentum = {
            f"momentum.{index}": self._optimizer.state[parameter]["momentum_buffer"]
            for index, parameter in enumerate(self._trained())
            if "momentum_buffer" in self._optimizer.state.get(parameter, {})
        }
        return dict(self._parts.state_dict()) | momentum

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over what `tensors` gave; rank 0's goes to all ranks."""
        momentum = {name: value for name, value in tensors.items() if name.startswith("momentum.")}
        self._parts.load_state_dict({name: value for name, value in tensors.items() if name not in momentum})
        trained = self._trained()
        for name, value in momentum.items():
            parameter = trained[int(name.removeprefix("momentum."))]
            # It must lie in memory as the weights do: the fused update goes through both side by side.
            self._optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(value)

    def scale(self) -> dict[str, float]:
        """Give what the gradients of `fp16` are scaled by, and since when."""
        return self._scaler.state_dict()

    def load_scale(self, scale: Mapping[str, float]) -> None:
        """Take over what `scale` gave."""
        if scale:
            self._scaler.load_state_dict(dict(scale))


class _Step(nn.Module):
    """The method's forward pass as one module, to be compiled and to be run by several ranks."""

    def __init__(self, method: Method, classifier: Classifier, state: nn.Module) -> None:
        super().__init__()
        self.method, self.classifier, self.state = method, classifier, state

    def forward(self, batch: TrainingBatch) -> Losses:
        return self.method.losses(self.classifier, batch, self.state)


def _parameter_groups(classifier: Classifier, state: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    exempt = {
        id(module.get_parameter(name))
        for module in (classifier.head, state)
        for name in getattr(module, "without_decay", ())
    }
    parameters = [*classifier.parameters(), *state.parameters()]
    groups = [
        {"params": [one for one in parameters if id(one) not in exempt], "weight_decay": weight_decay},
        {"params": [one for one in parameters if id(one) in exempt], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
