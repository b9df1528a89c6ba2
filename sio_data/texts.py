"""Texts from outside on their way to a terminal."""


def printable(text: str) -> str:
    r"""Show what a terminal would obey, not print, by its escape: `\x1b` for ESC, `\u202e` for a change of direction.

    Names and notes in a set may hold anything; written raw they could move the cursor or repaint what stands above.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
