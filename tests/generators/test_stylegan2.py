from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.signal import convolve2d

from sio_data.errors import InputError, UnknownNameError
from sio_data.generator import Generator, open_generator
from sio_data.generators.nvlabs_pickle import PickledNetwork
from sio_data.generators.stylegan2 import StyleGAN2Generator
from sio_data.generators.stylegan2_config import read_config
from sio_data.generators.stylegan2_network import NetworkConfig
from sio_data.generators.stylegan2_ops import clamp, modulated_conv, unit_length, upsample, upsampling_conv
from tests.generators.nvlabs_files import TINY, made_up_tensors, write_network

# What NVlabs' own code (commit d72cc7d, in float32 on a CPU) makes of the same weights, for class 1, seed 5, truncation
# 0.7 and stored noise: the fourth row of pixels in each colour.
USUAL = (1, 3, 3, 1)
ORIGINAL = {
    ("skip", 256, USUAL): [
        [85, 69, 71, 98, 89, 50, 59, 73],
        [151, 148, 142, 161, 176, 156, 149, 148],
        [197, 214, 198, 192, 207, 211, 209, 198],
    ],
    ("orig", 256, USUAL): [
        [174, 175, 173, 175, 172, 176, 187, 173],
        [151, 149, 157, 157, 146, 153, 165, 145],
        [128, 123, 140, 137, 122, 129, 138, 120],
    ],
    ("resnet", 256, USUAL): [
        [104, 106, 111, 106, 102, 102, 115, 112],
        [101, 104, 118, 110, 95, 101, 122, 109],
        [141, 144, 164, 155, 132, 142, 168, 148],
    ],
    ("skip", 0.3, USUAL): [
        [95, 91, 92, 92, 92, 91, 89, 94],
        [156, 159, 160, 159, 159, 159, 159, 155],
        [155, 159, 159, 158, 159, 160, 162, 157],
    ],
    ("skip", 0.1, USUAL): [
        [105, 102, 102, 102, 102, 102, 102, 105],
        [150, 153, 153, 153, 153, 153, 153, 150],
        [148, 151, 151, 151, 151, 151, 151, 148],
    ],
    ("resnet", 1, (1, 2, 4)): [
        [114, 113, 114, 116, 109, 113, 110, 117],
        [106, 106, 109, 110, 101, 106, 105, 110],
        [140, 140, 144, 145, 137, 141, 141, 143],
    ],
}


def changed(part: str | None = None, **arguments: Any) -> dict[str, Any]:
    """The tiny network's arguments, some of them changed."""
    return {**TINY, part: {**TINY[part], **arguments}} if part else {**TINY, **arguments}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("stylegan2") / "tiny.pkl")


def draw(file: Path, label: int = 0, seed: int = 0, image_size: int | None = None, **sampling: object) -> torch.Tensor:
    texts = {name: str(value) for name, value in sampling.items()}
    backend = StyleGAN2Generator(str(file), image_size=image_size, sampling=texts, device="cpu")
    return backend.sample(torch.tensor([label]), [seed])


def test_it_is_found_by_entry_point_and_tells_what_it_is_without_building_the_network(file: Path) -> None:
    backend: Generator = open_generator("stylegan2", str(file), sampling={"truncation": "0.5"})
    assert isinstance(backend, StyleGAN2Generator)
    assert backend.class_names == ("0", "1", "2")
    assert backend.image_size == 8
    assert backend.licence == "other"
    assert backend.sampling == {"truncation": 0.5, "noise": "const"}
    assert "2006.06676" in backend.citation
    assert "_network" not in vars(backend)


@pytest.mark.parametrize(("architecture", "limit", "taps"), ORIGINAL)
def test_it_draws_what_the_original_code_draws(
    tmp_path: Path, architecture: str, limit: float, taps: tuple[int, ...]
) -> None:
    arguments = changed("synthesis_kwargs", architecture=architecture, conv_clamp=limit, resample_filter=list(taps))
    row = draw(write_network(tmp_path / "net.pkl", arguments), 1, 5, truncation=0.7)[0, :, 3]
    assert (row.int() - torch.tensor(ORIGINAL[architecture, limit, taps])).abs().max() <= 1


