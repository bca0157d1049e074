"""What those who operate this installation do with conversations: look at one, and begin anew after a restore."""

from bus.registry import handles
from db.session import Work
from domain.practice.commands import InspectConversation, RestoreStreams
from domain.practice.events import ConversationInspected, StreamsRestored


@handles(InspectConversation)
async def inspect_conversation(cmd: InspectConversation, work: Work) -> bool:
    """In one transaction with the learner's leave: whoever has taken it back since is not read."""
    account = await work.conversations.shared_by(cmd.conversation)
    if account is None:
        return False
    work.record(ConversationInspected(conversation=cmd.conversation, account=account))
    return True


@handles(RestoreStreams)
async def restore_streams(cmd: RestoreStreams, work: Work) -> int:  # noqa: ARG001 - it asks for nothing in particular
    generation = await work.conversations.begin_generation()
    work.record(StreamsRestored(generation=generation))
    return generation
