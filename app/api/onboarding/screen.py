"""A journey as one request sees it: in its language, with names from the catalogue."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from litestar import Response

from app.api.envelope import Answer, Meta
from app.api.languages import wanted_languages
from app.api.onboarding.shapes import (
    AnswersShown,
    EntryShown,
    GapShown,
    LearningGoalsShown,
    NativeLanguageShown,
    Onboarding,
    PartnerShown,
    RemindersShown,
    RoleShown,
    SituationShown,
    VoidShown,
)
from app.api.preconditions import etag_of
from bus.pipeline import Once
from db.reads import Reads
from db.reads.catalogue import Name
from domain.catalogue.identity import Kind
from domain.onboarding.commands import (
    ChosenPartner,
    ChosenSituation,
    JourneyState,
)


class Screen:
    """Shows journeys to one request: in its language, with names from the catalogue."""

    def __init__(self, reads: Reads, meta: Meta, accept_language: str | None) -> None:
        self._reads, self._meta = reads, meta
        self._languages = wanted_languages(accept_language)

    def tag(self, version: int) -> str:
        """In other languages it is another representation, with a tag of its own: any of them may be that of a label."""
        return ".".join((str(version), *self._languages))

    def headers(self, version: int) -> dict[str, str]:
        return {"ETag": etag_of(self.tag(version)), "Cache-Control": "private, no-cache", "Vary": "Accept-Language"}

    async def answer(self, state: JourneyState, once: Once | None = None) -> Response[Answer[Onboarding]]:
        replayed = {"Idempotent-Replayed": "true"} if once is not None and once.replayed else {}
        shown = Answer(data=await self._shown(state), meta=self._meta)
        return Response(shown, headers=self.headers(state.version) | replayed)

    async def _shown(self, state: JourneyState) -> Onboarding:
        return Onboarding(
            status=state.status,
            current_step=state.current_step,
            next_step=state.next_step,
            done=list(state.done),
            missing=[GapShown(step=gap.step, partner=gap.partner) for gap in state.missing],
            percent=state.percent,
            minutes_left=state.minutes_left,
            answers=await self._answers(state),
            void=[VoidShown(step=void.step, partner=void.partner, because=void.because) for void in state.void],
            reminders=RemindersShown(enabled=state.reminders),
            started_at=state.started_at,
            active_at=state.active_at,
            completed_at=state.completed_at,
        )

    async def _answers(self, state: JourneyState) -> AnswersShown:
        answers = state.answers
        situations = [situation.id for partner in answers.partners for situation in partner.situations if situation.name is None]
        names = await self._names("partner", [partner.id for partner in answers.partners if partner.name is None])
        names |= await self._names("situation", situations)
        goals = answers.learning_goals
        return AnswersShown(
            native_language=await self._native_language(state),
            learning_goals=goals
            and LearningGoalsShown(goals=list(goals.goals), minutes_a_day=goals.minutes_a_day, timeline=goals.timeline),
            industry=None
            if answers.industry is None
            else _entry(answers.industry, (await self._names("industry", [answers.industry]))[answers.industry]),
            role=await self._role(state),
            partners=[
                PartnerShown(
                    **_choice(partner, names.get(partner.id), priority),
                    situations=[SituationShown(**_choice(one, names.get(one.id), n)) for n, one in enumerate(partner.situations, 1)],
                )
                for priority, partner in enumerate(answers.partners, 1)
            ],
        )

    async def _native_language(self, state: JourneyState) -> NativeLanguageShown | None:
        answer = state.answers.native_language
        if answer is None:
            return None
        tags = (answer.language, answer.target_language, answer.explanation_language)
        found = await self._reads.catalogue.resolve("language", tags)
        names = await self._names("language", [one.id for one in found.values()])
        language, target, explanation = (_entry(found[tag].id, names[found[tag].id]) for tag in tags)
        return NativeLanguageShown(
            language=language, proficiency=answer.proficiency, target_language=target, explanation_language=explanation
        )

    async def _role(self, state: JourneyState) -> RoleShown | None:
        role = state.answers.role
        if role is None:
            return None
        if role.title is not None:
            return RoleShown(
                id=role.id, slug=None, title=role.title, description=role.description, hierarchy_level=role.hierarchy_level, custom=True
            )
        title = await self._reads.catalogue.role_title(role.id, self._languages)
        return RoleShown(
            id=role.id, slug=title.slug, title=title.title, description=None, hierarchy_level=title.hierarchy_level, custom=False
        )

    async def _names(self, kind: Kind, ids: Sequence[UUID]) -> dict[UUID, Name]:
        return await self._reads.catalogue.names(kind, ids, self._languages) if ids else {}


def _entry(identity: UUID, name: Name) -> EntryShown:
    return EntryShown(id=identity, slug=name.slug, name=name.name)


def _choice(one: ChosenPartner | ChosenSituation, name: Name | None, priority: int) -> dict[str, Any]:
    shown = one.name if one.name is not None or name is None else name.name
    return {
        "id": one.id,
        "slug": None if name is None or one.name is not None else name.slug,
        "name": shown or "",
        "description": one.description,
        "custom": one.name is not None,
        "priority": priority,
    }
