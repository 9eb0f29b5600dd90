"""The demonstration's scenario: who works, whom they speak of, what happens, from a TOML file.

The format is explained in docs/demo.md. Reading checks everything that can be known beforehand (names,
who is a member when, which message is answered), so that a changed copy fails at once and clearly.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from ..errors import PliError, system_reason
from ..i18n import N_

FORMAT: Final = 1
DATA: Final = Path(__file__).parent / "data"
DEFAULT: Final = DATA / "releve.toml"

SHORTEST_NEEDLE: Final = 6
"""Characters of the shortest record id and file name: what is shorter is found anywhere by chance."""

Key = Annotated[str, Meta(pattern=r"^[a-z0-9_-]{1,32}$")]
Words = Annotated[str, Meta(min_length=1, max_length=128)]
NoteType = Literal["GEN", "OBS", "INTERV", "INST", "DEM-AVIS"]


class ScenarioError(PliError):
    """A scenario that cannot be played; `what` says why, for the person who wrote it."""

    code = "scenario"
    CAUSE = N_("The scenario %(file)s cannot be played: %(what)s.")
    REMEDY = N_("Its format is explained in docs/demo.md.")

    def __init__(self, file: str, what: str) -> None:
        super().__init__(file=file, what=what)


class _Part(Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the scenario."""


class Professional(_Part, frozen=True):
    key: Key
    name: Words
    profession: Words
    rpps: Annotated[str, Meta(pattern=r"^[0-9]{11}$")] | None = None


class Bot(_Part, frozen=True):
    name: Words = "Dossier usager"


class Usager(_Part, frozen=True):
    key: Key
    name: Words
    record: Annotated[str, Meta(min_length=SHORTEST_NEEDLE, max_length=128)]


class _Step(_Part, frozen=True, tag_field="do"):
    who: Key


class Start(_Step, frozen=True, tag="start"):
    """`who` opens a conversation with `members`."""

    conversation: Key
    title: Words
    members: tuple[Key, ...]


class Send(_Step, frozen=True, tag="send"):
    """`who` writes. Texts are unique in a scenario, so that doubled messages can be told."""

    conversation: Key = msgspec.field(name="in")
    text: Annotated[str, Meta(min_length=1, max_length=8000)]
    id: Key | None = None
    reply_to: Key | None = None
    urgent: bool = False
    record: Key | None = None
    note_type: NoteType | None = None
    files: tuple[str, ...] = ()


class Attach(_Step, frozen=True, tag="attach"):
    """`who` puts an earlier message into a record."""

    message: Key
    record: Key
    note_type: NoteType | None = None


class Detach(_Step, frozen=True, tag="detach"):
    """`who` takes it off again."""

    message: Key
    record: Key
    reason: str = ""


class Add(_Step, frozen=True, tag="add"):
    conversation: Key
    person: Key


class Remove(_Step, frozen=True, tag="remove"):
    conversation: Key
    person: Key


class Rename(_Step, frozen=True, tag="rename"):
    conversation: Key
    title: Words


class KillRelay(_Part, frozen=True, tag_field="do", tag="kill-relay"):
    """The relay's process gets SIGKILL; what is written from here on waits."""


class RestartRelay(_Part, frozen=True, tag_field="do", tag="restart-relay"):
    """The relay starts again on the same files."""


Step = Start | Send | Attach | Detach | Add | Remove | Rename | KillRelay | RestartRelay


class Scenario(_Part, frozen=True):
    format: Literal[1]
    title: Words
    establishment: Words
    record_system: Words
    people: tuple[Professional, ...]
    usagers: tuple[Usager, ...]
    steps: tuple[Step, ...]
    bot: Bot = Bot()

    def person(self, key: str) -> Professional:
        return next(person for person in self.people if person.key == key)

    def usager(self, key: str) -> Usager:
        return next(usager for usager in self.usagers if usager.key == key)

    @property
    def messages(self) -> tuple[Send, ...]:
        return tuple(step for step in self.steps if isinstance(step, Send))


