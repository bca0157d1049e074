"""A contract type for import-linter: areas meet only through messages, whatever areas there are."""

from typing import cast

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, output

_ROOMS = ("domain", "handlers")


class AreasContract(Contract):
    """A module of an area in `domain` or `handlers` imports nothing of another area there but `domain.<area>.events`.

    The packages of `domain` are the areas, so that a new one is held to it from its first line.
    """

    type_name = "areas"

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002, FBT001 - import-linter's signature
        areas = {package.rpartition(".")[2] for package in graph.find_children("domain") if graph.find_children(package)}
        broken: list[str] = []
        for importer in sorted(graph.modules):
            area = _area(importer, areas)
            if area is None:
                continue
            for imported in sorted(graph.find_modules_directly_imported_by(importer)):
                other = _area(imported, areas)
                if other not in (None, area) and imported != f"domain.{other}.events":
                    broken.append(f"{importer} imports {imported}, but of the area {other} it may see only domain.{other}.events")
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for line in cast("list[str]", check.metadata["broken"]):
            output.print_error(line)


def _area(module: str, areas: set[str]) -> str | None:
    room, *rest = module.split(".")
    return rest[0] if room in _ROOMS and rest and rest[0] in areas else None
