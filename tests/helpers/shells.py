"""Shells that complete a line as they do for a person: an interactive shell on a terminal of its own."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

PATIENCE = 30
"""Seconds a shell may take for one line."""

KEYS = "\x18p"
"""Control-X p: the key that writes the line of a shell to a file."""

SETUP = {
    "bash": """PS1='ready> '; bind 'set completion-query-items 0'; bind 'set page-completions off'
bind -x '"\\C-xp": printf "%s" "$READLINE_LINE" > "$ANSWER"'
source "$SCRIPT"
""",
    "zsh": """PS1='ready> '; unsetopt beep; LISTMAX=10000; autoload -Uz compinit; compinit -u -d "$ANSWER.dump"
hits() { if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\\ * ]]; then builtin compadd "$@"; return; fi
local -a found; builtin compadd -A found "$@"; print -rl -- $found >> "$ANSWER.offers"; builtin compadd "$@"; }
compadd() { hits "$@"; }
line() { print -rn -- "$BUFFER" > "$ANSWER"; }; zle -N line; bindkey '^Xp' line
source "$SCRIPT"
""",
}
COMMAND = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}

ON_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)
"""Makes the terminal the child's own, and becomes the shell."""


def path_of(shell: str) -> str:
    """Where a shell is; the test is skipped where it is not installed."""
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    return found


def completed(
    shell: str, script: Path, line: str, folder: Path, functions: Path | None = None
) -> tuple[str, list[str]]:
    """A line after the tabulator key, and what the shell offers for it (only zsh says that).

    Args:
        shell: ``bash`` or ``zsh``.
        script: Read when the shell starts.
        line: What is typed before the key.
        folder: Where the shell stands.
        functions: A folder in which zsh looks for functions.
    """
    answer, setup = (folder.parent / f"{shell}.{end}" for end in ("line", "setup"))
    setup.write_text((f"fpath=({functions} $fpath)\n" if functions else "") + SETUP[shell])
    environment = {**os.environ, "SCRIPT": str(script), "ANSWER": str(answer), "TERM": "dumb", "LC_ALL": "C.UTF-8"}
    terminal, its_side = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", ON_TERMINAL, *COMMAND[shell]],
        stdin=its_side, stdout=its_side, stderr=its_side, cwd=folder, env=environment, start_new_session=True,
    ) as child:  # fmt: skip
        os.close(its_side)
        try:
            os.write(terminal, f" source '{setup}'\n".encode())
            _read(terminal, until=lambda text: "ready> " in text)
            os.write(terminal, f"{line}\t{KEYS}".encode())
            _read(terminal, until=lambda _: answer.exists() and answer.read_text() != "")
        finally:
            child.kill()
            os.close(terminal)
    offers = Path(f"{answer}.offers")
    found = offers.read_text().split("\n") if offers.exists() else []
    return answer.read_text(), [offer for offer in found if offer]


def _read(terminal: int, until: Callable[[str], bool]) -> None:
    """Reads what a shell shows, so that it never waits for a reader."""
    text, end = "", time.monotonic() + PATIENCE
    while not until(text):
        assert time.monotonic() < end, text
        if select.select([terminal], [], [], 0.05)[0]:
            text += os.read(terminal, 65536).decode(errors="replace")


def fish_offers(script: Path, line: str, folder: Path) -> list[str]:
    """What fish offers for a line."""
    code = "source $argv[1]; complete -C $argv[2]"
    done = subprocess.run(
        [path_of("fish"), "--no-config", "-c", code, str(script), line],
        cwd=folder, capture_output=True, text=True, check=True, timeout=PATIENCE,
        env={**os.environ, "HOME": str(folder.parent), "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert done.stderr == ""
    return [offer.split("\t")[0] for offer in done.stdout.splitlines()]
