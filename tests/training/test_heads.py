import math

import pytest
import torch

from sio_data.errors import UnknownNameError
from sio_data.training.heads import CosineHead, build_head


def test_numerator_is_the_cosine_similarity() -> None:
    head = build_head("cosine", 2, 2)
    assert isinstance(head, CosineHead)
    head.weight.data = torch.tensor([[2.0, 0.0], [1.0, 1.0]])
    cosines = head.numerator(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    divisors = [5.0001 * 2.0001, 5.0001 * (math.sqrt(2) + 1e-4)]
    assert cosines[0].tolist() == pytest.approx([3 * 2 / divisors[0], 7 / divisors[1]], rel=1e-6)
    assert cosines[1].tolist() == [0, 0]


def test_logits_are_the_numerator_over_the_learnt_confidence() -> None:
    head = CosineHead(2, 3).eval()
    linear, norm = head.confidence
    linear.weight.data, linear.bias.data = torch.tensor([[1.0, -2.0]]), torch.tensor([0.5])
    norm.running_mean.fill_(1.5)
    norm.running_var.fill_(4.0)
    features = torch.tensor([[3.0, 0.25]])
    confidence = 1 / (1 + math.exp(-(3 - 0.5 + 0.5 - 1.5) / math.sqrt(4 + norm.eps)))
    expected = head.numerator(features) / confidence
    assert torch.allclose(head(features), expected)


def test_confidence_is_batch_normalised_in_training() -> None:
    head = CosineHead(4, 3).train()
    features = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    logits = head(features)
    with torch.no_grad():
        for parameter in head.confidence[0].parameters():
            parameter.mul_(7)
    assert torch.allclose(logits, head(features), rtol=1e-3)


def test_weights_are_of_kaimings_size_and_without_decay() -> None:
    torch.manual_seed(0)
    head = CosineHead(512, 100)
    assert head.weight.std().item() == pytest.approx(math.sqrt(2 / 512), rel=0.02)
    assert head.weight.abs().max() > 4 * math.sqrt(2 / 512)  # normal, not uniform
    assert {*head.without_decay} < {*dict(head.named_parameters())}
    assert head.get_parameter(*head.without_decay) is head.weight


def test_unknown_heads_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'cosine'"):
        build_head("cosin", 4, 2)
