"""One line per command: who may send it. Nothing else decides."""

from collections.abc import Mapping
from typing import Any

import msgspec

from bus.message import Actor, Command
from bus.registry import Rule
from domain.accounts.commands import (
    ChangeProfile,
    CreateAdmin,
    EnsureSigningKey,
    ExpireSession,
    IssueTicket,
    RedeemTicket,
    RegisterAccount,
    SignIn,
)
from domain.catalogue.commands import (
    AddEntry,
    AddRole,
    ChangeEntry,
    ChangeRole,
    EmbedRoles,
    ImportEntries,
    ImportRoles,
    KeepVectors,
    RetireEntry,
    RetireRole,
    SeedCatalogue,
)
from domain.catalogue.submissions import ApproveRole, KeepCustomRole, RejectRole, TidyRole
from domain.errors import Denied, Unproven
from domain.onboarding.commands import (
    AbandonJourney,
    ChooseIndustry,
    ChooseNativeLanguage,
    ChoosePartners,
    ChooseRole,
    ChooseSituations,
    CompleteOnboarding,
    DescribeRole,
    NoticeIdleJourneys,
    PauseJourney,
    RemindLearner,
    ResetJourney,
    SetLearningGoals,
    SwitchReminders,
)
from domain.onboarding.matching import MatchRoles
from domain.operations.commands import DropDeadLetter, PruneLedger, ReplayDeadLetter
from domain.practice.commands import (
    AnswerTurn,
    BeginAttempt,
    BeginCoaching,
    ChangeConversation,
    CoachTurn,
    CompleteAttempt,
    ComposeReport,
    DeleteConversation,
    EndScene,
    FailAttempt,
    ForkConversation,
    GiveFeedback,
    GiveScenarios,
    ImportScenarios,
    InspectConversation,
    KeepStreams,
    RedoAction,
    RequestScenarios,
    RestoreStreams,
    RetryTurn,
    SeedScenarios,
    StartConversation,
    StopAnswer,
    SubmitTurn,
    SummariseConversation,
    UndoAction,
    WriteReport,
    WriteScenario,
)


class Anyone(msgspec.Struct, frozen=True):
    """Also those who have not signed in."""

    text: str = "anyone"
    internal: bool = False

    def check(self, actor: Actor, command: Command[Any]) -> None:
        """Nobody is refused."""


class Owner(msgspec.Struct, frozen=True):
    """The person whose account the field names."""

    field: str
    internal: bool = False

    @property
    def text(self) -> str:
        return f"the owner of `{self.field}`"

    def check(self, actor: Actor, command: Command[Any]) -> None:
        if actor.kind == "anonymous":
            raise Unproven
        if actor.id is None or getattr(command, self.field) != actor.id:
            raise Denied


class Admin(msgspec.Struct, frozen=True):
    """People who operate this installation, over HTTP or at its command line."""

    text: str = "an admin"
    internal: bool = False

    def check(self, actor: Actor, command: Command[Any]) -> None:  # noqa: ARG002 - who asks decides, not what is asked
        if actor.kind == "anonymous":
            raise Unproven
        if actor.kind != "system" and "admin" not in actor.flags:
            raise Denied


class Internal(msgspec.Struct, frozen=True):
    """Only the system: what was sent by a handler, a schedule, or a person at the command line."""

    text: str = "the system"
    internal: bool = True

    def check(self, actor: Actor, command: Command[Any]) -> None:  # noqa: ARG002 - who asks decides, not what is asked
        if actor.kind != "system":
            raise Denied


POLICY: Mapping[type[Command[Any]], Rule] = {
    RegisterAccount: Anyone(),
    SignIn: Anyone(),
    ChangeProfile: Owner("account"),
    IssueTicket: Owner("account"),
    RedeemTicket: Anyone(),
    ExpireSession: Internal(),
    CreateAdmin: Internal(),
    EnsureSigningKey: Internal(),
    SeedCatalogue: Internal(),
    EmbedRoles: Internal(),
    KeepVectors: Internal(),
    AddEntry: Admin(),
    ChangeEntry: Admin(),
    RetireEntry: Admin(),
    ImportEntries: Admin(),
    AddRole: Admin(),
    ChangeRole: Admin(),
    RetireRole: Admin(),
    ImportRoles: Admin(),
    KeepCustomRole: Internal(),
    TidyRole: Internal(),
    ApproveRole: Admin(),
    RejectRole: Admin(),
    MatchRoles: Owner("account"),
    ChooseNativeLanguage: Owner("account"),
    SetLearningGoals: Owner("account"),
    ChooseIndustry: Owner("account"),
    ChooseRole: Owner("account"),
    DescribeRole: Owner("account"),
    ChoosePartners: Owner("account"),
    ChooseSituations: Owner("account"),
    SwitchReminders: Owner("account"),
    PauseJourney: Owner("account"),
    ResetJourney: Owner("account"),
    CompleteOnboarding: Owner("account"),
    NoticeIdleJourneys: Internal(),
    RemindLearner: Internal(),
    AbandonJourney: Internal(),
    StartConversation: Owner("account"),
    ChangeConversation: Owner("account"),
    DeleteConversation: Owner("account"),
    SubmitTurn: Owner("account"),
    StopAnswer: Owner("account"),
    RetryTurn: Owner("account"),
    EndScene: Owner("account"),
    UndoAction: Owner("account"),
    RedoAction: Owner("account"),
    ForkConversation: Owner("account"),
    AnswerTurn: Internal(),
    BeginAttempt: Internal(),
    CompleteAttempt: Internal(),
    FailAttempt: Internal(),
    CoachTurn: Internal(),
    BeginCoaching: Internal(),
    GiveFeedback: Internal(),
    SummariseConversation: Internal(),
    WriteReport: Internal(),
    ComposeReport: Internal(),
    KeepStreams: Internal(),
    InspectConversation: Admin(),
    RestoreStreams: Internal(),
    WriteScenario: Owner("account"),
    RequestScenarios: Owner("account"),
    GiveScenarios: Internal(),
    SeedScenarios: Internal(),
    ImportScenarios: Admin(),
    PruneLedger: Internal(),
    ReplayDeadLetter: Admin(),
    DropDeadLetter: Admin(),
}
