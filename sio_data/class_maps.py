"""Class maps, matched by name."""

from collections.abc import Sequence

from sio_data.errors import ClassMapError


def match_classes(own: Sequence[str], wanted: Sequence[str], name: str) -> list[int]:
    """Give for each class of a set its index in another class map.

    Args:
        own: The class map of the set.
        wanted: The other class map; it may hold more classes.
        name: What to call the set in messages.

    Raises:
        ClassMapError: The set has a class that is not in the map wanted.
    """
    places = {class_name: place for place, class_name in enumerate(wanted)}
    missing = [class_name for class_name in own if class_name not in places]
    if missing:
        raise ClassMapError(
            f"{name} has the class(es) {', '.join(missing)}, which are not among {', '.join(wanted)}. "
            "Classes are matched by name: rename them, or leave them out."
        )
    return [places[class_name] for class_name in own]
