import pytest

from sio_data.errors import InputError
from sio_data.licences import check_licence, is_known_licence, licence_metadata


@pytest.mark.parametrize(("text", "name"), [("MIT", "mit"), (" cc-by-4.0 ", "cc-by-4.0"), ("openrail++", "openrail++")])
def test_names_are_written_as_the_hub_does(text: str, name: str) -> None:
    assert check_licence(text) == name
    assert licence_metadata(name) == {"license": name}


@pytest.mark.parametrize("text", ["", "  ", "unknown", "None", "CC BY 4.0", "mit\nx: y", "-mit", "x" * 97, "ä"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no name like cc-by-4"):
        check_licence(text)


def test_a_name_of_ones_own_is_told_as_such() -> None:
    assert licence_metadata("nvidia-research") == {"license": "other", "license_name": "nvidia-research"}
    assert licence_metadata("Nvidia: research only") == {"license": "other", "license_name": "Nvidia: research only"}


@pytest.mark.parametrize("text", ["", "unknown", "Unknown", "none"])
def test_an_unknown_one_is_unknown(text: str) -> None:
    assert not is_known_licence(text)
    assert licence_metadata(text) == {"license": "unknown"}