@pytest.mark.parametrize("noise", ["const", "random"])
def test_samples_are_rgb_uint8_and_depend_on_nothing_but_label_and_seed(file: Path, noise: str) -> None:
    backend = open_generator("stylegan2", str(file), sampling={"noise": noise}, device="cpu")
    labels, seeds = torch.tensor([0, 1, 2]), [5, 6, 2**32 - 1]
    torch.manual_seed(1)
    together = backend.sample(labels, seeds)
    assert together.dtype == torch.uint8
    assert together.shape == (3, 3, 8, 8)
    torch.manual_seed(2)
    alone = torch.cat([backend.sample(labels[i : i + 1], seeds[i : i + 1]) for i in range(3)])
    assert (together.int() - alone.int()).abs().max() <= 1
    assert torch.equal(together, backend.sample(labels, seeds))


def test_convolutions_are_not_rounded_on_cuda(file: Path) -> None:
    backend = StyleGAN2Generator(str(file), device="cpu")
    rounded = []
    backend._network.register_forward_hook(lambda *_: rounded.append(torch.backends.cudnn.allow_tf32))
    before = torch.backends.cudnn.allow_tf32
    backend.sample(torch.tensor([0]), [0])
    assert rounded == [False]
    assert torch.backends.cudnn.allow_tf32 == before


def test_label_seed_and_each_option_reach_the_network(file: Path) -> None:
    images = [
        draw(file),
        draw(file, label=1),
        draw(file, seed=1),
        draw(file, truncation=0.5),
        draw(file, noise="none"),
        draw(file, noise="random"),
    ]
    for index, one in enumerate(images):
        for other in images[:index]:
            assert (one.int() - other.int()).abs().max() > 4


def test_random_noise_differs_between_seeds_alone(file: Path) -> None:
    quiet = [draw(file, seed=seed, truncation=0, noise="none") for seed in (1, 2)]
    noisy = [draw(file, seed=seed, truncation=0, noise="random") for seed in (1, 2)]
    assert torch.equal(*quiet)  # with truncation 0, only the average w is left
    assert not torch.equal(*noisy)


def test_an_unconditional_network_has_one_class(tmp_path: Path) -> None:
    file = write_network(tmp_path / "net.pkl", changed(c_dim=0))
    assert StyleGAN2Generator(str(file)).class_names == ("0",)
    backend = StyleGAN2Generator(str(file), classes=["cat", "dog"])
    assert backend.class_names == ("cat",)
    assert backend.sample(torch.tensor([0]), [1]).shape == (1, 3, 8, 8)


def test_classes_can_be_named(file: Path) -> None:
    assert StyleGAN2Generator(str(file), classes=["cat", "dog", "owl"]).class_names == ("cat", "dog", "owl")


def test_grey_images_become_rgb(tmp_path: Path) -> None:
    image = draw(write_network(tmp_path / "net.pkl", changed(img_channels=1)))
    assert image.shape == (1, 3, 8, 8)
    assert torch.equal(image[:, 0], image[:, 2])
    assert image.unique().numel() > 3


def test_images_can_be_made_smaller_but_not_larger(file: Path) -> None:
    assert draw(file, image_size=4).shape == (1, 3, 4, 4)
    with pytest.raises(InputError, match="8 pixels"):
        StyleGAN2Generator(str(file), image_size=16)


def test_revision_is_the_hash_of_the_file(file: Path, tmp_path: Path) -> None:
    revision = StyleGAN2Generator(str(file)).revision
    assert len(revision) == 64
    tensors = made_up_tensors(TINY)
    tensors["mapping.w_avg"][0] += 1
    assert StyleGAN2Generator(str(write_network(tmp_path / "net.pkl", tensors=tensors))).revision != revision


