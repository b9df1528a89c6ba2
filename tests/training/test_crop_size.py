from pathlib import Path

import pytest
import torch

from sio_data import Classifier, evaluate, load_source, train
from sio_data.detection import compute_outputs
from sio_data.errors import InputError
from sio_data.training.augmentation import centre


def test_a_classifier_of_crops_is_judged_by_the_middle_of_pictures_loaded_larger(tmp_path: Path) -> None:
    options = {"image_size": 16, "crop_size": 14, "augmentation": "resized-crop-flip"}
    train("digits", tmp_path / "runs", epochs=2, seeds=[0], **options)
    classifier = Classifier.from_pretrained(tmp_path / "runs/seed-0")
    assert (classifier.image_size, classifier.load_size) == (14, 16)
    test = load_source("digits", "test", image_size=16)
    outputs = compute_outputs(classifier, test)
    with torch.inference_mode():
        assert torch.allclose(outputs.logits[:9], classifier(centre(test.images[:9], 14)), atol=1e-5)
    done = evaluate(
        [tmp_path / "runs"], tmp_path / "report", id="digits", ood=["near:a=digits-unknown"], detectors=["msp"]
    )
    assert done.results.runs[0].accuracy == outputs.accuracy


@pytest.mark.parametrize("size", [7, 10**6, "9"])
def test_a_load_size_out_of_range_is_refused(size: object) -> None:
    with pytest.raises(InputError, match="load_size must be from 8"):
        Classifier("convnet", ["a", "b"], 8, load_size=size)
