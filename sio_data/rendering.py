"""Fill in the card templates of `cards/`."""

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
import yaml
from markupsafe import Markup


def render_card(template: str, metadata: dict[str, Any], **values: object) -> str:
    """Render a card: the metadata as YAML on top, then the filled-in template.

    Args:
        template: Name of a template in `cards/`, without `.md.jinja`.
        metadata: What stands between the `---` lines; the YAML writer quotes it, so that no text can break out.
        **values: What the template uses. Line breaks, `<`, `|` and the like in texts are made harmless.
    """
    body = _environment().from_string(_read("sio_data.cards", f"{template}.md.jinja")).render(values)
    front = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=10**6)
    if yaml.safe_load(front) != metadata:  # some signs that end a line, like U+0085, only survive when escaped
        front = yaml.safe_dump(metadata, sort_keys=False, width=10**6)
    return f"---\n{front}---\n\n{body}"


def render_html(package: str, template: str, **values: object) -> str:
    """Render an HTML template that lies in a package; all values are escaped."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_read(package, template)).render(values)


def render_standalone(package: str, name: str, /, **values: object) -> str:
    """Render `NAME.html.jinja` with its style `NAME.css` and its script `NAME.js`, which lie in the same package.

    Args:
        package: Where they lie.
        name: What they are called.
        **values: What the template uses, beside `style`, `script` and, for its Content-Security-Policy, their hashes
            `style_hash` and `script_hash`. All are escaped.
    """
    style, script = _read(package, f"{name}.css"), _read(package, f"{name}.js")
    return render_html(
        package,
        f"{name}.html.jinja",
        style=Markup(style),  # noqa: S704  our own file
        script=Markup(script),  # noqa: S704  our own file
        style_hash=_hash(style),
        script_hash=_hash(script),
        **values,
    )


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


# Signs of Markdown and HTML, and what makes a link of a bare address, or a mention of a name.
_SYNTAX = re.compile(r"[\\`*\[\]<>|&#!~@]|:(?=//)|(?<=www)\.", re.IGNORECASE)


class Verbatim(str):
    """A text that a card shows as it is: in a code block, and without what could end one."""


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        autoescape=False,  # noqa: S701  Markdown; `_harmless` is the escaping that it needs
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_harmless,
    )


def _harmless(value: object) -> object:
    """Keep a text on its line and out of Markdown's and HTML's syntax."""
    if not isinstance(value, str) or isinstance(value, Verbatim):
        return value
    return _SYNTAX.sub(lambda sign: f"&#{ord(sign[0])};", " ".join(value.split()))


def _read(package: str, template: str) -> str:
    return files(package).joinpath(template).read_text(encoding="utf-8")
