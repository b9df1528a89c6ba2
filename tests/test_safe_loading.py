"""Configs that would make a library reach elsewhere."""

from typing import Any

import pytest

from sio_data.errors import InputError
from sio_data.safe_loading import check_config


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "timm_wrapper", "architecture": "hf-hub:other/repository"},
        {"model_type": "timm_wrapper", "architecture": "resnet18", "model_args": {"checkpoint_path": "/elsewhere"}},
        {"model_type": "dpt", "backbone_config": {"model_type": "timm_backbone", "backbone": "local-dir:/elsewhere"}},
    ],
)
def test_models_of_timm_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"config\.json is of a model of timm"):
        check_config(config, "config.json")


@pytest.mark.parametrize(
    "entry", [{"backbone": "other/repository"}, {"pretrained_cfg": {"hf_hub_id": "other/repository"}}]
)
def test_what_names_another_repository_is_refused(entry: dict[str, Any]) -> None:
    check_config({"model_type": "dpt", "backbone": None, "layers": ["timm_wrapper", {"model_type": ["vit"]}]}, "here")
    with pytest.raises(InputError, match=f"here has {next(iter(entry))}"):
        check_config({"model_type": "dpt"} | entry, "here")
