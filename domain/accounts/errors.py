"""How the area refuses."""

from domain.errors import Conflict, Missing, Unproven


class EmailTaken(Conflict):
    code = "accounts.email_taken"
    title = "There is an account with this e-mail address already. Sign in, or use another address."


class BadCredentials(Unproven):
    """The same for an unknown address as for a wrong password: the answer must not tell who has an account."""

    code = "accounts.bad_credentials"
    title = "The e-mail address and the password do not belong together. Check both."


class SessionEnded(Unproven):
    code = "accounts.session_ended"
    title = "This session has ended. Sign in again."


class TicketRefused(Unproven):
    """The same whatever is wrong with it: only whoever guesses tickets would want to know."""

    code = "accounts.ticket_refused"
    title = "This ticket was used already, has expired, or is for something else. Ask for a new one."


class UnknownAccount(Missing):
    code = "accounts.unknown_account"
    title = "There is no such account."
