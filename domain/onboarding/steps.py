"""The one ladder of steps."""

from typing import Literal

Step = Literal["native_language", "learning_goals", "industry", "role", "partners", "situations", "summary", "completed"]
LADDER: tuple[Step, ...] = ("native_language", "industry", "role", "partners", "situations", "summary", "completed")
ANSWERED: tuple[Step, ...] = LADDER[:5]
"""Those with an answer; `summary` is done by completing."""

MINUTES: dict[Step, int] = {"native_language": 1, "industry": 1, "role": 2, "partners": 2, "situations": 3, "summary": 1}
"""What each takes most people."""
