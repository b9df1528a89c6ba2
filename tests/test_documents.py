"""What the documents tell people to type exists."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.exceptions import TyperException
from typer.main import get_command

from sio_data.cli import COMMANDS, app

ROOT = Path(__file__).parent.parent
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))


def commands_in(text: str) -> Iterator[list[str]]:
    """The words after `sio-data` of each command in a shell block, or after `Example:` in the help."""
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if "--wrap" in words:
                words = shlex.split(words[words.index("--wrap") + 1])
            if "sio-data" in words:
                yield words[words.index("sio-data") + 1 :]


def parse(words: list[str]) -> None:
    """Let the command line read a command without running it; it exits if there is no such command or option."""
    command = get_command(app).commands[words[0]]
    if "--help" not in words:
        command.make_context(words[0], words[1:])


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_option_on_a_page_exists(page: str) -> None:
    for words in commands_in((ROOT / page).read_text()):
        parse(words)


def test_every_example_in_the_help_can_be_typed() -> None:
    for module in COMMANDS:
        lines = [line for line in module.EXAMPLES.splitlines() if "sio-data " in line]
        assert lines
        for line in lines:
            parse(shlex.split(line.partition("sio-data ")[2]))


def test_the_readme_names_every_command() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [name for name in get_command(app).commands if f"sio-data {name}" not in readme] == []


@pytest.mark.parametrize("words", [["verify", "--sett", "x"], ["verify"]])
def test_a_wrong_command_would_be_noticed(words: list[str]) -> None:
    with pytest.raises(TyperException):
        parse(words)
