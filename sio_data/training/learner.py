"""One update: forward, SIO objective, backward, SGD; and all tensors that a training changes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
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
        step = _Step(method, classifier, state)
        self._step: nn.Module = torch.compile(step) if settings.compile else step  # type: ignore[assignment]
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
            The loss of the whole batch, a scalar on the device.
        """
        settings = self._settings
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._parts.train()
        self._ranks.make_same(self._parts["method"].buffers())
        lower = settings.precision != "fp32"
        with torch.autocast(self._device.type, _DTYPES[settings.precision], enabled=lower):
            losses = self._step(batch)
        loss = self._weigh(losses)
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        self._average_gradients()
        if settings.clip_norm is not None:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._trained(), settings.clip_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        if self._averaged:
            self._averaged.update_parameters(self._parts["classifier"])
        return self._ranks.add_up(loss.detach().clone()) / self._ranks.world

    def _average_gradients(self) -> None:
        """Give each rank the mean of all ranks' gradients, always added up in the same order.

        `DistributedDataParallel` sorts them anew after its first step, so that a resumed training would add up in
        another order than one that went on, and differ in last bits.
        """
        if self._ranks.world == 1:
            return
        for parameter in self._trained():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in self._trained() if parameter.grad is not None]
        total = self._ranks.add_up(torch.cat([gradient.reshape(-1) for gradient in gradients])) / self._ranks.world
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, mean in zip(gradients, total.split(sizes), strict=True):
            gradient.copy_(mean.view(gradient.shape))

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
        """Take over what `tensors` gave."""
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
