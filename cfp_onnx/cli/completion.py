"""Scripts that complete the command line in a shell, written from the parsers themselves."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from cfp_onnx.cli.options import PROGRAM, Parser

FILES = frozenset({"A", "B", "CLIP", "ENV", "F", "FILE", "MODEL", "ROOT", "SOURCE"})
"""Metavars that stand for a file; a folder may be meant too."""

FOLDERS = frozenset({"DIR"})
"""Metavars that stand for a folder."""


class Word(NamedTuple):
    """An option or argument, as a shell needs to know it.

    Attributes:
        flags: As it is typed; empty for an argument.
        name: What stands for its value.
        help: Its line of the help text, empty where there is none.
        takes: Whether a value follows.
        values: What is offered as its value.
        files: ``files``, ``folders``, or empty where a value is no path.
        repeatable: Whether there may be several.
    """

    flags: tuple[str, ...]
    name: str
    help: str
    takes: bool
    values: tuple[str, ...]
    files: str
    repeatable: bool


class Command(NamedTuple):
    """A command with what it takes."""

    name: str
    help: str
    options: tuple[Word, ...]
    arguments: tuple[Word, ...]


def described(name: str, text: str, parser: Parser) -> Command:
    """What a command takes, read from its parser."""
    words = [_word(action, parser.suggestions.get(action.dest, ())) for action in parser.arguments()]
    return Command(
        name, text, options=tuple(w for w in words if w.flags), arguments=tuple(w for w in words if not w.flags)
    )


def _word(action: argparse.Action, suggestions: Sequence[str]) -> Word:
    name = action.metavar if isinstance(action.metavar, str) else action.dest
    repeatable = action.nargs in {"*", "+"} or type(action).__name__ == "_AppendAction"
    values = tuple(suggestions) or tuple(str(c) for c in action.choices or ())
    files = "files" if name in FILES else "folders" if name in FOLDERS else ""
    return Word(tuple(action.option_strings), name, action.help or "", action.nargs != 0, values, files, repeatable)


def script(shell: str, program: Command, commands: Sequence[Command]) -> str:
    """The script for a shell.

    Args:
        shell: ``bash``, ``zsh`` or ``fish``.
        program: The program's own options; its arguments are the commands and are not looked at.
        commands: Every command.
    """
    head = f"# Completion of {PROGRAM} for {shell}, written by: {PROGRAM} completion {shell}\n"
    lines = "".join(f"{line}\n" for line in _WRITERS[shell](program, commands))
    return f"#compdef {PROGRAM}\n{head}\n{lines}" if shell == "zsh" else f"{head}\n{lines}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# -------------------------------------------------------------------------------------------------- bash

_BASH_START = r"""_cfp_onnx() {
    local i part glue= words=()
    # Readline cuts words at : and =; here they are one word again.
    for ((i = 1; i <= COMP_CWORD; i++)); do
        part=${COMP_WORDS[i]}
        if ((${#words[@]})) && [[ -n $glue || $part == [:=]* ]]; then
            words[${#words[@]} - 1]+=$part
        else
            words+=("$part")
        fi
        [[ $part == *[:=] ]] && glue=1 || glue=
    done
    local last=$((${#words[@]} - 1)) command= flag= place=0
    local typed=${words[last]}
    local word=$typed option=
    for ((i = 0; i < last; i++)); do
        if [[ -n $flag ]]; then
            flag= # this word is its value
        elif [[ ${words[i]} != -* ]]; then
            if [[ -z $command ]]; then command=${words[i]}; else ((place += 1)); fi
        elif [[ " $(_cfp_onnx_valued "$command") " == *" ${words[i]} "* ]]; then
            flag=${words[i]}
        fi
    done
    if [[ -z $flag && $word == --*=* ]]; then
        flag=${word%%=*} option=${word%%=*}= word=${word#*=}
    fi
    local values= files=
    case "$command $flag" in
"""
_BASH_END = r"""    esac
    COMPREPLY=()
    local action=(-W "$values") reply breaks=${COMP_WORDBREAKS//[^:=]/} head=
    if [[ -n $files ]]; then
        [[ $files == files ]] && action=(-f) || action=(-d)
        compopt -o filenames -o default 2>/dev/null
    fi
    # Readline replaces only what stands behind the last break.
    [[ -n $breaks && $typed == *[$breaks]* ]] && head=${typed%"${typed##*[$breaks]}"}
    while IFS= read -r reply; do
        reply=$option$reply
        COMPREPLY+=("${reply#"$head"}")
    done < <(compgen "${action[@]}" -- "$word")
}

complete -F _cfp_onnx cfp-onnx"""


def _bash(program: Command, commands: Sequence[Command]) -> Iterator[str]:
    yield "_cfp_onnx_valued() {"
    yield '    case "$1" in'
    for command in commands:
        valued = [flag for option in command.options if option.takes for flag in option.flags]
        yield f"        {command.name}) echo {_quoted(' '.join(valued))} ;;"
    yield "    esac"
    yield "}"
    yield ""
    yield _BASH_START.rstrip("\n")
    yield f"        ' ') values={_quoted(' '.join([*(c.name for c in commands), *_flags(program)]))} ;;"
    for command in commands:
        for option in command.options:
            if option.takes and (option.values or option.files):
                cases = " | ".join(_quoted(f"{command.name} {flag}") for flag in option.flags)
                yield f"        {cases}) {_bash_offer(option)} ;;"
        yield f"        {_quoted(f'{command.name} ')})"
        yield "            case $word:$place in"
        yield f"                -*) values={_quoted(' '.join(_flags(command)))} ;;"
        for place, argument in enumerate(command.arguments):
            yield f"                *:{'*' if argument.repeatable else place}) {_bash_offer(argument)} ;;"
        yield f"                *) values={_quoted(' '.join(_flags(command)))} ;;"
        yield "            esac"
        yield "            ;;"
    yield _BASH_END


def _bash_offer(word: Word) -> str:
    return f"values={_quoted(' '.join(word.values))}" if word.values else f"files={word.files}"


def _flags(command: Command) -> list[str]:
    return [flag for option in command.options for flag in option.flags if flag.startswith("--")]


# --------------------------------------------------------------------------------------------------- zsh

_ZSH_END = """            esac
            ;;
    esac
}

if [ "$funcstack[1]" = _cfp-onnx ]; then
    _cfp-onnx "$@"
else
    compdef _cfp-onnx cfp-onnx
fi"""


def _zsh(program: Command, commands: Sequence[Command]) -> Iterator[str]:
    yield "_cfp-onnx() {"
    yield '    local curcontext="$curcontext" state line'
    yield "    local -A opt_args"
    yield "    _arguments -C -A '-*' \\"
    yield from (f"        {_zsh_option(option)} \\" for option in program.options)
    yield "        '1:command:->command' '*::argument:->argument'"
    yield "    case $state in"
    yield "        command)"
    yield "            local -a commands=("
    yield from (f"                {_quoted(f'{c.name}:{c.help}')}" for c in commands)
    yield "            )"
    yield "            _describe -t commands command commands"
    yield "            ;;"
    yield "        argument)"
    yield "            case $words[1] in"
    for command in commands:
        yield f"                {command.name})"
        yield "                    _arguments \\"
        words = [*map(_zsh_option, command.options), *_zsh_arguments(command.arguments)]
        yield from (f"                        {word} \\" for word in words[:-1])
        yield f"                        {words[-1]}"
        yield "                    ;;"
    yield _ZSH_END


def _zsh_option(option: Word) -> str:
    marks = "*" if option.repeatable else f"({' '.join(option.flags)})"
    value = f":{_zsh_escaped(option.name)}:{_zsh_action(option)}" if option.takes else ""
    flags = [f"{flag}=" if option.takes and flag.startswith("--") else flag for flag in option.flags]
    return " ".join(_quoted(f"{marks}{flag}[{_zsh_escaped(option.help)}]{value}") for flag in flags)


def _zsh_arguments(arguments: Sequence[Word]) -> Iterator[str]:
    for place, word in enumerate(arguments, 1):
        number = "*" if word.repeatable else place
        yield _quoted(f"{number}:{_zsh_escaped(word.name)}:{_zsh_action(word)}")


def _zsh_action(word: Word) -> str:
    if word.values:
        return f"({' '.join(map(_zsh_escaped, word.values))})"
    return {"files": "_files", "folders": "_directories", "": " "}[word.files]


def _zsh_escaped(text: str) -> str:
    return re.sub(r"([\\:\[\]])", r"\\\1", text)


# -------------------------------------------------------------------------------------------------- fish

_FISH_START = """# Whether the line's command is the one that is named, or there is none yet and none is named.
function __cfp_onnx_is
    for word in (commandline -opc)[2..]
        if not string match -q -- '-*' $word
            test "$word" = "$argv[1]"
            return
        end
    end
    test -z "$argv[1]"
end

complete -c cfp-onnx -f"""


def _fish(program: Command, commands: Sequence[Command]) -> Iterator[str]:
    yield _FISH_START
    start = "complete -c cfp-onnx -n __cfp_onnx_is"
    yield from (f"{start} {_fish_option(option)}" for option in program.options)
    yield from (f"{start} -a {c.name} -d {_quoted(c.help)}" for c in commands)
    for command in commands:
        yield ""
        chosen = f"__cfp_onnx_is {command.name}"
        for word in command.arguments:
            if word.values:
                named = f"__fish_seen_subcommand_from {' '.join(word.values)}"
                values = _quoted(" ".join(word.values))
                yield f"complete -c cfp-onnx -n {_quoted(f'{chosen}; and not {named}')} -a {values}"
                chosen += f"; and {named}"
        if any(word.files for word in command.arguments):
            yield f"complete -c cfp-onnx -n {_quoted(chosen)} -F"
        start = f"complete -c cfp-onnx -n {_quoted(f'__cfp_onnx_is {command.name}')}"
        yield from (f"{start} {_fish_option(option)}" for option in command.options)


def _fish_option(option: Word) -> str:
    parts = [f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags]
    if option.values:
        parts.append(f"-x -a {_quoted(' '.join(option.values))}")
    elif option.files:
        parts.append("-r -F" if option.files == "files" else "-x -a '(__fish_complete_directories)'")
    elif option.takes:
        parts.append("-x")
    return " ".join([*parts, *([f"-d {_quoted(option.help)}"] if option.help else [])])


_WRITERS: Mapping[str, Callable[[Command, Sequence[Command]], Iterator[str]]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
}

SHELLS = tuple(_WRITERS)

__all__ = ["FILES", "FOLDERS", "SHELLS", "Command", "Word", "described", "script"]