def load(path: Path = DEFAULT) -> Scenario:
    """Read and check a scenario.

    Raises:
        ScenarioError: unreadable, not in the format, or its steps do not fit together.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        scenario = msgspec.convert(data, Scenario)
    except (OSError, UnicodeDecodeError) as error:
        reason = system_reason(error) if isinstance(error, OSError) else "UTF-8"
        raise ScenarioError(path.name, reason) from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ScenarioError(path.name, str(error)) from None
    _Check(path, scenario).run()
    return scenario


def file_of(name: str, scenario_path: Path) -> Path:
    """Where a message's file lies: beside the scenario, else among the package's own."""
    beside = scenario_path.parent / name
    return beside if beside.is_file() else DATA / name


class _Check:
    """Plays the scenario's memberships on paper; stops at the first step that cannot be."""

    def __init__(self, path: Path, scenario: Scenario) -> None:
        self._path, self._scenario = path, scenario
        self._members: dict[str, set[str]] = {}
        self._messages: dict[str, str] = {}
        self._attached: set[tuple[str, str]] = set()
        self._texts: set[str] = set()
        self._relay_up = True
        self._undelivered: dict[str, str] = {}
        """Messages that only their author has, since the relay is down: id to author."""

    def run(self) -> None:
        self._in_flight = False
        people = [person.key for person in self._scenario.people]
        usagers = [usager.key for usager in self._scenario.usagers]
        self._require(len(people) >= 2, "people: at least two are needed")
        self._require(len(set(people)) == len(people), "people: a key stands twice")
        self._require(len(set(usagers)) == len(usagers), "usagers: a key stands twice")
        steps = self._scenario.steps
        for number, step in enumerate(steps, 1):
            following = steps[number] if number < len(steps) else None
            self._in_flight = isinstance(following, KillRelay)
            self._where = f"step {number} ({type(step).__struct_config__.tag})"
            if not isinstance(step, KillRelay | RestartRelay):
                self._known("person", step.who, people)
            self._step(step, people, usagers)
        self._require(self._relay_up, "the relay is never restarted")

    def _step(self, step: Step, people: list[str], usagers: list[str]) -> None:
        match step:
            case Start():
                self._start(step, people)
            case Send():
                self._send(step, usagers)
            case Attach() | Detach():
                self._record(step, usagers)
            case Add() | Remove():
                self._known("person", step.person, people)
                self._member(step.who, step.conversation)
                there = step.person in self._members[step.conversation]
                self._at(
                    there == isinstance(step, Remove),
                    f"{step.person} is {'' if there else 'not '}there",
                )
                self._members[step.conversation] ^= {step.person}
            case Rename():
                self._member(step.who, step.conversation)
            case KillRelay() | RestartRelay():
                self._at(self._relay_up == isinstance(step, KillRelay), "the relay's state")
                self._relay_up = not self._relay_up
                if self._relay_up:
                    self._undelivered.clear()

    def _start(self, step: Start, people: list[str]) -> None:
        self._at(step.conversation not in self._members, f"{step.conversation} exists already")
        self._at(self._relay_up, "a conversation cannot start while the relay is down")
        for member in step.members:
            self._known("person", member, people)
        self._members[step.conversation] = {step.who, *step.members}

    def _send(self, step: Send, usagers: list[str]) -> None:
        self._member(step.who, step.conversation)
        self._at(step.text not in self._texts, "this text was sent before")
        self._texts.add(step.text)
        if step.record is not None:
            self._known("usager", step.record, usagers)
        self._at(step.note_type is None or step.record is not None, "note_type without record")
        if step.reply_to is not None:
            self._message(step.reply_to, step.conversation)
            self._there(step.reply_to, step.who)
        for name in step.files:
            self._at(len(name) >= SHORTEST_NEEDLE, f"the file name {name} is too short")
            self._at(file_of(name, self._path).is_file(), f"no file {name}")
        if step.id is not None:
            self._at(step.id not in self._messages, f"the id {step.id} stands twice")
            self._messages[step.id] = step.conversation
            if self._in_flight or not self._relay_up:
                self._undelivered[step.id] = step.who
        if step.record is not None and step.id is not None:
            self._attached.add((step.id, step.record))

    def _record(self, step: Attach | Detach, usagers: list[str]) -> None:
        self._known("usager", step.record, usagers)
        self._at(step.message in self._messages, f"no message {step.message} before this step")
        self._member(step.who, self._messages[step.message])
        self._there(step.message, step.who)
        pair = (step.message, step.record)
        detach = isinstance(step, Detach)
        self._at((pair in self._attached) == detach, f"{step.message} in {step.record}")
        self._attached ^= {pair}

    def _there(self, message: str, who: str) -> None:
        author = self._undelivered.get(message, who)
        self._at(author == who, f"{who} cannot have {message} before the relay is back")

    def _member(self, who: str, conversation: str) -> None:
        self._at(conversation in self._members, f"no conversation {conversation} before this step")
        self._at(who in self._members[conversation], f"{who} is no member of {conversation}")

    def _message(self, message: str, conversation: str) -> None:
        self._at(message in self._messages, f"no message {message} before this step")
        self._at(self._messages[message] == conversation, f"{message} is elsewhere")

    def _known(self, what: str, key: str, keys: list[str]) -> None:
        self._at(key in keys, f"no {what} {key}")

    def _at(self, true: bool, otherwise: str) -> None:
        self._require(true, f"{self._where}: {otherwise}" if not true else "")

    def _require(self, true: bool, otherwise: str) -> None:
        if not true:
            raise ScenarioError(self._path.name, otherwise)
