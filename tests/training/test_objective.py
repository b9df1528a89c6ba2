import pytest
import torch

from sio_data.errors import InputError
from sio_data.image_set import ImageSet
from sio_data.mixing import MixedBatches
from sio_data.training.objective import Mix, sio_loss, weight_sums

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


@pytest.mark.parametrize(("mix", "share"), [("batch", None), ("loss", None), ("loss", 0.5), ("loss", 0.1)])
def test_what_is_minimised_is_the_papers_formula(mix: Mix, share: float | None) -> None:
    """Over many batches the objective's mean is alpha * mean(real) + (1 - alpha) * mean(synthetic), for any share."""
    generator = torch.Generator().manual_seed(0)
    real_losses, synthetic_losses = (scale * torch.rand(400, generator=generator) for scale in (1, 3))
    images = ImageSet(torch.zeros(400, 3, 1, 1, dtype=torch.uint8), torch.arange(400), [str(i) for i in range(400)])
    batches = MixedBatches(images, images, batch_size=40, alpha=0.75, real_share=share)
    values = torch.stack(
        [
            sio_loss(
                torch.where(batch.is_synthetic, synthetic_losses[batch.labels], real_losses[batch.labels]),
                batch.is_synthetic,
                0.75,
                mix,
            )
            for epoch in range(60)
            for batch in batches.epoch(epoch)
        ]
    )
    tolerance = 4 * float(values.std()) / len(values) ** 0.5
    assert tolerance < 0.05
    expected = 0.75 * real_losses.mean() + 0.25 * synthetic_losses.mean()
    assert values.mean().item() == pytest.approx(expected.item(), abs=tolerance)


def test_rows_count_as_their_weights_say() -> None:
    """A row of weight 2 counts like two rows, and one of weight 0 like none."""
    weights = torch.tensor([2.0, 1.0, 0.0, 1.0, 3.0])
    rows = torch.tensor([0, 0, 1, 3, 4, 4, 4])
    for mix in ("batch", "loss"):
        weighted = sio_loss(LOSSES, SYNTHETIC, 0.8, mix, weights)
        assert weighted.item() == pytest.approx(sio_loss(LOSSES[rows], SYNTHETIC[rows], 0.8, mix).item())


@pytest.mark.parametrize("mix", ["batch", "loss"])
def test_parts_of_a_batch_add_up_to_it(mix: Mix) -> None:
    weights = torch.tensor([2.0, 1.0, 0.5, 1.0, 3.0])
    sums = weight_sums(SYNTHETIC, weights)
    parts = (slice(0, 1), slice(1, 4), slice(4, 5))  # the first and the last hold one kind only
    losses = [sio_loss(LOSSES[part], SYNTHETIC[part], 0.8, mix, weights[part], sums) for part in parts]
    assert torch.stack(losses).sum().item() == pytest.approx(sio_loss(LOSSES, SYNTHETIC, 0.8, mix, weights).item())


def test_bad_arguments_are_refused() -> None:
    for alpha in (0, 1.5, float("nan")):
        with pytest.raises(InputError, match="alpha"):
            sio_loss(LOSSES, SYNTHETIC, alpha=alpha)
    with pytest.raises(InputError, match="mix must be one of batch, loss"):
        sio_loss(LOSSES, SYNTHETIC, mix="sum")
    with pytest.raises(InputError, match=r"must both be \[B\]"):
        sio_loss(LOSSES.mean(), SYNTHETIC)
