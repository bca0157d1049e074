"""How the area refuses."""

from domain.errors import Conflict, Missing


class StepNotReached(Conflict):
    code = "onboarding.step_not_reached"
    title = "Answer the earlier steps first; `errors` names them."


class Incomplete(Conflict):
    code = "onboarding.incomplete"
    title = "Some answers are missing; `errors` names them. Give them, then complete again."


class AlreadyCompleted(Conflict):
    code = "onboarding.already_completed"
    title = "The onboarding is complete, so there is nothing to pause."


class UnknownPartner(Missing):
    code = "onboarding.unknown_partner"
    title = "This is none of your communication partners. Add it to them first."
