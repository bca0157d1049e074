"""Reminders: whoever has stopped for a day is asked, once and by day, to go on; after two weeks the journey counts as abandoned."""

from datetime import datetime

import msgspec

from bus.registry import handles, prepares
from db.reads import Reads
from db.reads.onboarding import Idle
from db.session import Work
from domain.onboarding.commands import AbandonJourney, NoticeIdleJourneys, RemindLearner
from domain.onboarding.rules import may_disturb
from handlers.ports import Clock, Mail, Mailer


class Sent(msgspec.Struct, frozen=True):
    """For how long the learner had been away when the mail was handed over; None when there was none to send."""

    since: datetime | None


@prepares(NoticeIdleJourneys)
async def find_idle(cmd: NoticeIdleJourneys, reads: Reads, clock: Clock) -> Idle:  # noqa: ARG001 - it asks for nothing in particular
    return await reads.onboarding.idle(now=clock())


@handles(NoticeIdleJourneys)
async def notice_idle_journeys(cmd: NoticeIdleJourneys, work: Work, idle: Idle) -> None:  # noqa: ARG001 - the same
    for account in idle.remind:
        work.send(RemindLearner(account=account), key=f"onboarding.remind:{account}")
    for account in idle.abandon:
        work.send(AbandonJourney(account=account), key=f"onboarding.abandon:{account}")


@prepares(RemindLearner)
async def send_reminder(cmd: RemindLearner, reads: Reads, mailer: Mailer, clock: Clock) -> Sent:
    """Sent here and not by a reaction, which would deliver what an outage of the mail server has held up in the middle of the night."""
    now = clock()
    journey = await reads.onboarding.journey(cmd.account, now=now)
    learner = await reads.accounts.recipient(cmd.account)
    if learner is None or not journey.should_be_reminded(now) or not may_disturb(now, learner.timezone):
        return Sent(None)
    state = journey.state()
    await mailer.send(
        Mail(
            message_id=f"onboarding-reminder.{cmd.account}.{journey.last_active.timestamp():.0f}@fluentpro",
            to=learner.email,
            to_name=learner.full_name,
            subject="Your FluentPro profile is waiting for you",
            text=_REMINDER.format(name=learner.full_name, percent=state.percent, minutes=state.minutes_left),
        )
    )
    return Sent(journey.last_active)


@handles(RemindLearner)
async def remind_learner(cmd: RemindLearner, work: Work, sent: Sent, clock: Clock) -> None:
    if sent.since is None:
        return
    journey = await work.journeys.get(cmd.account)
    if journey.last_active == sent.since:
        work.record(*journey.remind(now=clock()))


@handles(AbandonJourney)
async def abandon_journey(cmd: AbandonJourney, work: Work, clock: Clock) -> None:
    journey = await work.journeys.get(cmd.account)
    work.record(*journey.abandon(now=clock()))


_REMINDER = """Dear {name},

your work profile is {percent} % done. About {minutes} minutes more, and FluentPro knows whom you talk to and in which
situations, so that you can practise the conversations that you will really have.

Everything you have answered is kept: sign in, and go on where you stopped, on any device.

If you would rather not be reminded, switch reminders off on the same screen. We remind you once.

FluentPro
"""
