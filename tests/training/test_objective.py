import pytest
import torch

from sio_data.errors import InputError
from sio_data.image_set import ImageSet
from sio_data.mixing import MixedBatches
from sio_data.training.objective import sio_loss

LOSSES = torch.tensor([1.0, 2.0, 6.0, 10.0, 1.0])
SYNTHETIC = torch.tensor([False, False, False, True, True])


def test_loss_mix_is_the_papers_formula() -> None:
    # 0.8 * mean(1, 2, 6) + 0.2 * mean(10, 1) = 0.8 * 3 + 0.2 * 5.5
    assert sio_loss(LOSSES, SYNTHETIC, alpha=0.8, mix="loss").item() == pytest.approx(3.5)
    assert sio_loss(LOSSES, SYNTHETIC, alpha=1.0, mix="loss").item() == pytest.approx(3.0)
    assert sio_loss(LOSSES, SYNTHETIC, alpha=0.25, mix="loss").item() == pytest.approx(4.875)


def test_batch_mix_is_the_plain_mean() -> None:
    assert sio_loss(LOSSES, SYNTHETIC, alpha=0.8, mix="batch").item() == pytest.approx(4.0)


@pytest.mark.parametrize("flag", [False, True])
@pytest.mark.parametrize("mix", ["batch", "loss"])
def test_a_batch_of_one_kind_gives_its_mean(flag: bool, mix: str) -> None:
    assert sio_loss(LOSSES, torch.full((5,), flag), alpha=0.8, mix=mix).item() == pytest.approx(4.0)


def test_each_image_gets_its_weight_in_the_gradient() -> None:
    losses = LOSSES.clone().requires_grad_()
    sio_loss(losses, SYNTHETIC, alpha=0.8, mix="loss").backward()
    assert losses.grad.tolist() == pytest.approx([0.8 / 3] * 3 + [0.2 / 2] * 2)


def test_both_mixes_agree_where_the_batch_has_the_share_of_alpha() -> None:
    losses, synthetic = torch.rand(10, dtype=torch.float64), torch.arange(10) >= 8
    assert torch.allclose(*(sio_loss(losses, synthetic, 0.8, mix) for mix in ("batch", "loss")))


def test_both_mixes_agree_on_average_over_batches() -> None:
    pixels = torch.zeros(400, 3, 1, 1, dtype=torch.uint8)
    real = ImageSet(pixels, torch.zeros(400, dtype=torch.int64), ("a", "b"))
    synthetic = ImageSet(pixels, torch.ones(400, dtype=torch.int64), ("a", "b"))
    losses_of = torch.tensor([1.0, 3.0])  # of a real and of a synthetic image
    for mix in ("batch", "loss"):
        values = [
            sio_loss(losses_of[batch.labels], batch.is_synthetic, 0.75, mix)
            for batch in MixedBatches(real, synthetic, batch_size=40, alpha=0.75).epoch(0)
        ]
        assert torch.stack(values).mean().item() == pytest.approx(0.75 * 1 + 0.25 * 3)


def test_bad_arguments_are_refused() -> None:
    for alpha in (0, 1.5, float("nan")):
        with pytest.raises(InputError, match="alpha"):
            sio_loss(LOSSES, SYNTHETIC, alpha=alpha)
    with pytest.raises(InputError, match="mix must be one of batch, loss"):
        sio_loss(LOSSES, SYNTHETIC, mix="sum")
    with pytest.raises(InputError, match=r"must both be \[B\]"):
        sio_loss(LOSSES.mean(), SYNTHETIC)
