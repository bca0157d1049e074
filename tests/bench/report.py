"""What was measured, against what is promised: a table for people, and one flat JSON object as the last line."""

import operator
from collections.abc import Mapping, Sequence

import msgspec

Figures = dict[str, float]
_HOLDS = {">=": operator.ge, "<=": operator.le}


class Target(msgspec.Struct, frozen=True):
    comparison: str
    value: float

    def met(self, figure: float) -> bool:
        return _HOLDS[self.comparison](figure, self.value)

    def __str__(self) -> str:
        return f"{self.comparison} {self.value:g}"


# For two cores that nobody else uses.
TARGETS: Mapping[str, Target] = {
    "execute_ratio": Target(">=", 0.30),
    "relay_events_per_s": Target(">=", 10_000),
    "delay_commands_per_s": Target(">=", 190),
    "sse_p99_ms": Target("<=", 100),
    "memory_executor_drift": Target("<=", 0.10),
    "memory_web_drift": Target("<=", 0.10),
    "memory_relay_drift": Target("<=", 0.10),
    "memory_worker_drift": Target("<=", 0.10),
}


def changed(targets: Mapping[str, Target], values: Sequence[str]) -> Mapping[str, Target]:
    """With other values, each as `name=value`. Ends the process at a name that nobody promised."""
    given = dict(one.split("=", 1) for one in values)
    if unknown := given.keys() - targets.keys():
        raise SystemExit(f"{', '.join(unknown)}: there is no such target; there are {', '.join(targets)}.")
    return {name: Target(target.comparison, float(given.get(name, target.value))) for name, target in targets.items()}


def percentiles(name: str, seconds: Sequence[float]) -> Figures:
    """In milliseconds."""
    ordered = sorted(seconds)
    return {f"{name}_p{share}_ms": round(1000 * ordered[min(len(ordered) * share // 100, len(ordered) - 1)], 2) for share in (50, 95, 99)}


def missed(figures: Figures, targets: Mapping[str, Target]) -> list[str]:
    return [name for name, target in targets.items() if not target.met(figures[name])]


def table(figures: Figures, targets: Mapping[str, Target]) -> str:
    late = missed(figures, targets)
    rows = [
        (name, f"{figure:,.3f}" if abs(figure) < 10 else f"{figure:,.0f}", str(targets.get(name, "")), "MISSED" if name in late else "")
        for name, figure in figures.items()
    ]
    return "\n".join(f"{name:<26}{figure:>12}   {target:<12}{verdict}".rstrip() for name, figure, target, verdict in rows)
