"""What ``toybed`` says to somebody who comes in, and what makes a shell complete its commands."""

from __future__ import annotations

import contextlib
import io
import json

import tyro
from rich.console import Console

WELCOME = (
    ("To run a benchmark", "toybed run entropy_law --quick"),
    ("To check your own objective", "toybed check my_losses:my_loss"),
    ("To teach with it", "toybed course --to lessons"),
)
"""What each of three kinds of people comes for, and the command to begin with."""

INSTALL = {
    "bash": "toybed completion bash > ~/.local/share/bash-completion/completions/toybed",
    "zsh": "toybed completion zsh > ~/.zfunc/_toybed  # with: fpath+=~/.zfunc; autoload -Uz compinit; compinit",
}
"""Where each shell looks for completions, as a command."""


def print_welcome() -> None:
    """Print what to do first: a line for each kind of person."""
    console = Console(highlight=False)
    console.print("[bold]toybed[/bold] tests, with toy policies, what becomes of a policy's entropy in RL.\n")
    for who, command in WELCOME:
        console.print(f"{who + ':':29}[bold]{command}[/bold]", soft_wrap=True)
    console.print("\ntoybed --help shows every command; toybed doctor looks at this machine.", soft_wrap=True)


def print_completion(shell: str, *, as_json: bool) -> None:
    """Print the script that completes commands and options in a shell."""
    script = completion(shell)
    print(json.dumps({"shell": shell, "install": INSTALL[shell], "script": script}) if as_json else script, end="")
    if as_json:
        print()


def completion(shell: str) -> str:
    """The script that tyro makes for a shell."""
    from toybed.cli import COMMANDS

    # To the interpreter's own standard output, which is where tyro prints.
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="toybed", args=["--tyro-print-completion", shell], config=(tyro.conf.FlagCreatePairsOff,)
        )
    return text.getvalue()
