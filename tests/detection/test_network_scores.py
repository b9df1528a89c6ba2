from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sio_data import Classifier
from sio_data.detection import Outputs, compute_outputs, create
from sio_data.detection.detectors.gram import draw_held_out, row_sums
from sio_data.detection.detectors.rankfeat import without_largest_part
from sio_data.errors import InputError
from sio_data.training.heads import CosineHead
from sio_data.training.networks import NETWORKS
from tests.detection.tiny_classifiers import TinyNetwork, make_classifier, make_images, make_outputs

STD = torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1)  # of `make_classifier`


@pytest.fixture(autouse=True)
def _tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "tiny", TinyNetwork)


def plain(images: torch.Tensor) -> torch.Tensor:
    """Normalise with the numbers of `make_classifier`, in float64."""
    return ((images.double() / 255 - torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)) / STD).float()


def each(
    classifier: Classifier, count: int, seed: int, score: Callable[[torch.Tensor, Classifier], torch.Tensor]
) -> list[float]:
    """Score images one by one: float [3, 8, 8], normalised, to a number."""
    return [float(score(plain(image), classifier).detach()) for image in make_images(count, seed).images]


def gradient(image: torch.Tensor, value: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    image = image.clone().requires_grad_()
    (found,) = torch.autograd.grad(value(image[None]), image)
    return found


def signs(values: torch.Tensor) -> torch.Tensor:
    return torch.where(values >= 0, 1.0, -1.0)


def run(classifier: Classifier, image: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = classifier.head(classifier.network(image[None]))[0].double()
    return logits


@pytest.mark.parametrize(("temperature", "noise"), [(1000.0, 0.0014), (2.0, 0.1)])
def test_odin_and_iodin_against_a_plain_computation(temperature: float, noise: float) -> None:
    classifier = make_classifier()

    def score(image: torch.Tensor, classifier: Classifier, one_value: bool) -> torch.Tensor:
        label = run(classifier, image).argmax()
        found = gradient(image, lambda x: -run(classifier, x[0]).div(temperature).log_softmax(0)[label])
        step = signs(found) / STD
        if one_value:
            step = step * (found.abs() == found.abs().max())
        return (run(classifier, image - noise * step) / temperature).softmax(0).max()

    for name in ("odin", "iodin"):
        expected = each(classifier, 9, 3, lambda image, c, name=name: score(image, c, name == "iodin"))  # type: ignore[misc]
        detector = create(name, temperature=temperature, noise=noise).fit(network=classifier)
        found = detector.score(make_outputs(classifier, 9, 3))
        assert found == pytest.approx(expected, rel=1e-7)
        assert len({round(value, 9) for value in expected}) == 9


@pytest.mark.parametrize("softmax", [True, False])
def test_godin_against_a_plain_computation(softmax: bool) -> None:
    classifier = make_classifier(head="cosine")
    head = classifier.head
    assert isinstance(head, CosineHead)

    def cosines(image: torch.Tensor) -> torch.Tensor:
        return head.numerator(classifier.network(image[None]))[0].double()

    def score(image: torch.Tensor, _: Classifier) -> torch.Tensor:
        found = gradient(image, lambda x: cosines(x[0]).max())
        values = cosines(image + 0.05 * signs(found) / STD)
        return (values.softmax(0) if softmax else values).max()

    detector = create("godin", noise=0.05, softmax=softmax).fit(network=classifier)
    found = detector.score(make_outputs(classifier, 9, 3))
    assert found == pytest.approx(each(classifier, 9, 3, score), rel=1e-6)


def test_adascale_against_a_plain_computation() -> None:
    classifier = make_classifier()
    low, high, weight, share = 30.0, 80.0, 3.0, 0.2

    def features(image: torch.Tensor) -> torch.Tensor:
        return classifier.network(image[None])[0].double().detach()

    def shift(image: torch.Tensor) -> float:
        found = gradient(image, lambda x: run(classifier, x[0]).max()).flatten()
        moved = found.abs().argsort()[: int(share * len(found))]
        changed = image.clone().flatten()
        changed[moved] += 0.5 * found[moved].sign()
        before, after = features(image), features(changed.view_as(image))
        order = before.argsort(descending=True)
        first = after.relu()[order[:3]].sum()  # 50 % of 6
        return float(first + weight * (before - after).abs()[order[:2]].sum())  # 34 % of 6

    known = np.array([shift(plain(image)) for image in make_images(30, 1).images])

    def ratio(image: torch.Tensor) -> float:
        percentile = low + (known > shift(image)).mean() * (high - low)
        count = 6 - round(6 * percentile / 100)
        active = features(image).relu().sort(descending=True).values
        return float(active.sum() / active[:count].sum())

    def score_a(image: torch.Tensor, _: Classifier) -> torch.Tensor:
        scaled = features(image) * np.exp(ratio(image))
        return (classifier.head.weight.double() @ scaled + classifier.head.bias).logsumexp(0)

    def score_l(image: torch.Tensor, _: Classifier) -> torch.Tensor:
        return (run(classifier, image) * ratio(image) ** 2).logsumexp(0)

    val, test = make_outputs(classifier, 30, 1), make_outputs(classifier, 20, 3)
    settings = {"low": low, "high": high, "k1": 50, "k2": 34, "weight": weight, "o": share}
    for name, score in (("adascale_a", score_a), ("adascale_l", score_l)):
        found = create(name, **settings).fit(val=val, network=classifier).score(test)
        assert found == pytest.approx(each(classifier, 20, 3, score), rel=1e-5)
        of_val = create(name, **settings).fit(val=val, network=classifier).score(val)  # at the steps of F
        assert of_val == pytest.approx(each(classifier, 30, 1, score), rel=1e-5)
    assert len({round(ratio(plain(image)), 6) for image in make_images(20, 3).images}) > 10
    assert [*test.observed] == ["adascale o=0.2"]


def test_adascale_of_features_of_zeros_is_finite() -> None:
    classifier = make_classifier()
    nn.init.constant_(classifier.network.layers[1][0].bias, -100.0)
    val = make_outputs(classifier, 12)
    for name in ("adascale_a", "adascale_l"):
        found = create(name).fit(val=val, network=classifier).score(val)
        assert found == pytest.approx([float(classifier.head.bias.detach().double().logsumexp(0))] * 12, rel=1e-6)


def test_largest_singular_part_is_taken_off() -> None:
    generator = torch.Generator().manual_seed(0)
    for shape in ((3, 8, 2, 3), (3, 4, 3, 4), (2, 1, 2, 2), (2, 5, 1, 1)):
        maps = torch.randn(shape, generator=generator)
        u, s, v = torch.linalg.svd(maps.flatten(2), full_matrices=False)
        s[:, 0] = 0
        expected = (u * s[:, None]) @ v
        assert torch.allclose(without_largest_part(maps).flatten(2), expected, atol=1e-5)
    assert not without_largest_part(torch.zeros(2, 3, 4, 4)).any()


def test_rankfeat_against_a_plain_computation() -> None:
    classifier = make_classifier()

    def strip(maps: torch.Tensor) -> torch.Tensor:
        u, s, v = torch.linalg.svd(maps[0].flatten(1))
        return (maps[0].flatten(1) - s[0] * torch.outer(u[:, 0], v[0])).view_as(maps)

    def score(image: torch.Tensor, _: Classifier) -> torch.Tensor:
        first, second = classifier.network.layers
        before = first(image[None])
        last = second(before)
        both = [strip(last), second(strip(before))]
        logits = sum(classifier.head(maps.mean((2, 3)))[0] for maps in both) / 2
        return 2 * (logits / 2).logsumexp(0)

    found = create("rankfeat", temperature=2).fit(network=classifier).score(make_outputs(classifier, 9, 3))
    assert found == pytest.approx(each(classifier, 9, 3, score), rel=1e-5)


def test_row_sums_are_those_of_gram_matrices() -> None:
    maps = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    found = row_sums(maps, 3)
    assert found.shape == (2, 3, 3)
    for number, image in enumerate(maps.flatten(2).double()):
        for power in (1, 2, 3):
            sums = (image**power @ (image**power).T).sum(1)
            expected = sums.sign() * sums.abs() ** (1 / power)
            assert torch.allclose(found[number, :, power - 1], expected, rtol=1e-12)


def test_a_tenth_of_each_class_is_held_out() -> None:
    labels = torch.tensor([0] * 40 + [1] * 19 + [2] * 3 + [3])
    held_out = draw_held_out(labels)
    assert [int(held_out[labels == label].sum()) for label in range(4)] == [4, 1, 1, 0]
    assert torch.equal(held_out, draw_held_out(labels))


def test_gram_against_a_plain_computation() -> None:
    classifier = make_classifier()
    train, test = make_images(60), make_images(20, 3)
    first, second = classifier.network.layers

    def sums(image: torch.Tensor) -> list[torch.Tensor]:
        one = first[0](plain(image)[None])
        two = second[0](F.relu(first[1](one)))
        found = []
        for maps in (one, two):
            matrix = maps[0].flatten(1).double()
            grams = [(matrix**q @ (matrix**q).T).sum(1) for q in (1, 2)]
            found.append(torch.stack([v.sign() * v.abs() ** (1 / q) for q, v in enumerate(grams, 1)]))
        return found

    held_out = draw_held_out(train.labels)
    ranges = []
    for label in range(3):
        chosen = [sums(image) for image in train.images[(train.labels == label) & ~held_out]]
        layers = [torch.stack(layer) for layer in zip(*chosen, strict=True)]
        ranges.append([(layer.amin(0), layer.amax(0)) for layer in layers])

    def deviations(image: torch.Tensor, label: int) -> torch.Tensor:
        return torch.stack(
            [
                ((low - v).relu() / (low + 1e-6).abs() + (v - high).relu() / (high + 1e-6).abs()).sum()
                for v, (low, high) in zip(sums(image), ranges[label], strict=True)
            ]
        )

    pairs = zip(train.images[held_out], train.labels[held_out].tolist(), strict=True)
    norms = torch.stack([deviations(image, label) for image, label in pairs]).mean(0)
    expected = []
    for image in test.images:
        p = run(classifier, plain(image)).softmax(0)
        expected.append(float((-(deviations(image, int(p.argmax())) / norms).sum() / p.max()).detach()))
    detector = create("gram", powers=2).fit(train=compute_outputs(classifier, train), network=classifier)
    assert detector.score(compute_outputs(classifier, test)) == pytest.approx(expected, rel=1e-3)
    assert np.unique(expected).size > 10


def test_gram_of_a_class_without_images_is_finite() -> None:
    classifier = make_classifier()
    images = make_images(30)
    train = compute_outputs(classifier, images.select(images.labels < 2))
    scores = create("gram").fit(train=train, network=classifier).score(make_outputs(classifier, 12, 3))
    assert np.isfinite(scores).all()
    with pytest.raises(InputError, match="a class of two training images"):
        create("gram").fit(train=compute_outputs(classifier, images.select([0, 1])), network=classifier)


def test_mds_ensemble_against_a_plain_computation() -> None:
    classifier = make_classifier()
    train = make_images(60)
    stem = classifier.network.layers[0]

    def means(image: torch.Tensor) -> torch.Tensor:
        return stem(image[None])[0].double().mean((1, 2))

    known = torch.stack([means(plain(image)) for image in train.images]).detach()
    centres = torch.stack([known[train.labels == label].mean(0) for label in range(3)])
    offsets = known - centres[train.labels]
    precision = torch.linalg.inv(offsets.T @ offsets / 60)

    def distances(image: torch.Tensor) -> torch.Tensor:
        return torch.stack([0.5 * (means(image) - c) @ precision @ (means(image) - c) for c in centres])

    def score(image: torch.Tensor, _: Classifier) -> torch.Tensor:
        found = gradient(image, lambda x: distances(x[0]).min())
        return -distances(image - 0.02 * signs(found) / 0.5).min()

    detector = create("mds_ensemble", noise=0.02).fit(train=compute_outputs(classifier, train), network=classifier)
    found = detector.score(make_outputs(classifier, 9, 3))
    assert found == pytest.approx(each(classifier, 9, 3, score), rel=1e-4)


def test_rotpred_against_a_plain_computation() -> None:
    classifier = make_classifier(side_heads={"rotation": 4})

    def score(image: torch.Tensor, _: Classifier) -> torch.Tensor:
        p = run(classifier, image).softmax(0)
        certainty = sum(torch.log2((1 / 3) / one) / 3 for one in p)
        losses = []
        for turns in range(4):
            features = classifier.network(image.rot90(turns, (1, 2))[None])
            losses.append(-torch.log2(classifier.side_heads["rotation"](features)[0].double().softmax(0)[turns]))
        return certainty - sum(losses) / 4

    found = create("rotpred").fit(network=classifier).score(make_outputs(classifier, 9, 3))
    assert found == pytest.approx(each(classifier, 9, 3, score), rel=1e-4, abs=1e-6)


def test_mcd_against_a_plain_computation() -> None:
    classifier = make_classifier(side_heads={"second": 3})

    def score(image: torch.Tensor, _: Classifier) -> torch.Tensor:
        other = classifier.side_heads["second"](classifier.network(image[None]))[0].double()
        return -(run(classifier, image).softmax(0) - other.softmax(0)).abs().sum()

    outputs = make_outputs(classifier, 9, 3)
    without_images = Outputs(outputs.logits, outputs.features, outputs.labels)
    found = create("mcd").fit(network=classifier).score(without_images)
    assert found == pytest.approx(each(classifier, 9, 3, score), rel=1e-5)


def test_t2fnorm_is_msp_of_features_over_tau() -> None:
    head = nn.Linear(2, 2)
    with torch.no_grad():
        head.weight.copy_(torch.eye(2))
        head.bias.copy_(torch.tensor([0.0, 1.0]))
    features = np.array([[0.3, 0.1], [0.0, 0.0]])
    outputs = Outputs(features + np.array([0.0, 1.0]), features, np.zeros(2, np.int64))
    at_half = [1 / (1 + np.exp(0.2 / 0.5 - 1)), 1 / (1 + np.exp(-1))]
    assert create("t2fnorm", temperature=0.5).fit(head=head).score(outputs) == pytest.approx(at_half)
    at_a_tenth = [1 / (1 + np.exp(-2 + 1)), 1 / (1 + np.exp(-1))]
    assert create("t2fnorm").fit(head=head).score(outputs) == pytest.approx(at_a_tenth)
    msp = create("msp").score(outputs)
    assert create("t2fnorm", temperature=1).fit(head=head).score(outputs) == pytest.approx(msp)