@pytest.mark.parametrize("size", [4, 16, 64])
def test_other_sizes_and_layouts_are_built(tmp_path: Path, size: int) -> None:
    arguments = changed("synthesis_kwargs", channel_base=64, use_noise=False, conv_clamp=None)
    arguments |= {"img_resolution": size, "mapping_kwargs": {"num_layers": 3, "embed_features": 4, "layer_features": 7}}
    assert draw(write_network(tmp_path / "net.pkl", arguments)).shape == (1, 3, size, size)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        (None, {"img_resolution": 12}, "img_resolution is 12"),
        (None, {"img_resolution": 2048}, "img_resolution is 2048"),
        (None, {"img_resolution": True}, "img_resolution is True"),
        (None, {"img_channels": 4}, "img_channels is 4"),
        (None, {"img_channels": True}, "img_channels is True"),
        (None, {"z_dim": 0}, "z_dim is 0"),
        (None, {"c_dim": -1}, "c_dim is -1"),
        (None, {"w_dim": 10**9}, "w_dim is 1000000000"),
        (None, {"mapping_kwargs": [1]}, "mapping network are not given by name"),
        (None, {"magic": 1}, "does not know: magic"),
        ("mapping_kwargs", {"num_layers": 10**6}, "num_layers"),
        ("mapping_kwargs", {"embed_features": 4}, r"misshapen weights: mapping\.embed\.bias"),
        ("mapping_kwargs", {"layer_features": 4}, r"misshapen weights: mapping\.fc0\.bias"),
        ("mapping_kwargs", {"num_layers": 8}, r"lacks weights: mapping\.fc2\.bias, .* \(12 in all\)"),
        ("mapping_kwargs", {"activation": "relu"}, "activation is 'relu', not lrelu"),
        ("mapping_kwargs", {"lr_multiplier": float("nan")}, "lr_multiplier is nan"),
        ("synthesis_kwargs", {"architecture": "os"}, "architecture is 'os', not skip or orig or resnet"),
        ("synthesis_kwargs", {"channel_base": 4}, "channel_base is 4, too little for 8 pixels"),
        ("synthesis_kwargs", {"channel_max": "6"}, "channel_max is '6'"),
        ("synthesis_kwargs", {"resample_filter": [1] * 8}, "resample_filter"),
        ("synthesis_kwargs", {"conv_clamp": -1}, "conv_clamp is -1"),
        ("synthesis_kwargs", {"magic": 1}, "does not know: magic"),
    ],
)
def test_arguments_out_of_range_are_refused(
    tmp_path: Path, part: str | None, change: dict[str, Any], message: str
) -> None:
    file = write_network(tmp_path / "net.pkl", changed(part, **change), made_up_tensors(TINY))
    with pytest.raises(InputError, match=message) as refused:
        StyleGAN2Generator(str(file))
    assert str(file) in str(refused.value)


def test_arguments_left_out_are_the_originals_own() -> None:
    top = {"z_dim": 64, "c_dim": 2, "w_dim": 32, "img_resolution": 16, "img_channels": 3}
    assert read_config(PickledNetwork("Generator", top, {})) == NetworkConfig(
        z_dim=64,
        c_dim=2,
        w_dim=32,
        image_size=16,
        image_channels=3,
        mapping_layers=8,
        embed_features=32,
        layer_features=32,
        lr_multiplier=0.01,
        channel_base=32768,
        channel_max=512,
        architecture="skip",
        resample_filter=(1, 3, 3, 1),
        conv_clamp=None,
        use_noise=True,
    )


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    tensors = made_up_tensors(TINY)
    cut = {name: tensor for name, tensor in tensors.items() if name != "synthesis.b8.conv0.weight"}
    more = {**tensors, "synthesis.b16.const": torch.ones(1)}
    other = {**tensors, "mapping.w_avg": torch.ones(4)}
    for name, wrong, message in (
        ("cut", cut, r"lacks weights: synthesis\.b8\.conv0\.weight\."),
        ("more", more, r"unknown weights: synthesis\.b16\.const\."),
        ("other", other, r"misshapen weights: mapping\.w_avg\."),
    ):
        file = write_network(tmp_path / f"{name}.pkl", tensors=wrong)
        with pytest.raises(InputError, match=message):
            StyleGAN2Generator(str(file))


def test_weights_that_are_no_floats_are_refused_on_reading(tmp_path: Path) -> None:
    tensors = made_up_tensors(TINY) | {"mapping.w_avg": torch.ones(5, dtype=torch.int64)}
    file = write_network(tmp_path / "net.pkl", tensors=tensors)
    with pytest.raises(InputError, match=r"net\.pkl: a tensor holds torch\.int64"):
        draw(file)


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    tensors = made_up_tensors(TINY)
    tensors["synthesis.b8.torgb.bias"][0] = float("nan")
    with pytest.raises(InputError, match="no numbers"):
        draw(write_network(tmp_path / "net.pkl", tensors=tensors))


def test_another_kind_of_network_is_refused(tmp_path: Path) -> None:
    file = write_network(tmp_path / "net.pkl", class_name="EDMPrecond")
    with pytest.raises(InputError, match="class 'EDMPrecond', not StyleGAN2's Generator"):
        StyleGAN2Generator(str(file))


