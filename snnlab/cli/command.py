"""What the file of a command needs: the decorator, and the types of words that several commands take.

A command is a function in any file of this folder, or of a folder that `SNNLAB_COMMANDS` names. Its positional
parameters are words, those behind `*` are options, `*overrides` takes the settings. Parser, `--help`, completion and
the reference page come from its annotations, defaults and docstring.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from snnlab.errors import join_names
from snnlab.spec.field import Help
from snnlab.spec.interval import between

# The headings of `snnlab --help`, in their order; the last is that of commands that name none.
SECTIONS = ("train and compare", "use a run", "look into a network", "data and files", "more")
F = TypeVar("F", bound=Callable[..., int | None])


def command(
    *names: str,
    section: str = SECTIONS[-1],
    page: str = "",
    synonyms: Sequence[str] = (),
    instead: Mapping[str, str] = MappingProxyType({}),
    shows_settings: bool = False,
) -> Callable[[F], F]:
    """Mark a function as a command: it is found in the source, so that nothing is imported before it is called.

    Args:
        names: `find lr`, or `doctor --stream`, which is chosen where that option is typed; others mean the same.
        section: Heading of `snnlab --help` that it stands under.
        page: Page of the documentation, by default that of the first word.
        synonyms: Words of other programs for the first word.
        instead: Hints for options of other programs.
        shows_settings: Whether its help ends with the groups of YAML files and the settings of an experiment.
    """
    return lambda function: function


class Call(NamedTuple):
    """What was typed behind `snnlab`, and `time.perf_counter()` at the start; a parameter of this type is no option."""

    words: Sequence[str]
    started: float


class Also(NamedTuple):
    """Another spelling of an option."""

    name: str


class FileGroup(NamedTuple):
    """A group of YAML files that the overrides of a command choose from too, and the file that it takes by default."""

    name: str
    default: str | None = None


class Alone(NamedTuple):
    """What an option means without its value, which may be left out."""

    value: Any


class Assigned(NamedTuple):
    """An option that is typed as a setting, `plugins=[my_layers]`."""


class File(NamedTuple):
    """A file that is written: its endings, and whether its folder is made too."""

    endings: tuple[str, ...]
    makes_folder: bool = False

    def problem(self, text: str) -> str | None:
        """Return why a file cannot be written, or None."""
        path = Path(text).expanduser()
        if path.suffix.lower() not in self.endings:
            return f"must end with {join_names(self.endings)}, got {text}"
        if not (self.makes_folder or path.absolute().parent.is_dir()):
            return f"there is no folder {path.parent}"
        return f"{text} is a folder" if path.is_dir() else None


class Proposed(NamedTuple):
    """The words that completion proposes, as a function of the words before."""

    words: Callable[[Sequence[str]], Sequence[str]]


ConfigDir = Annotated[str | None, "dir", Help("folder of your YAML files")]
Run = Annotated[str, "run", Help("folder of a run, outputs/NAME/TIME_SEED, or zoo:NAME")]
Checkpoint = Annotated[Literal["best", "last"], Help("the chosen epoch, or the last")]
Split = Annotated[Literal["test", "val", "train"], Help("part of the recordings")]
FigureFile = Annotated[str | None, "file", File((".png", ".svg", ".pdf"))]
# A fraction above 0; a time up to a hundred days.
Fraction = Annotated[float, between(0, 1, with_low=False)]
Probability = Annotated[float, "probability", between(0, 1, with_low=False)]
Milliseconds = Annotated[float, "ms", between(0, 8.64e9, with_low=False)]
Plugins = Annotated[str | None, "[module,...]", Assigned(), Help("modules that another user's run needs")]


@dataclass(frozen=True)
class FileReading:
    """How files of events are read, where it is not as in the run's dataset."""

    time_unit: Annotated[str | None, "unit", Help("unit of the times in the files")] = None
    time_origin: Annotated[Literal["first", "zero"] | None, Help("time of the first event: its own, or 0")] = None
    columns: Annotated[str | None, "column,...", Help("columns of text files, as t,x,y,p")] = None

    @property
    def given(self) -> dict[str, str]:
        """Return the given options by their names on the command line."""
        return {f"--{name.replace('_', '-')}": value for name, value in vars(self).items() if value is not None}


AS_RECORDED = FileReading()
