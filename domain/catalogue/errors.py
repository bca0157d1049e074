"""How the area refuses."""

from domain.errors import Conflict, Missing


class UnknownEntry(Missing):
    code = "catalogue.unknown_entry"
    title = "The catalogue has no such entry. Ask for the list, and send an id or a slug of it."


class SlugTaken(Conflict):
    code = "catalogue.slug_taken"
    title = "There is an entry with this slug already. Change that one, or choose another slug."
