import numpy as np
import pytest
import torch
from torch import nn

from sio_data.detection import DETECTORS, Outputs, compute_outputs, create
from sio_data.detection.judging import judging
from sio_data.detection.looks import Look
from sio_data.detection.passes import _BATCH
from sio_data.errors import ClassMapError, InputError
from sio_data.training.networks import NETWORKS
from tests.detection.tiny_classifiers import TinyNetwork, make_classifier, make_images, make_outputs

OBSERVERS = ("odin", "iodin", "adascale_a", "adascale_l", "rankfeat", "gram", "mds_ensemble", "godin", "rotpred")


@pytest.fixture(autouse=True)
def _tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "tiny", TinyNetwork)


def count_runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let every run of a first convolution, the one that takes three channels, note its number of images."""
    seen: list[int] = []
    forward = nn.Conv2d.forward

    def counted(layer: nn.Conv2d, maps: torch.Tensor) -> torch.Tensor:
        if maps.shape[1] == 3:
            seen.append(len(maps))
        return forward(layer, maps)

    monkeypatch.setattr(nn.Conv2d, "forward", counted)
    return seen


@pytest.mark.parametrize(
    ("names", "runs"),
    [
        ((), 1),
        (("odin",), 2),
        (("odin", "iodin"), 3),
        (("odin", "odin", "adascale_a", "adascale_l"), 3),
        (("rankfeat",), 1),
        (("gram",), 1),
        (("rankfeat", "gram", "odin"), 2),
        (("rotpred",), 4),
    ],
)
def test_one_pass_is_shared(names: tuple[str, ...], runs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = make_classifier(side_heads={"rotation": 4})
    detectors = [create(name) for name in names]
    train = make_outputs(classifier, 30)
    for detector in detectors:
        detector.fit(train=train, val=train, network=classifier)
    seen = count_runs(monkeypatch)
    test = compute_outputs(classifier, make_images(20, 3), observers=detectors)
    assert sum(seen) == 20 * runs
    for detector in detectors:
        detector.score(test)
    assert sum(seen) == 20 * runs


def test_watchers_share_the_pass_over_the_training_images(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = make_classifier()
    detector = create("gram")
    seen = count_runs(monkeypatch)
    train = compute_outputs(classifier, make_images(90), watchers=[detector])
    detector.fit(train=train, network=classifier)
    assert sum(seen) == 90 + 9  # nine are held out
    del seen[:]
    alone = create("gram").fit(train=make_outputs(classifier, 90), network=classifier)
    assert sum(seen) == 90 + 90 + 9
    assert all(torch.equal(value, alone.state()[name]) for name, value in detector.state().items())


def test_watchers_refuse_images_without_labels() -> None:
    classifier = make_classifier()
    with pytest.raises(ClassMapError, match="5 of 5 images have no label"):
        compute_outputs(classifier, make_images(5).without_labels(), watchers=[create("gram")])


def test_the_same_gradient_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = make_classifier()
    calls = []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *args, **options: (calls.append(1), grad(*args, **options))[1])
    detectors = [create(name, **one) for name in ("odin", "iodin") for one in DETECTORS["odin"].grid]
    compute_outputs(classifier, make_images(5), observers=detectors)
    assert len(calls) == 4  # temperatures
    compute_outputs(classifier, make_images(5))
    assert len(calls) == 4


@pytest.mark.parametrize("name", OBSERVERS)
def test_scores_do_not_depend_on_the_cut_into_batches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = make_classifier(0, "cosine" if name == "godin" else "linear", {"rotation": 4})
    found = []
    for size in (_BATCH, 7):
        monkeypatch.setattr("sio_data.detection.passes._BATCH", size)
        train = make_outputs(classifier, 60)
        detector = create(name).fit(train=train, val=train, network=classifier)
        found.append(detector.score(make_outputs(classifier, 20, 3)))
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_a_pass_leaves_the_classifier_as_it_was() -> None:
    classifier = make_classifier().train()
    classifier.network.layers[0][0].requires_grad_(False)
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    outputs = compute_outputs(classifier, make_images(5), observers=[create("odin")], watchers=[create("gram")])
    assert classifier.training
    assert classifier.head.training
    assert [parameter.requires_grad for parameter in classifier.parameters()][:3] == [False, False, True]
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    assert torch.equal(outputs.logits, compute_outputs(classifier.eval(), make_images(5)).logits)
    assert not classifier.network.layers[0][0]._forward_hooks


def test_gradients_through_fixed_normalisation_are_those_of_torch() -> None:
    classifier = make_classifier()
    images = torch.rand(4, 3, 8, 8)

    def gradient_of_logits() -> tuple[torch.Tensor, torch.Tensor]:
        inputs = images.clone().requires_grad_()
        with torch.enable_grad():
            logits = classifier(inputs)
            return logits.detach(), torch.autograd.grad(logits.square().sum(), inputs)[0]

    usual = gradient_of_logits()
    with judging(classifier):
        fixed = gradient_of_logits()
    assert torch.equal(usual[0], fixed[0])
    assert torch.allclose(usual[1], fixed[1], rtol=1e-6)
    assert usual[1].abs().min() > 0
    assert "forward" not in vars(classifier.network.layers[0][1])


def test_stages_are_the_maps() -> None:
    for name, kind in NETWORKS.items():
        network = kind().eval()
        images = torch.rand(1, 3, 32, 32)
        maps = images
        with torch.no_grad():
            for stage in network.stages():
                maps = stage(maps)
            assert torch.equal(maps, network.maps(images)), name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("godin", "it needs the cosine head"),
        ("rotpred", "it needs the rotation head"),
        ("mcd", "it needs the second head"),
    ],
)
def test_networks_that_do_not_fit_are_refused(name: str, message: str) -> None:
    classifier = make_classifier()
    reason = create(name).misfit(classifier)
    assert reason
    assert message in reason
    with pytest.raises(InputError, match=f"{name} does not fit this network: {message}"):
        create(name).fit(network=classifier)


def test_networks_without_stages_or_convolutions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Flat(TinyNetwork):
        stages = TinyNetwork.__mro__[1].stages  # type: ignore[assignment]

        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.AvgPool2d(2), nn.Upsample(scale_factor=1))

    monkeypatch.setitem(NETWORKS, "tiny", Flat)
    classifier = make_classifier()
    for name, message in (("rankfeat", "cut into stages"), ("gram", "with convolutions")):
        assert message in (create(name).misfit(classifier) or "")
    for name in ("adascale_a", "t2fnorm"):
        assert create(name).misfit(make_classifier(head="cosine")) == "it needs a linear head"


def test_what_is_missing_is_said() -> None:
    classifier = make_classifier()
    outputs = make_outputs(classifier, 12)
    bare = Outputs(outputs.logits, outputs.features, outputs.labels)
    with pytest.raises(InputError, match="odin is fitted on the network: give network="):
        create("odin").fit(train=outputs)
    with pytest.raises(InputError, match="odin looks at the network: give network= to fit, or call attach"):
        create("odin").score(outputs)
    with pytest.raises(InputError, match=r"odin looks at images on their way .* make them with compute_outputs"):
        create("odin").fit(network=classifier).score(bare)
    with pytest.raises(InputError, match="gram looks at images on their way"):
        create("gram").fit(train=bare, network=classifier)
    with pytest.raises(InputError, match="gram is not fitted"):
        create("gram").attach(classifier).score(outputs)


def test_where_the_gradient_vanishes_the_step_is_of_sign_plus(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = make_classifier()
    nn.init.constant_(classifier.network.layers[1][0].bias, -100.0)  # no feature is active
    changed = []
    forward = Look.forward
    monkeypatch.setattr(Look, "forward", lambda look, inputs: (changed.append(inputs), forward(look, inputs))[1])
    images = make_images(3)
    compute_outputs(classifier, images, observers=[create("odin", noise=0.1)])
    steps = classifier.normalise(images.images) - changed[0]
    assert torch.allclose(steps, (0.1 / classifier.std).expand_as(steps), atol=1e-5)


def test_what_was_observed_is_enough_without_images() -> None:
    classifier = make_classifier()
    detector = create("odin").fit(network=classifier)
    seen = compute_outputs(classifier, make_images(12), observers=[detector])
    bare = Outputs(seen.logits, seen.features, seen.labels, observed=seen.observed)
    assert np.array_equal(create("odin").score(bare), detector.score(make_outputs(classifier, 12)))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("odin", {"temperature": 0}),
        ("odin", {"noise": -1}),
        ("iodin", {"temperature": -1.0}),
        ("godin", {"noise": float("nan")}),
        ("adascale_a", {"low": 90, "high": 80}),
        ("adascale_a", {"high": 100}),
        ("adascale_l", {"k1": 0}),
        ("adascale_l", {"weight": -1}),
        ("adascale_l", {"o": 2}),
        ("rankfeat", {"temperature": 0}),
        ("gram", {"powers": 0}),
        ("mds_ensemble", {"noise": -1}),
        ("t2fnorm", {"temperature": 0}),
    ],
)
def test_parameters_out_of_range_are_refused(name: str, parameters: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"{name}: "):
        create(name, **parameters)
