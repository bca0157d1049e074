"""A conversation as the fold of its events.

Undo and redo move a head over the versions: an event that says something of the scene is told of what the head points at, and becomes the
head. So whatever was derived, be it score, feedback, report or summary, moves with it, and nothing has to be taken back by hand. What was
spent, the names and the archive are not of the scene, and stay. Versions and the numbers of attempts are never given twice.
"""

from collections.abc import Iterable
from typing import Any, Literal
from uuid import UUID

from bus.message import WITHHELD, Personal
from domain.practice import events as e
from domain.practice.errors import (
    Archived,
    NothingToEnd,
    NothingToRedo,
    NothingToRetry,
    NothingToStop,
    NothingToUndo,
    QueueFull,
    SceneOver,
    TurnRunning,
    UnknownConversation,
    UnknownTurn,
    UnknownVersion,
)
from domain.practice.state import ABOUT, TOLD, Content, LostHistory, Mark, Phase, Recorded, State, Turn, count, settled, started

MOST_WAITING = 3


class Conversation:
    """Methods check, and return what happens; `apply` is the only one that changes anything."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.contents: dict[int, Content] = {state.head: state.content}
        """By the heads that undo and redo may lead back to."""

    @classmethod
    def folded(cls, recorded: Iterable[Recorded], begun: "Conversation | None" = None) -> "Conversation":
        """Raises `UnknownConversation` for no events, and `LostHistory` when `begun`, a snapshot, is too late for them."""
        conversation = begun
        for one in recorded:
            if conversation is None:
                conversation = cls(started(one))
            else:
                conversation.apply(one)
        if conversation is None:
            raise UnknownConversation
        return conversation

    # ------------------------------------------------------------------ what it is

    @property
    def content(self) -> Content:
        return self.state.content

    @property
    def version(self) -> int:
        return self.state.version

    @property
    def running(self) -> Turn | None:
        return next((turn for turn in self.content.turns if turn.status == "running"), None)

    @property
    def next(self) -> Turn | None:
        """The turn that the partner is to answer now: the first one that waits, unless one is being answered."""
        return None if self.running else next((turn for turn in self.content.turns if turn.status == "waiting"), None)

    @property
    def phase(self) -> Phase:
        return "running" if self.running else "pending" if self.next else "idle"

    def next_attempt(self, turn: UUID) -> int:
        return self.state.attempts.get(turn, 0) + 1

    # ------------------------------------------------------------------ what a learner asks

    def submit(self, turn: UUID, text: Personal) -> tuple[e.TurnAccepted]:
        self._usable()
        if self.content.ended is not None:
            raise SceneOver
        waiting = [one for one in self.content.turns if not one.settled]
        if waiting and self.state.settings.while_busy == "refuse":
            raise TurnRunning
        if len(waiting) > MOST_WAITING:
            raise QueueFull
        return (e.TurnAccepted(**self._of(1), turn=turn, text=text, queued=bool(waiting)),)

    def retry(self) -> tuple[e.RetryRequested]:
        """Also of the turn that ended the scene, which then goes on."""
        self._usable()
        if not self.content.turns:
            raise NothingToRetry
        if self.content.ended == "learner":
            raise SceneOver
        last = self.content.turns[-1]
        if not last.settled:
            raise TurnRunning
        return (e.RetryRequested(**self._of(1), turn=last.id),)

    def stop(self, shown: Personal) -> tuple[e.ConversationEvent, ...]:
        """`shown` is what the partner has said of the answer that is being given."""
        self._there()
        if stopped := self._stopped(shown):
            return stopped
        raise NothingToStop

    def end(self, shown: Personal) -> tuple[e.ConversationEvent, ...]:
        self._usable()
        if self.content.ended is not None:
            raise SceneOver
        if not self.content.turns:
            raise NothingToEnd
        stopped = self._stopped(shown)
        return (*stopped, e.SceneEnded(**self._of(len(stopped) + 1), by="learner"))

    def undo(self, shown: Personal) -> tuple[e.ConversationEvent, ...]:
        self._usable()
        if not self.state.undo:
            raise NothingToUndo
        stopped = self._stopped(shown)
        return (*stopped, e.Undone(**self._of(len(stopped) + 1), to=self.state.undo[-1].before))

    def redo(self) -> tuple[e.ConversationEvent, ...]:
        """Nothing runs then: what runs was asked for by an action, and an action leaves nothing to redo."""
        self._usable()
        if not self.state.redo:
            raise NothingToRedo
        return (e.Redone(**self._of(1), to=self.state.redo[-1].after),)

    def stop_to_fork(self, at_version: int, shown: Personal) -> tuple[e.ConversationEvent, ...]:
        self._there()
        if not 1 <= at_version <= self.version:
            raise UnknownVersion
        return self._stopped(shown)

    def fork(self, identity: UUID) -> tuple[e.ConversationEvent, ...]:
        """The first event of another conversation, which begins as this one is."""
        state = self.state
        about: dict[str, Any] = {"conversation": identity, "account": state.account, "version": state.version + 1}
        return (e.ConversationForked(**about, scenario=state.scenario, parent=state.id, parent_version=state.version),)

    def rename(self, title: Personal) -> tuple[e.ConversationEvent, ...]:
        self._there()
        return (e.ConversationRenamed(**self._of(1), title=title),)

    def archive(self, archived: bool) -> tuple[e.ConversationEvent, ...]:  # noqa: FBT001 - it is what is asked for
        self._there()
        return () if archived == self.state.archived else (e.ConversationArchived(**self._of(1), archived=archived),)

    def allow_support(self, allowed: bool) -> tuple[e.ConversationEvent, ...]:  # noqa: FBT001 - the same
        self._there()
        return () if allowed == self.state.support else (e.SupportAllowed(**self._of(1), allowed=allowed),)

    def delete(self, shown: Personal) -> tuple[e.ConversationEvent, ...]:
        self._there()
        stopped = self._stopped(shown)
        return (*stopped, e.ConversationDeleted(**self._of(len(stopped) + 1)))

    # ------------------------------------------------------------------ what the partner does

    def begin(self, model: str, reason: Literal["worker_lost", "provider_failed"]) -> tuple[e.ConversationEvent, ...]:
        """The next attempt at the turn that waits, or, for `reason`, at the one that is being answered; nothing when there is none."""
        turn = self.running or self.next
        if turn is None or self.state.deleted:
            return ()
        attempt = self.next_attempt(turn.id)
        about: dict[str, Any] = {**self._of(1), "turn": turn.id, "attempt": attempt, "model": model}
        if attempt == 1:
            return (e.AttemptStarted(**about),)
        return (e.AttemptRestarted(**about, reason=reason if turn.status == "running" else "retry"),)

    def complete(self, text: Personal, *, tokens_in: int, tokens_out: int, model: str, met: tuple[str, ...], last: bool) -> tuple[Any, ...]:
        """With the `last` answer the scene ends: what waits behind it is not answered any more."""
        turn = self._answering()
        completed = e.TurnCompleted(
            **self._of(1), turn=turn.id, attempt=turn.attempt, model=model, tokens_in=tokens_in, tokens_out=tokens_out, met=met, text=text
        )
        if not last:
            return (completed,)
        stopped = self._stops([one for one in self.content.turns if one.status == "waiting"], after=1)
        return (completed, *stopped, e.SceneEnded(**self._of(len(stopped) + 2), by="partner"))

    def fail(self, code: str) -> tuple[e.TurnFailed]:
        turn = self.running or self.next
        if turn is None:
            raise UnknownTurn
        return (e.TurnFailed(**self._of(1), turn=turn.id, attempt=self._attempt_at(turn), code=code),)

    # ------------------------------------------------------------------ what the coach says

    def give_feedback(self, turn: UUID, spans: Personal, mistakes: int) -> tuple[e.ConversationEvent, ...]:
        """Quiet when the turn was undone meanwhile, or has had its feedback."""
        found = self.content.turn(turn)
        if found is None or found.mistakes is not None or self.state.deleted:
            return ()
        return (e.FeedbackGiven(**self._of(1), turn=turn, mistakes=mistakes, spans=spans),)

    def summarise(self, turns: int, summary: Personal) -> tuple[e.ConversationEvent, ...]:
        """Quiet when so many turns are not there any more, or are summarised already."""
        if not self.content.summarised < turns <= len(self.content.turns) or self.state.deleted:
            return ()
        return (e.ConversationSummarised(**self._of(1), turns=turns, summary=summary),)

    def report(
        self, report: Personal, *, goal_reached: bool, score: int, recommended: tuple[e.Recommended, ...]
    ) -> tuple[e.ConversationEvent, ...]:
        """Quiet when the scene goes on again, or has its report."""
        if self.content.ended is None or self.content.report is not None or self.state.deleted:
            return ()
        return (e.ReportWritten(**self._of(1), goal_reached=goal_reached, score=score, recommended=recommended, report=report),)

    # ------------------------------------------------------------------ the fold

    def remembers(self, event: e.ConversationEvent) -> bool:
        """Whether `apply` can take this event; if not, `recall` first."""
        return not isinstance(event, e.Undone | e.Redone) or event.to in self.contents

    def recall(self, whole: "Conversation") -> None:
        """What it was before the snapshot that its fold began with, out of a fold of every event."""
        self.contents = whole.contents | self.contents

    def apply(self, recorded: Recorded) -> None:
        event, state = recorded.event, self.state
        if isinstance(event, e.Undone | e.Redone):
            self._move(event)
        elif (about := ABOUT.get(type(event))) is not None:
            about(state, event)
        else:
            if isinstance(event, e.TurnAccepted | e.RetryRequested) or (isinstance(event, e.SceneEnded) and event.by == "learner"):
                self.contents[state.head] = state.content
                state.undo, state.redo = (*state.undo, Mark(state.head)), ()
            state.content = TOLD[type(event)](state.content, event, recorded.at)
            state.head = event.version
            count(state, event)
        state.version, state.updated_at = event.version, recorded.at
        if isinstance(event, e.ConversationForked):
            state.created_at = recorded.at

    def _move(self, event: e.Undone | e.Redone) -> None:
        state = self.state
        self.contents[state.head] = left = state.content
        if event.to not in self.contents:
            raise LostHistory
        if isinstance(event, e.Undone):
            mark = state.undo[-1]
            state.undo, state.redo = state.undo[:-1], (*state.redo, Mark(mark.before, state.head))
        else:
            state.redo, state.undo = state.redo[:-1], (*state.undo, Mark(state.head))
        state.content, state.head = settled(self.contents[event.to], left), event.to

    def _of(self, number: int) -> dict[str, Any]:
        """What the event so many versions from here has in common with all others."""
        return {"conversation": self.state.id, "account": self.state.account, "version": self.version + number}

    def _stopped(self, shown: Personal) -> tuple[e.ConversationEvent, ...]:
        return self._stops([turn for turn in self.content.turns if not turn.settled], shown)

    def _stops(self, turns: Iterable[Turn], shown: Personal = WITHHELD, *, after: int = 0) -> tuple[e.ConversationEvent, ...]:
        """Only the one that is being answered has shown anything."""
        return tuple(
            e.TurnStopped(
                **self._of(number), turn=turn.id, attempt=self._attempt_at(turn), text=shown if turn.status == "running" else WITHHELD
            )
            for number, turn in enumerate(turns, after + 1)
        )

    def _attempt_at(self, turn: Turn) -> int:
        """The one that is made, or that was to be made next: its number is taken then, though there was no call."""
        return turn.attempt if turn.status == "running" else self.next_attempt(turn.id)

    def _answering(self) -> Turn:
        if (turn := self.running) is None:
            raise UnknownTurn
        return turn

    def _there(self) -> None:
        if self.state.deleted:
            raise UnknownConversation

    def _usable(self) -> None:
        self._there()
        if self.state.archived:
            raise Archived
