"""Virtual outlier synthesis (Du et al., ICLR 2022, arXiv 2202.01197).

    L = CE(f(x), y) + beta L_uncertainty
    L_uncertainty = mean[-log sigmoid(phi(E(x))) over images, -log sigmoid(-phi(E(v))) over virtual outliers]
    E = log sum_c w_c exp f_c,  phi(E) = a E + b

f are the logits; w > 0, a and b are trained with the network. A virtual outlier v is a feature: of 10,000 draws from
N(mu_c, Sigma) the least likely one, for each class c. mu_c is the mean of a queue of 1,000 features a class, Sigma the
covariance that all classes share, + 1e-4 I. The loss counts from 40 % of the training on, and once every class has
filled its queue. The gradient reaches the network through E(x), and the head through E(v), too.

What differs from the released code:

- w is exp of the trained parameters, so that it stays positive, and starts at 1, where E is the energy that detectors
  use; a and b start at 1 and 0. There w is uniform in [0, 1) at first, and ReLU can put out all of it.
- The draws are not made: see `draw_least_likely`.

As there, each image and each virtual outlier counts the same in the mean, where the paper's formula takes one mean of
each. In OpenOOD no gradient reaches the network, and the loss counts from the first epoch.

Synthetic images are in-distribution: they are in the queues and in E(x) like the real ones, whatever alpha is.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from scipy.special import chdtri
from torch import nn

from sio_data.training.methods.base import Losses, Method, TrainingBatch
from sio_data.training.methods.parameters import check_count, check_not_negative, check_share

if TYPE_CHECKING:
    from sio_data.training.checkpoint import Classifier

_RIDGE = 1e-4  # of the covariance
_MOST_QUEUED = 100_000
_MOST_DRAWS = 10**9
_TINY = 1e-300  # instead of a uniform number of 0, which has no logarithm


class FeatureQueues(nn.Module):
    """The last features of each class, and the energy that is trained on them.

    Args:
        classes: C.
        features: D.
        length: Q, how many features a class keeps.

    Attributes:
        queued: float32 [C, Q, D].
        seen: int64 [C], how many features of each class there have been; the next one takes place `seen % Q`.
        log_weights: [C], log w of the energy.
        slope: a of the logistic regression.
        bias: b of it.
    """

    without_decay = ("log_weights", "slope", "bias")
    queued: torch.Tensor
    seen: torch.Tensor

    def __init__(self, classes: int, features: int, length: int) -> None:
        super().__init__()
        self.register_buffer("queued", torch.zeros(classes, length, features))
        self.register_buffer("seen", torch.zeros(classes, dtype=torch.int64))
        self.log_weights = nn.Parameter(torch.zeros(classes))
        self.slope = nn.Parameter(torch.ones(()))
        self.bias = nn.Parameter(torch.zeros(()))

    @torch.no_grad()
    def push(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        """Let features, float [B, D], take the places of the oldest ones of their classes."""
        length = self.queued.shape[1]
        members = (labels[:, None] == torch.arange(len(self.seen), device=labels.device)).long()
        earlier = (members.cumsum(0) - members).gather(1, labels[:, None]).squeeze(1)
        places = labels * length + (self.seen[labels] + earlier) % length
        # Where one place is taken twice, both write the later feature, so that the order of writing does not matter.
        numbers = torch.arange(len(labels), device=labels.device)
        latest = torch.where(places[:, None] == places, numbers, -1).amax(1)
        self.queued.view(-1, features.shape[1])[places] = features.float()[latest]
        self.seen += members.sum(0)

    @torch.no_grad()
    def outliers(self, draws: torch.Tensor) -> torch.Tensor:
        """Give virtual outliers, float32 [C * K, D], from draws of a standard normal distribution, float32 [C, K, D].

        Should rounding leave the covariance without a Cholesky factor, the variances alone are used.
        """
        means = self.queued.mean(1, keepdim=True)
        centred = (self.queued - means).flatten(0, 1)
        covariance = centred.T @ centred / len(centred)
        covariance.diagonal().add_(_RIDGE)
        factor, failed = torch.linalg.cholesky_ex(covariance)
        factor = torch.where(failed == 0, factor, covariance.diagonal().sqrt().diag())
        return (means + draws @ factor.T).flatten(0, 1)

    def likelihoods(self, logits: torch.Tensor) -> torch.Tensor:
        """Give the logit of being in-distribution, float32 [N], of logits [N, C]: phi(E)."""
        return self.slope * (logits.float() + self.log_weights).logsumexp(1) + self.bias

    def are_full(self) -> torch.Tensor:
        """Tell whether every class has filled its queue: a bool tensor."""
        return (self.seen >= self.queued.shape[1]).all()


@dataclass(frozen=True)
class VOS(Method):
    """Cross-entropy, and energies that tell images from unlikely features.

    Of several processes, all use the features that the first one has kept, of its share of the batches.

    Attributes:
        weight: beta, of the loss on energies, at least 0.
        start: From which share of the training on the loss counts, in [0, 1].
        queue: Features that are kept of each class, from 1 to 100,000. A class without as many never lets it count.
        draws: Of each class, from 1 to 10**9.
        kept: How many of them, the least likely ones, from 1 to `draws`.
    """

    weight: float = 0.1
    start: float = 0.4
    queue: int = 1000
    draws: int = 10_000
    kept: int = 1

    def __post_init__(self) -> None:
        check_not_negative("vos", "weight", self.weight)
        check_share("vos", "start", self.start)
        check_count("vos", "queue", self.queue, _MOST_QUEUED)
        check_count("vos", "draws", self.draws, _MOST_DRAWS)
        check_count("vos", "kept", self.kept, min(self.draws, _MOST_QUEUED))

    def state(self, classes: int, features: int) -> FeatureQueues:
        """Make the queues and the parameters of the energy."""
        return FeatureQueues(classes, features, self.queue)

    def draw(self, state: nn.Module, generator: torch.Generator, progress: float) -> dict[str, torch.Tensor]:
        """Draw the virtual outliers, before they get their mean and covariance: extra `draws`, float32 [C, K, D]."""
        if progress < self.start:
            return {}
        classes, _, features = state.get_buffer("queued").shape
        return {"draws": draw_least_likely(self.draws, self.kept, classes, features, generator)}

    def losses(self, classifier: "Classifier", batch: TrainingBatch, state: nn.Module) -> Losses:
        """Give the cross-entropy of each image, and the loss on energies."""
        queues = cast(FeatureQueues, state)
        features = classifier.features(batch.images)
        logits = classifier.head(features)
        queues.push(features.detach(), batch.labels)
        # Parameters that no loss hangs on would stop distributed training.
        extra = 0 * (queues.log_weights.sum() + queues.slope + queues.bias)
        if "draws" in batch.extras:
            extra = extra + self.weight * compute_uncertainty(classifier, logits, batch.extras["draws"], queues)
        return Losses(batch.cross_entropy(logits), batch.is_synthetic, extra=extra)


def compute_uncertainty(
    classifier: "Classifier", logits: torch.Tensor, draws: torch.Tensor, queues: FeatureQueues
) -> torch.Tensor:
    """Give the loss on energies, a scalar in float32; 0 while a queue is not full.

    Args:
        classifier: Its head makes logits of virtual outliers.
        logits: Of the images, float [B, C].
        draws: What `VOS.draw` gave, float32 [C, K, D].
        queues: With the features of the images.
    """
    with torch.autocast(logits.device.type, enabled=False):
        virtual = classifier.head(queues.outliers(draws))
        likelihoods = queues.likelihoods(torch.cat([logits.float(), virtual]))
    is_image = torch.arange(len(likelihoods), device=logits.device) < len(logits)
    loss = F.binary_cross_entropy_with_logits(likelihoods, is_image.float())
    return torch.where(queues.are_full(), loss, 0.0)


def draw_least_likely(draws: int, kept: int, classes: int, features: int, generator: torch.Generator) -> torch.Tensor:
    """Draw the least likely ones of many draws from a standard normal distribution, without making the others.

    Exact: the density of a draw z hangs on |z|^2 alone, which is chi-square distributed with D degrees of freedom and
    independent of the direction of z, and that is uniform. So the K least likely of n draws are the K largest of n
    chi-square numbers, each with a direction of its own. The largest of n uniform numbers is distributed as U^(1/n),
    the next as that times U^(1/(n-1)), and so on; the inverse distribution function makes chi-square numbers of them.
    x = mu + L z keeps the order: its Mahalanobis distance is |z|.

    Args:
        draws: n.
        kept: K.
        classes: C.
        features: D.
        generator: A CPU generator.

    Returns:
        float32 [C, K, D], the least likely first.
    """
    uniform = torch.rand(classes, kept, generator=generator, dtype=torch.float64).clamp_(min=_TINY)
    logs = (uniform.log() / torch.arange(draws, draws - kept, -1)).cumsum(1)
    squared = torch.from_numpy(chdtri(features, -logs.expm1().numpy()))  # from 1 - p, exact far out
    directions = torch.randn(classes, kept, features, generator=generator)
    return F.normalize(directions, dim=2) * squared.sqrt().float()[..., None]
