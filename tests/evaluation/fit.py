"""The constants of the confidence: a logistic model fitted to the tuning half by Newton's method, and the threshold that answers best.

The tuning half was written by whoever knew the catalogue, so each item counts three times: as it is, with a title that says nothing, and
with most of its words lost. Otherwise the model would be sure of too much.
"""

import math
import random
from collections.abc import Sequence
from typing import Any

import msgspec

from app.bootstrap import House
from db.reads.role_search import RoleQuery
from domain.onboarding.matching import MATCHES, MEANING, WORDS, Calibration, Candidate, features_of, level_in, probability, reasons
from handlers.ports import Embedder
from tests.evaluation.measure import Item, industries, question

VAGUE = ("staff", "officer", "team member", "assistant", "exec", "manager", "junior")
SLIPPERY, SLIPS = 5, 0.3
RIDGE = 1.0
ROUNDS = 50
Row = tuple[tuple[float, ...], bool]


async def rows_of(house: House, embedder: Embedder, asked: Sequence[Item], *, meaning: bool) -> list[list[Row]]:
    """For each item its candidates, the best first: their features, and whether each is the right role."""
    places = await industries(house)
    found: list[list[Row]] = []
    for item in asked:
        level = item.hierarchy_level or level_in(item.job_title)
        [vector] = await embedder.embed([f"{item.job_title}\n{item.job_description}"], model=embedder.model)
        hits = await house.reads.role_search.find(
            RoleQuery(
                industry=places[item.industry],
                viewer=question(item).account,
                title=item.job_title,
                description=item.job_description,
                level=level,
                model=embedder.model if meaning else "",
                vector=vector if meaning else None,
                limit=MATCHES,
            )
        )
        candidates = [msgspec.convert(hit, Candidate, from_attributes=True) for hit in hits]
        why = reasons(item.job_title, item.job_description, candidates)
        features = features_of(candidates, why, level, MEANING if meaning else WORDS)
        found.append([(one, candidate.slug == item.role) for one, candidate in zip(features, candidates, strict=True)])
    return found


def harder(asked: Sequence[Item]) -> list[Item]:
    """Two more of each item; the same in every run."""
    dice = random.Random(3)  # noqa: S311 - no secret
    found: list[Item] = []
    for item in asked:
        vague, fewer = _worn(item.job_description, 0.3, dice), _worn(item.job_description, 0.6, dice)
        changes: dict[str, Any] = {"job_title": dice.choice(VAGUE), "job_description": vague, "hierarchy_level": None}
        found.append(msgspec.structs.replace(item, **changes))
        changes = {"job_title": _worn(item.job_title, 0, dice), "job_description": fewer, "hierarchy_level": None}
        found.append(msgspec.structs.replace(item, **changes))
    return found


def _worn(text: str, lost: float, dice: random.Random) -> str:
    """Without this share of its words, and with a slip of the finger in many of the long ones."""
    kept = [word for word in text.split() if dice.random() >= lost]
    return " ".join(_slipped(word, dice) if len(word) >= SLIPPERY and dice.random() < SLIPS else word for word in kept) or text


def _slipped(word: str, dice: random.Random) -> str:
    place = dice.randrange(1, len(word) - 2)
    before, one, other, after = word[:place], word[place], word[place + 1], word[place + 2 :]
    return dice.choice((before + other + after, before + other + one + after, before + dice.choice("aeioustrn") + other + after))


async def constants(house: House, embedder: Embedder, asked: Sequence[Item]) -> str:
    lines: list[str] = []
    asked = [*asked, *harder(asked)]
    for name, meaning in (("BY_MEANING", True), ("BY_WORDS", False)):
        found = await rows_of(house, embedder, asked, meaning=meaning)
        calibration = fitted([row for one in found for row in one])
        calibration = msgspec.structs.replace(calibration, threshold=threshold(calibration, found, asked))
        weights = ", ".join(f"{weight:.3f}" for weight in calibration.weights)
        lines.append(f"{name} = Calibration(bias={calibration.bias:.3f}, weights=({weights}), threshold={calibration.threshold:.2f})")
    return "\n".join(lines)


def fitted(rows: Sequence[Row]) -> Calibration:
    """Penalised maximum likelihood; the bias is not penalised."""
    size = len(rows[0][0]) + 1
    weights = [0.0] * size
    for _ in range(ROUNDS):
        gradient = [0.0] + [-RIDGE * weight for weight in weights[1:]]
        curvature = [[RIDGE if one == other and one else 0.0 for other in range(size)] for one in range(size)]
        for features, right in rows:
            values = (1.0, *features)
            sure = 1 / (1 + math.exp(-max(-30.0, min(30.0, sum(w * v for w, v in zip(weights, values, strict=True))))))
            for one in range(size):
                gradient[one] += (right - sure) * values[one]
                for other in range(size):
                    curvature[one][other] += sure * (1 - sure) * values[one] * values[other]
        step = solved(curvature, gradient)
        weights = [weight + change for weight, change in zip(weights, step, strict=True)]
        if max(map(abs, step)) < 1e-9:
            break
    return Calibration(bias=weights[0], weights=tuple(weights[1:]), threshold=0.0)


def solved(matrix: Sequence[Sequence[float]], vector: Sequence[float]) -> list[float]:
    """Of a symmetric positive definite system, by elimination."""
    rows = [[*row, value] for row, value in zip(matrix, vector, strict=True)]
    for pivot in range(len(rows)):
        for row in range(len(rows)):
            if row != pivot:
                factor = rows[row][pivot] / rows[pivot][pivot]
                rows[row] = [value - factor * above for value, above in zip(rows[row], rows[pivot], strict=True)]
    return [rows[place][-1] / rows[place][place] for place in range(len(rows))]


def threshold(calibration: Calibration, found: Sequence[Sequence[Row]], asked: Sequence[Item]) -> float:
    """The middle of those that answer the most items rightly."""

    def right(least: float) -> int:
        count = 0
        for item, candidates in zip(asked, found, strict=True):
            sure, is_right = max(
                ((probability(calibration, features), is_right) for features, is_right in candidates), default=(0.0, False)
            )
            count += sure < least if item.role is None else sure >= least and is_right
        return count

    tried = [step / 100 for step in range(1, 100)]
    most = max(map(right, tried))
    best = [least for least in tried if right(least) == most]
    return best[len(best) // 2]
