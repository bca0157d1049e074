"""The `LanguageModel` of an installation that has none."""

from domain.errors import Unavailable
from handlers.ports import Completion, Prompt


class NoLanguageModel:
    available = False

    async def complete(self, prompt: Prompt) -> Completion:  # noqa: ARG002 - nobody would read it
        raise Unavailable("No language model is configured: set FLUENTPRO_LLM_URL and FLUENTPRO_LLM_MODEL.")
