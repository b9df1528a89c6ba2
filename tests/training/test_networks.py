import copy

import pytest
import torch
from torch import nn

from sio_data import Classifier
from sio_data.errors import InputError, UnknownNameError
from sio_data.training.networks import NETWORKS, build_network
from sio_data.training.networks.base import Network

PARAMETERS = {"convnet": 666_688, "resnet18-32": 11_168_832, "resnet18-224": 11_176_512, "wrn-28-10": 36_472_784}
"""Of the published networks without their last layer: 11,689,512 - 513,000 and 36,479,194 - 6,410."""

STRIDES = {"convnet": 4, "resnet18-32": 8, "resnet18-224": 32, "wrn-28-10": 4}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest) -> tuple[str, Network]:
    torch.manual_seed(0)
    return request.param, build_network(request.param, 32)


def images(size: int, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_networks_are_as_large_as_published(network: tuple[str, Network]) -> None:
    name, model = network
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


@torch.no_grad()
def test_maps_and_features_have_the_declared_shapes(network: tuple[str, Network]) -> None:
    name, model = network
    model.eval()
    for size in {model.smallest_image, 2 * STRIDES[name]}:
        maps = model.maps(images(size))
        side = -(-size // STRIDES[name])
        assert maps.shape == (2, model.feature_dim, side, side)
        assert (maps >= 0).all()
        features = model(images(size))
        assert features.shape == (2, model.feature_dim)
        assert torch.allclose(features, maps.mean((2, 3)))
        assert torch.equal(features, model.pool(maps))


def test_a_gradient_reaches_every_parameter(network: tuple[str, Network]) -> None:
    _, model = network
    model = copy.deepcopy(model).train()
    model(images(model.smallest_image, count=4)).square().sum().backward()
    assert [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()] == []


@torch.no_grad()
def test_activations_keep_their_scale_from_layer_to_layer() -> None:
    """Kaiming's rule by the outgoing fan, without which deep networks start badly."""
    for name in ("resnet18-32", "resnet18-224", "wrn-28-10"):
        torch.manual_seed(0)
        for module in build_network(name, 32).modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.out_channels * module.kernel_size[0] ** 2
                assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
            elif isinstance(module, nn.BatchNorm2d):
                assert (module.weight == 1).all()
                assert not module.bias.any()


def test_resnets_have_the_names_of_torchvision() -> None:
    keys = {*build_network("resnet18-224", 224).state_dict()}
    layer2 = ("0.conv1.weight", "0.bn2.running_var", "0.downsample.0.weight", "0.downsample.1.bias", "1.conv2.weight")
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight"} | {f"layer2.{name}" for name in layer2} <= keys
    assert not any(key.startswith(("layer1.0.downsample", "fc", "maxpool")) for key in keys)
    assert len(keys) == 120
    assert {*build_network("resnet18-32", 32).state_dict()} == keys


@torch.no_grad()
def test_the_stems_keep_or_quarter_the_image() -> None:
    for name, side in (("resnet18-32", 64), ("resnet18-224", 16)):
        seen: list[torch.Size] = []
        model = build_network(name, 32).eval()
        model.layer1.register_forward_hook(lambda _, inputs, __, seen=seen: seen.append(inputs[0].shape))
        model(images(64))
        assert seen == [(2, 64, side, side)]


@torch.no_grad()
def test_a_wide_block_shares_its_activation_only_where_the_width_changes() -> None:
    torch.manual_seed(0)
    first, second = build_network("wrn-28-10", 32).eval().layer1[:2]
    maps = images(4)[:, :1].expand(2, 16, 4, 4)
    active = first.bn1(maps).relu()
    residual = first.conv2(first.bn2(first.conv1(active)).relu())
    assert torch.allclose(first(maps), residual + first.downsample(active), atol=1e-5)
    wide = first(maps)
    residual = second.conv2(second.bn2(second.conv1(second.bn1(wide).relu())).relu())
    assert torch.allclose(second(wide), residual + wide, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18-32", "resnet18-224"])
def test_memory_format_and_bf16_change_little(name: str) -> None:
    torch.manual_seed(0)
    model = build_network(name, 32).eval()
    size = 2 * STRIDES[name]
    plain = model(images(size))
    last = model.to(memory_format=torch.channels_last)
    assert torch.allclose(last(images(size).to(memory_format=torch.channels_last)), plain, rtol=1e-3, atol=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.nn.functional.cosine_similarity(last(images(size)).float(), plain).min() > 0.99


@torch.no_grad()
def test_a_residual_network_compiles_as_one_graph() -> None:
    torch.manual_seed(0)
    model = build_network("resnet18-32", 8).eval()
    whole = torch.compile(model, fullgraph=True, backend="eager")
    assert torch.allclose(whole(images(8)), model(images(8)), atol=1e-5)


def test_too_small_an_image_is_refused() -> None:
    for name, smallest in (("resnet18-32", 8), ("resnet18-224", 32), ("wrn-28-10", 4)):
        with pytest.raises(InputError, match=f"{name} takes images of {smallest} to"):
            Classifier(name, ["a", "b"], smallest - 1)


def test_an_unknown_network_is_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'resnet18-32'"):
        Classifier("resnet18_32", ["a", "b"], 32)
