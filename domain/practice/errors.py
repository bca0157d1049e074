"""Why something in practice is refused."""

from domain.errors import Conflict, Invalid, Missing, TooMany


class UnknownConversation(Missing):
    code = "practice.unknown_conversation"
    title = "There is no such conversation among yours."


class UnknownScenario(Missing):
    code = "practice.unknown_scenario"
    title = "There is no such scenario that you may see."


class UnknownTurn(Missing):
    code = "practice.unknown_turn"
    title = "There is no such turn in this conversation as it is now."


class UnknownVersion(Missing):
    code = "practice.unknown_version"
    title = "The conversation has no such version."


class TurnRunning(Conflict):
    code = "practice.turn_running"
    title = "The partner is still answering. Wait for the answer, stop it, or set `while_busy` to `queue`."


class QueueFull(Conflict):
    code = "practice.queue_full"
    title = "Three turns are waiting for an answer already. Wait for one of them, or stop them."


class SceneOver(Conflict):
    code = "practice.scene_over"
    title = "The scene has ended. Undo its end, fork an earlier version, or start another conversation."


class Archived(Conflict):
    code = "practice.archived"
    title = "The conversation is in the archive. Take it out first."


class NothingToUndo(Conflict):
    code = "practice.nothing_to_undo"
    title = "Nothing has been done in this conversation that could be undone."


class NothingToRedo(Conflict):
    code = "practice.nothing_to_redo"
    title = "Nothing has been undone since the last turn."


class NothingToRetry(Conflict):
    code = "practice.nothing_to_retry"
    title = "There is no turn that the partner could answer again."


class NothingToStop(Conflict):
    code = "practice.nothing_to_stop"
    title = "The partner is not answering at the moment."


class NothingToEnd(Conflict):
    code = "practice.nothing_to_end"
    title = "Nothing has been said in this scene yet. Say something first, or delete the conversation."


class BudgetSpent(TooMany):
    code = "practice.budget_spent"
    title = "The tokens for this are spent, or reserved for answers that are being given."


class NotPractised(Invalid):
    code = "practice.not_playable"
    title = "This cannot be practised as it is."


class ProfileMissing(Conflict):
    code = "practice.profile_missing"
    title = "Complete your onboarding first: scenarios are chosen for your work profile."
