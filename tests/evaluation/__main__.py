"""`make eval-roles`: how well roles are found, against a database of this run's own. Exit status 1 when less is found than promised.

The figures that count are those of the held-out half, which nobody tuned on; beside it the tuning half, and PostgreSQL's full-text search
alone. The last line is one flat JSON object. `--fit` prints the constants of `domain.onboarding.matching`, fitted on the tuning half.
"""

import argparse
import asyncio
import json
import secrets
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from app import logs
from app.bootstrap import House, open_house
from app.embedded import serving
from app.ports.builtin_embedder import BuiltInEmbedder, seed_roles
from app.settings import Settings
from bus.message import SYSTEM
from db import migrate
from domain.catalogue.commands import EmbedRoles, SeedCatalogue
from tests.evaluation import fit
from tests.evaluation.measure import by_plain_text, by_search, figures, industries, items

HELD_OUT, TUNING = "held_out.json", "tuning.json"
LEAST = {"r1": 0.65, "r5": 0.88, "hybrid_lead": 0.10}


@asynccontextmanager
async def seeded(settings: Settings) -> AsyncGenerator[House]:
    """A house whose database has the catalogue, every role of it embedded."""
    await migrate.upgrade(settings.database_url)
    async with open_house(settings) as house:
        await house.bus.execute(SeedCatalogue(), by=SYSTEM)
        while await house.reads.role_search.missing(BuiltInEmbedder(seed_roles()).model):
            await house.bus.execute(EmbedRoles(), by=SYSTEM)
        await house.bus.execute(EmbedRoles(), by=SYSTEM)
        yield house


async def evaluate(settings: Settings) -> dict[str, float]:
    found: dict[str, float] = {}
    async with seeded(settings) as house, house.database.driver() as driver:
        places, embedder = await industries(house), BuiltInEmbedder(seed_roles())
        for half, name in (("held_out", HELD_OUT), ("tuning", TUNING)):
            asked = items(name)
            hybrid = figures(await by_search(asked, house.reads, embedder, places))
            plain = figures(await by_plain_text(asked, driver, places))
            found |= {f"{half}_items": len(asked)}
            found |= {f"{half}_{figure}": value for figure, value in hybrid.items()}
            found |= {f"{half}_plain_{figure}": value for figure, value in plain.items()}
    return found


async def fitted(settings: Settings) -> str:
    async with seeded(settings) as house:
        return await fit.constants(house, BuiltInEmbedder(seed_roles()), items(TUNING))


def table(found: dict[str, float]) -> str:
    lines = [f"{'':<24}{'items':>7}{'R@1':>8}{'R@5':>8}{'MRR':>8}{'ECE':>8}"]
    for half in ("held_out", "tuning"):
        for side, name in (("", "hybrid"), ("plain_", "full text alone")):
            values = "".join(
                f"{found[key]:>8.3f}" if (key := f"{half}_{side}{figure}") in found else f"{'':>8}" for figure in ("r1", "r5", "mrr", "ece")
            )
            lines.append(f"{half.replace('_', ' ')}, {name}".ljust(28) + f"{found[f'{half}_items']:>3.0f}{values}")
    return "\n".join(lines)


def missed(found: dict[str, float]) -> list[str]:
    reached = {"r1": found["r1"], "r5": found["r5"], "hybrid_lead": found["hybrid_lead"]}
    return [f"{name} is {reached[name]:.3f}, and {least:g} is promised" for name, least in LEAST.items() if reached[name] < least]


def main() -> None:
    parser = argparse.ArgumentParser(prog="make eval-roles", description=__doc__)
    parser.add_argument("--fit", action="store_true", help="print the constants of the calibration instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fluentpro-evaluation-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with serving(folder, durable=False) as servers:
            settings = Settings(
                env="testing",
                data_dir=name,
                database_url=servers.database_url,
                redis_url=servers.redis_url,
                secret_key=secrets.token_urlsafe(32),
                log_level="error",
            )
            logs.configure(settings, process="evaluation")
            if options.fit:
                sys.stdout.write(asyncio.run(fitted(settings)) + "\n")
                return
            found = asyncio.run(evaluate(settings))
    found |= {"r1": found["held_out_r1"], "r5": found["held_out_r5"], "mrr": found["held_out_mrr"], "ece": found["held_out_ece"]}
    found["hybrid_lead"] = found["held_out_r1"] - found["held_out_plain_r1"]
    late = missed(found)
    sys.stdout.write("\n".join([table(found), *late, json.dumps({key: round(value, 4) for key, value in found.items()})]) + "\n")
    sys.exit(1 if late else 0)


if __name__ == "__main__":
    main()
