"""The terms that something goes out to the Hub under."""

from dataclasses import dataclass

from sio_data.errors import InputError
from sio_data.licences import check_licence, is_known_licence


@dataclass(frozen=True)
class Terms:
    """How something goes out.

    Attributes:
        repository: `owner/name` on the Hub.
        tag: What to load it by; None means the newest state.
        links: Repositories that belong to it: of a set the models trained on it, of a checkpoint its data sets.
    """

    repository: str
    tag: str | None
    links: tuple[str, ...]


def choose_licence(stated: str | None, inherited: str) -> str:
    """Choose the licence of something that goes out: the one that is stated, or else the one that it inherits.

    Raises:
        InputError: None is known, or what is stated is no name of one.
    """
    if stated is not None:
        return _check_stated(check_licence(stated), inherited)
    if not is_known_licence(inherited):
        raise InputError(
            "nothing goes out without a licence, and none is known of the weights that this was made with. "
            "State one: --licence cc-by-4.0"
        )
    return check_licence(inherited)


def _check_stated(licence: str, inherited: str) -> str:
    """Refuse to pass on under other terms what states its own; a text that is no licence's name needs one stated."""
    try:
        known = check_licence(inherited)
    except InputError:
        return licence
    if licence != known:
        raise InputError(
            f"what this was made with states the licence {known}, and --licence asks for {licence}. Leave --licence "
            f"out to publish under {known}. If {known} is wrong, correct it where it comes from (the card of the "
            "generator's weights, import --licence), and make it anew."
        )
    return licence
