"""How the area refuses."""

from domain.errors import Conflict, Missing


class UnknownDeadLetter(Missing):
    code = "operations.unknown_dead_letter"
    title = "There is no such dead letter. It may have been replayed or dropped already: list them again."


class NotDead(Conflict):
    code = "operations.not_dead"
    title = "This is not dead: it will be tried again by itself. Only what was given up can be replayed or dropped."


class Superseded(Conflict):
    code = "operations.superseded"
    title = "The same key was given to a newer command since, which is waiting to run. Drop this one, or wait until the newer one has run."
