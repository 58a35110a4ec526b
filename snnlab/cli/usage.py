"""The help of commands, and the page of the reference: made from signatures, annotations and docstrings."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from snnlab.cli.command import SECTIONS, Alone
from snnlab.cli.command_files import Command, section
from snnlab.cli.words import Word, parameters_of
from snnlab.config.folders import config_folder, group_files, groups, user_folder
from snnlab.errors import join_names

WIDTH = 112
_HEAD = """snnlab: train spiking neural networks on event-camera data, described in YAML

  snnlab COMMAND [...]
"""
_TAIL = """
  snnlab COMMAND --help   arguments and examples of a command
  snnlab --version        the version
  eval "$(snnlab -sc install=bash)"   tab completion; also install=zsh, and install=fish | source

first steps:
  snnlab train                                          the default experiment on embedded data
  snnlab train model=conv_lif data=nmnist neuron.tau_mem=10
"""
_INDENTED: dict[str, Any] = {"initial_indent": "  ", "subsequent_indent": "    ", "break_on_hyphens": False}


def overview(commands: Mapping[str, Sequence[Command]]) -> str:
    """Return what `snnlab --help` prints."""
    width = max(map(len, commands))
    titles = dict.fromkeys([*SECTIONS, *map(section_of, commands.values())])
    parts = [_HEAD]
    for title in titles:
        lines = [f"  {word:{width}}   {summary(all_)}" for word, all_ in commands.items() if section_of(all_) == title]
        parts.append("\n".join(["", f"{title}:", *lines, ""]) if lines else "")
    return "".join([*parts, _TAIL])


def section_of(forms: Sequence[Command]) -> str:
    """Return the heading that a command stands under; its first form says so."""
    return forms[0].settings.get("section", SECTIONS[-1])


def summary(forms: Sequence[Command]) -> str:
    """Return the line of a command: the first sentence of its function, or of the file of its actions."""
    doc = forms[0].doc if forms[0].name == forms[0].word else forms[0].module_doc
    sentence = re.split(r"(?<!\.)\.(?:\s|$)", " ".join(doc.split("\n\n")[0].split()))[0]
    return sentence[:1].lower() + sentence[1:]


def help_text(forms: Sequence[Command], asked: Command | None = None) -> str:
    """Return what `snnlab COMMAND --help` prints: of one command, or of all that share its first word."""
    shown = [asked] if asked else forms
    usage = "usage: " + "\n       ".join(map(_usage_line, shown))
    has_own = len(shown) == 1 or shown[0].name == shown[0].word
    body = [] if has_own else ["\n".join(section(shown[0].module_doc))]
    said: set[tuple[str, str]] = set()
    for one in shown:
        title = [f"snnlab {one.name}"] if len(shown) > 1 and one.name != one.word else []
        body += ["\n".join([*title, *section(one.doc)]), _table([row for row in _rows(one) if row not in said])]
        said |= {*_rows(one)}
    examples = "\n".join(f"  {line}" for one in shown for line in section(one.doc, "Examples"))
    page = shown[0].settings.get("page", shown[0].word)
    more = f"more: snnlab docs {page}" if page != "docs" else ""
    settings = settings_text() if shown[0].settings.get("shows_settings") else ""
    return "\n\n".join(part for part in (usage, *body, examples, settings, more) if part) + "\n"


def reference_text(commands: Mapping[str, Sequence[Command]]) -> str:
    """Return the page of the reference, in Markdown."""
    parts = ["# Commands\n", "All commands print this with `--help`.\n"]
    for word, forms in commands.items():
        text = help_text(forms).rstrip()
        parts.append(f"## snnlab {word}\n\n{summary(forms).capitalize()}.\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def settings_text() -> str:
    """Return the groups of YAML files, and the settings of an experiment with their meanings and defaults."""
    user_dir = user_folder()
    found = {one: join_names(group_files(one, user_dir)) for one in sorted(groups(config_folder(), user_dir))}
    lines = [line for one, names in found.items() for line in textwrap.wrap(f"{one}: {names}", WIDTH, **_INDENTED)]
    text = (config_folder() / "train.yaml").read_text(encoding="utf-8")
    root = text[text.index("defaults:") : text.index("\nhydra:")].rstrip()
    heads = "groups of files (GROUP=FILE):", "settings (KEY=VALUE) and their defaults; --cfg job prints all:"
    return "\n".join([heads[0], *lines, "", heads[1], "", textwrap.indent(root, "  ")])


def _usage_line(command: Command) -> str:
    """Return a command with its words and the options that it needs."""
    parameters = parameters_of(command)
    shown = [word.value_name if word.field.required else f"[{word.value_name}]" for word in parameters.positional]
    if many := parameters.many:
        shown.append("[OVERRIDES]" if parameters.takes_overrides else f"{many.value_name} ...")
    shown += [_typed(one, one.names) for one in parameters.words.values() if one.is_option and one.field.required]
    shown += ["[OPTIONS]"] if any(not one.field.required for one in parameters.options.values()) else []
    first, *others = (command.place if command.flag in parameters.options else command.name).split()
    action = " ".join(others)
    return " ".join(
        ["snnlab", first, *([f"[{action}]" if first in command.names[1:] else action] if action else []), *shown]
    )


def _typed(word: Word, names: Sequence[str]) -> str:
    """Return an option with what stands for its value, or a word."""
    if word.is_flag or not word.is_option:
        return ", ".join(names)
    value = f"[{word.value_name}]" if word.note(Alone) else word.value_name
    return f"{', '.join(names)}{'' if names[0].endswith('=') else ' '}{value}"


def _rows(command: Command) -> list[tuple[str, str]]:
    """Return each word and option of a command, and its meaning, range and default."""
    return [(_typed(word, word.names), _meaning(word)) for word in parameters_of(command).words.values()]


def _table(rows: Sequence[tuple[str, str]]) -> str:
    left = min(max((len(name) for name, _ in rows), default=0), 30)
    space = " " * (left + 5)
    lines = []
    for name, text in rows:
        wrapped = textwrap.fill(text, WIDTH, initial_indent=space, subsequent_indent=space) or space
        lines.append(f"  {name:{left}}   {wrapped.lstrip()}" if len(name) <= left else f"  {name}\n{wrapped}")
    return "\n".join(lines)


def _meaning(word: Word) -> str:
    field = word.field
    facts = [str(field.interval)] if field.interval and field.interval.has_ends else []
    if not field.required and field.default not in (None, (), "") and field.default is not False:
        facts.append(f"default {field.default:g}" if isinstance(field.default, float) else f"default {field.default}")
    help_ = field.help.rstrip(".")
    help_ = help_[:1].lower() + help_[1:]
    return help_ + (f" ({'; '.join(facts)})" if facts and help_ else "; ".join(facts))
