"""Texts from outside on their way to a terminal, a file or a card."""

import re
from urllib.parse import unquote

# A password may hold what ends a host, such as the `/` of many secret keys; after `:` a number and `/` is a port.
_LOGIN = r"[^/\s]*|[^/\s:@]*:(?!\d+[/?#])\S*?"
_URL_LOGIN = re.compile(rf"(?<=://)({_LOGIN})@")
_QUERY = re.compile(r"(\w+://[^\s?#\"'<>]+)[?#][^\s\"'<>]*")


def printable(text: str) -> str:
    r"""Show what a terminal would obey, not print, by its escape: `\x1b` for ESC, `\u202e` for a change of direction.

    Names and notes in a set may hold anything; written raw they could move the cursor or repaint what stands above.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def clean_urls(text: str) -> str:
    """Take names and passwords, queries and fragments out of all URLs in a text; a URL alone is such a text, too."""
    return _QUERY.sub(r"\1", _URL_LOGIN.sub("", text))


def url_secrets(url: str) -> list[str]:
    """Give what a URL says of a login, in each form that an error message may quote."""
    found = _URL_LOGIN.search(url)
    if found is None:
        return []
    login, password = found[1], found[1].partition(":")[2]
    return [form for text in (login, password) if text for form in (text, unquote(text))]


def redact(text: str, *secrets: str) -> str:
    """Take tokens, and logins and queries of addresses, out of a text, and cut it to a line.

    Args:
        text: What a server or a library said.
        secrets: What else must not be in it.
    """
    for secret in filter(None, secrets):
        text = text.replace(secret, "…")
    text = re.sub(r"\bhf_\w+", "…", text)
    text = re.sub(r"(?i)\bbearer\s+\S+", "…", text)
    text = " ".join(clean_urls(text).split())
    return (text if len(text) <= 300 else f"{text[:299]}…").rstrip(".")
