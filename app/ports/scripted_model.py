"""The `LanguageModel` that needs no network: it plays scenarios by their scripts, and says in its model field that it is scripted."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from domain.errors import Unavailable
from domain.practice.prompt import Scene, prompt_tokens, tokens
from domain.practice.scenario import LEAST_WORDS, Scenario, normal
from domain.practice.scripts import met_criteria, play
from handlers.ports import Completion, Ended, Piece, Prompt

MODEL: Final = "scripted/1"
_ATTEMPTS: Final = 3
_WORD: Final = re.compile(r"\s*\S+\s*")

# For scenarios without a script: nobody here understands what the learner says, so no line pretends to. Each is said once in a scene.
_ASKS: Final = (
    "All right, I am listening. Please tell me more about this: {point}",
    "Good. Then let us come to the next thing, and be concrete, please: {point}",
    "I have made a note of that. What would you say about the following? {point}",
    "Thank you. Somebody in my team will ask me about this, so help me: {point}",
    "Let us look at it from another side. How do you see this one? {point}",
    "Before we go on, I would like to hear your view of this: {point}",
    "I see. And what exactly do you have in mind here? {point}",
    "Fine. There is one more thing that matters to both of us: {point}",
    "Let me think about that for a moment. In the meantime, go into this: {point}",
    "That is one way to put it. Now give me an example for this: {point}",
    "We do not have much time left, so let us be clear about this: {point}",
    "I want to be sure that we mean the same. Put this in your own words: {point}",
)
_PROMPTS: Final = (
    "Could you say a little more? What I care about is this: {point}",
    "That was short. Take your time, and tell me about this: {point}",
    "I need more than that before I can say anything. Think of this: {point}",
    "Please go on. I would like two or three sentences about this: {point}",
    "Is that all? Then let us try it with this: {point}",
    "I cannot do much with so few words. Start with this, perhaps: {point}",
    "Give me some details, please. For example about this: {point}",
    "Let us not hurry. In a whole sentence, what about this? {point}",
    "You sound unsure. Let us take one thing at a time, first this: {point}",
    "I am still waiting for your answer. It is about this: {point}",
    "Help me to understand you. Say more about this: {point}",
    "A few more words would help us both. This is the point: {point}",
)
_REACHED: Final = "Thank you, that covers everything I had hoped to hear from you. Let us leave it there for today. Goodbye, {learner}!"
_PARTLY: Final = "Thank you. Some of it is clear to me now, and the rest we will take up another time. Goodbye for today, {learner}."
_MISSED: Final = "I have to go now, and I am afraid we have not really got to the point. Let us try again soon. Goodbye, {learner}."


class ScriptedModel:
    """`pace` is how many seconds pass between two words; none before the first."""

    available = False
    model = MODEL

    def __init__(self, *, pace: float = 0.0, attempts: int = _ATTEMPTS) -> None:
        self._pace, self._attempts = pace, attempts

    async def complete(self, prompt: Prompt) -> Completion:  # noqa: ARG002 - nobody would read it
        raise Unavailable("No language model is configured: set FLUENTPRO_LLM_URL and FLUENTPRO_LLM_MODEL.")

    def route(self, failures: Sequence[str]) -> str | None:
        return MODEL if len(failures) < self._attempts else None

    async def stream(self, scene: Scene, *, model: str) -> AsyncGenerator[Piece | Ended, None]:
        """Word by word. The tokens are those that a language model would have needed, so that budgets can be seen to work."""
        text = line_of(scene)
        for number, word in enumerate(_WORD.findall(text) or [text]):
            if number and self._pace:
                await asyncio.sleep(self._pace)
            yield Piece(word)
        yield Ended(model=model, tokens_in=prompt_tokens(scene), tokens_out=tokens(text), counted=False)


def line_of(scene: Scene) -> str:
    """What the partner says next: the same for the same scene."""
    scenario = scene.scenario
    return play(scenario, scene.said, seed=scene.seed).text if scenario.script is not None else _improvised(scene)


def _improvised(scene: Scene) -> str:
    scenario, said = scene.scenario, scene.said
    met = met_criteria(scenario, said)
    if scene.last:
        closing = _REACHED if len(met) == len(scenario.success_criteria) else _PARTLY if met else _MISSED
        return closing.format(learner=scenario.learner.role)
    turn = len(said) - 1
    frames = _PROMPTS if len(normal(said[-1]).split()) < LEAST_WORDS else _ASKS
    points = _points(scenario, met)
    return frames[(scene.seed + turn) % len(frames)].replace("{point}", points[turn % len(points)])


def _points(scenario: Scenario, met: Sequence[str]) -> tuple[str, ...]:
    """What is left to talk about; once nothing is, what the scene was about."""
    left = tuple(criterion.text for criterion in scenario.success_criteria if criterion.id not in met)
    return (scenario.learner.goal, *left) if left else (scenario.learner.goal, *scenario.constraints)