def test_only_local_files_are_read(tmp_path: Path) -> None:
    for weights, message in (
        ("https://example.org/cifar10.pkl", "only local files are read"),
        ("s3://bucket/cifar10.pkl", "only local files are read"),
        (str(tmp_path), "this is a folder"),
        (str(tmp_path / "missing.pkl"), "no such file"),
    ):
        with pytest.raises(InputError, match=message):
            StyleGAN2Generator(weights)


def test_unknown_options_and_values_are_refused(file: Path) -> None:
    with pytest.raises(UnknownNameError, match="sampling option of stylegan2 'psi'"):
        StyleGAN2Generator(str(file), sampling={"psi": "1"})
    for option in ({"truncation": "3"}, {"noise": "loud"}):
        with pytest.raises(InputError, match="is not"):
            StyleGAN2Generator(str(file), sampling=option)


@pytest.mark.parametrize("demodulate", [True, False])
def test_modulated_convolution_is_the_papers(demodulate: bool) -> None:
    """Arxiv 1912.04958, equations 1 to 3, sample by sample and channel by channel."""
    torch.manual_seed(0)
    x, weight, styles = torch.randn(2, 3, 5, 5), torch.randn(4, 3, 3, 3), torch.randn(2, 3)
    found = modulated_conv(x, weight, styles, demodulate=demodulate, up_filter=None)
    for sample in range(2):
        for channel in range(4):
            kernel = torch.stack([styles[sample, i] * weight[channel, i] for i in range(3)])
            if demodulate:
                kernel = kernel / torch.sqrt((kernel**2).sum() + 1e-8)
            expected = F.conv2d(x[sample : sample + 1], kernel[None], padding=1)[0, 0]
            torch.testing.assert_close(found[sample, channel], expected, rtol=1e-4, atol=1e-5)


def test_the_usual_filter_upsamples_as_bilinear_interpolation_does_inside() -> None:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    x = torch.randn(2, 3, 6, 6)
    found = upsample(x, torch.outer(taps, taps))
    expected = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(found[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1])


@pytest.mark.parametrize("taps", [1, 2, 3, 4, 5, 6, 7])
def test_upsampling_is_convolution_of_the_image_spread_with_zeros(taps: int) -> None:
    rng = np.random.default_rng(taps)
    x, weight, low_pass = rng.normal(size=(2, 5, 5)), rng.normal(size=(3, 2, 3, 3)), rng.random((taps, taps))
    spread = np.zeros((2, 10, 10))
    spread[:, ::2, ::2] = x
    # The filter's middle, or for an even number of taps the pixel after it, lies on the pixel that is made.
    shift = taps - 1 - (taps + 1) // 2
    filtered = np.stack([np.pad(convolve2d(plane, 4 * low_pass), 2) for plane in spread])
    cut = slice(2 + shift, 12 + shift)
    tensors = [torch.from_numpy(array) for array in (x[None], weight, low_pass)]
    np.testing.assert_allclose(upsample(tensors[0], tensors[2])[0].numpy(), filtered[:, cut, cut], atol=1e-12)
    both = [sum(convolve2d(convolve2d(spread[i], weight[o, i]), 4 * low_pass) for i in range(2)) for o in range(3)]
    cut = slice(3 + shift, 13 + shift)
    expected = np.pad(np.stack(both), ((0, 0), (2, 2), (2, 2)))[:, cut, cut]
    found = upsampling_conv(tensors[0], tensors[1], tensors[2])
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-12)


def test_vectors_get_unit_mean_square() -> None:
    torch.testing.assert_close(unit_length(torch.randn(4, 6) * 9).square().mean(1), torch.ones(4))


def test_activations_are_cut_off_at_the_limit_times_gain() -> None:
    x = torch.tensor([-9.0, 1.0, 9.0])
    assert clamp(x, 4, 0.5).tolist() == [-2, 1, 2]
    assert torch.equal(clamp(x, None), x)


def test_a_network_that_the_stylegan3_repository_saved_draws_the_same(file: Path, tmp_path: Path) -> None:
    flat = {name: value for name, value in TINY.items() if name != "synthesis_kwargs"} | TINY["synthesis_kwargs"]
    saved = write_network(tmp_path / "flat.pkl", {**flat, "fused_modconv_default": True}, made_up_tensors(TINY))
    assert torch.equal(draw(saved, 1, 5), draw(file, 1, 5))
