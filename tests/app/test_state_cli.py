"""`fluentpro state`, as somebody at a terminal has it."""

import json
import subprocess
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from app.bootstrap import House
from app.embedded import free_port
from app.settings import Settings
from app.state.verification import Verification
from bus.message import SYSTEM
from domain.practice.commands import BeginAttempt, FailAttempt
from tests.app.client import Door, Feed, Person, empty_database, eventually, fluentpro, running, sign_up, web
from tests.app.terminal import fluentpro_each
from tests.app.test_conversations_api import post, practising, said, started
from tests.support import harness_of, rows, value

__all__ = ["practising"]

WORDS = "We would like a discount of five per cent."
NOBODY = "0199a8a0-0000-7000-8000-000000000000"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Snapshots are made at every second event."""
    return msgspec.structs.replace(settings, snapshot_every=2)


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """A learner in a conversation in which there was one turn."""

    door: Door
    person: Person
    home: str

    @property
    def house(self) -> House:
        return self.door.house

    @property
    def id(self) -> str:
        return self.home.rpartition("/")[2]

    async def state(self, *arguments: str, **options: str) -> subprocess.CompletedProcess[str]:
        return await fluentpro(self.house.settings, "state", *arguments, **options)

    async def each(self, *commands: Sequence[str]) -> list[subprocess.CompletedProcess[str]]:
        return await fluentpro_each(self.house.settings, *(("state", *command) for command in commands))

    async def documents(self, *commands: Sequence[str]) -> list[Any]:
        """The one JSON document that each prints."""
        done = await self.each(*((*command, "--json") for command in commands))
        assert [one.returncode for one in done] == [0] * len(commands), done
        return [json.loads(one.stdout) for one in done]

    async def document(self, *arguments: str) -> Any:
        return (await self.documents(arguments))[0]

    async def share(self) -> None:
        answer = await self.door.client.patch(self.home, json={"support": True}, headers=self.person.headers)
        assert answer.status_code == 200, answer.text

    async def sql(self, statement: str, *arguments: object) -> None:
        async with self.house.database.driver() as driver:
            await driver.execute(statement, *arguments)


@pytest.fixture
async def scene(practising: Door) -> Scene:
    person = await sign_up(practising.client)
    home = await started(practising, person)
    await said(practising, person, home, WORDS)
    return Scene(door=practising, person=person, home=home)


async def looks(scene: Scene) -> list[dict[str, Any]]:
    """Who was shown text, of whom."""
    return [
        dict(row)
        for row in await rows(
            scene.house, "SELECT subject, meta -> 'actor' ->> 'kind' AS by FROM events WHERE name = 'practice.conversation_inspected'"
        )
    ]


async def test_conversations_are_listed_and_found_without_their_text(scene: Scene) -> None:
    other = await sign_up(scene.door.client, email="bea@example.com")
    second = (await started(scene.door, other)).rpartition("/")[2]
    await scene.share()
    cases: dict[tuple[str, ...], list[str]] = {
        ("list", "--account", "Bea@example.com"): [second],
        ("list", "--account", str(scene.person.id)): [scene.id],
        ("list", "--phase", "running"): [],
        ("search", "--status", "idle", "--account", "bea@example.com"): [second],
        ("search", "--status", "deleted"): [],
        ("search", "--scenario", "real_estate_negotiations", "--account", "ada@example.com"): [scene.id],
        ("search", "--scenario", "no_such_one"): [],
        ("search", "--to", "2026-01-01T00:00:00Z"): [],
        ("search", "--from", "2026-01-01T00:00:00Z", "--account", "ada@example.com"): [scene.id],
    }
    everything, *found = await scene.documents(("list",), *cases)
    assert {(one["id"], one["turns"], one["status"]) for one in everything} == {(scene.id, 1, "idle"), (second, 0, "idle")}
    assert {arguments: [one["id"] for one in some] for arguments, some in zip(cases, found, strict=True)} == cases
    text, first, none = await scene.each(("list",), ("list", "--limit", "1"), ("list", "--phase", "pending"))
    assert (text.returncode, text.stderr) == (0, "")
    assert all(one in text.stdout for one in (scene.id, second, str(scene.person.id), "idle"))
    assert WORDS not in text.stdout
    assert "there may be more: raise --limit" in first.stderr
    assert (none.returncode, none.stdout, "There are no such conversations." in none.stderr) == (0, "", True)
    assert await looks(scene) == []


async def test_text_is_shown_only_where_its_learner_agreed_and_they_are_told(scene: Scene) -> None:
    await scene.door.client.patch(scene.home, json={"title": "My raise"}, headers=scene.person.headers)
    document, text = await scene.each(("inspect", scene.id, "--json"), ("inspect", scene.id))
    hidden = json.loads(document.stdout)
    view = hidden["conversation"]
    assert (hidden["shared"], hidden["account"], view["title"]) == (False, str(scene.person.id), "(not shared)")
    [turn] = view["turns"]
    assert (turn["text"], turn["answer"], turn["feedback"], turn["status"]) == ("(not shared)", "(not shared)", None, "answered")
    assert ("(not shared)" in text.stdout, WORDS in text.stdout) == (True, False)
    assert await looks(scene) == []
    await scene.share()
    text, document = await scene.each(("inspect", scene.id), ("inspect", scene.id, "--json"))
    assert (WORDS in text.stdout, "My raise" in text.stdout) == (True, True)
    view = json.loads(document.stdout)["conversation"]
    assert (view["turns"][0]["text"], view["support"]) == (WORDS, True)
    assert await looks(scene) == [{"subject": scene.person.id, "by": "system"}] * 2
    # What they choose now counts, also for how it was while they shared it.
    await scene.door.client.patch(scene.home, json={"support": False}, headers=scene.person.headers)
    for done in await scene.each(("inspect", scene.id, "--at", str(view["version"])), ("export", scene.id, "--format", "markdown")):
        assert (done.returncode, WORDS in done.stdout, "not shared" in done.stdout) == (0, False, True)
    assert len(await looks(scene)) == 2


async def test_the_words_of_a_deleted_conversation_are_shown_to_nobody(scene: Scene) -> None:
    await scene.share()
    assert (await scene.door.client.delete(scene.home, headers=scene.person.headers)).status_code == 204
    gone, listed = await scene.documents(("inspect", scene.id), ("search", "--status", "deleted"))
    assert (gone["deleted"], gone["shared"], gone["conversation"]["turns"][0]["text"]) == (True, False, "(not shared)")
    assert [(one["id"], one["status"]) for one in listed] == [(scene.id, "deleted")]


async def test_an_earlier_state_and_what_has_changed_since(scene: Scene) -> None:
    await scene.share()
    now = await scene.document("inspect", scene.id)
    last = now["conversation"]["version"]
    assert [one["version"] for one in now["versions"]] == list(range(1, last + 1))
    *documents, shown = await scene.each(
        ("inspect", scene.id, "--at", "1", "--json"),
        ("diff", scene.id, "2", str(last), "--json"),
        ("diff", scene.id, str(last), "2", "--json"),
        ("diff", scene.id, "1", str(last)),
    )
    begun, changed, back = [json.loads(one.stdout) for one in documents]
    assert (begun["conversation"]["turns"], begun["conversation"]["version"], len(begun["versions"])) == ([], 1, 1)
    answer = now["conversation"]["turns"][0]["answer"]
    by_field = {one["field"]: (one["before"], one["after"]) for one in changed["changes"]}
    assert by_field["/turns/1/answer"] == (None, answer)
    assert by_field["/turns/1/status"] == ("waiting", "answered")
    assert "/turns/1/text" not in by_field
    assert [one["version"] for one in changed["events"]] == list(range(3, last + 1))
    assert f"+ {WORDS}" in shown.stdout
    assert "practice.turn_completed" in shown.stdout
    assert {one["field"]: one["after"] for one in back["changes"]}["/turns/1/answer"] is None


async def test_what_people_write_cannot_steer_the_terminal(scene: Scene) -> None:
    attack = "\x1b]0;owned\x07\x1b[2J [bold red]loud[/] :boom: \x9b31m \u202eesrever <|>"
    await said(scene.door, scene.person, scene.home, attack)
    await scene.share()
    version = str((await scene.document("inspect", scene.id))["conversation"]["version"])
    forms = [("export", scene.id, "--format", form) for form in ("json", "markdown", "vtt")]
    every = await scene.each(*forms, ("inspect", scene.id), ("inspect", scene.id, "--json"), ("diff", scene.id, "1", version))
    for done in every:
        assert (done.returncode, "loud" in done.stdout) == (0, True), done
        steering = [one for one in done.stdout if one != "\n" and (ord(one) < 32 or 127 <= ord(one) < 160 or one in "\u202e\u2028")]
        assert steering == [], done.args
    assert "[bold red]loud[/] :boom:" in every[3].stdout
    assert json.loads(every[0].stdout)["conversation"]["turns"][1]["text"] == attack


async def test_an_export_is_what_the_learner_has(scene: Scene) -> None:
    await scene.share()
    forms = ("json", "markdown", "vtt")
    for form, done in zip(forms, await scene.each(*(("export", scene.id, "--format", form) for form in forms)), strict=True):
        own = await scene.door.client.get(f"{scene.home}/export", params={"format": form}, headers=scene.person.headers)
        assert (done.returncode, done.stdout) == (0, own.text)


async def test_everything_agrees_with_the_events_after_all_that_can_be_done(scene: Scene) -> None:
    door, person = scene.door, scene.person
    for action in ("undo", "redo", "undo"):
        assert (await post(door, person, f"{scene.home}/{action}")).status_code == 200
    await said(door, person, scene.home, "Let us look at the second quarter.")
    fork = (await post(door, person, f"{scene.home}/forks", {"at_version": 4})).headers["Location"]
    await said(door, person, fork, "Could we meet on Monday?")
    grandchild = (await post(door, person, f"{fork}/forks", {"at_version": 5})).headers["Location"]
    await post(door, person, f"{fork}/retry")
    await door.house.turns().settled()
    await post(door, person, f"{fork}/end")
    await harness_of(door.house).settle()
    # One turn waits for an answer, and one conversation is gone.
    assert (await post(door, person, f"{scene.home}/turns", {"text": "And now?"})).status_code == 202
    assert (await door.client.delete(grandchild, headers=person.headers)).status_code == 204
    assert await findings(scene) == []
    # A call that runs, one that has failed before the next begins, and that next one.
    begun = await scene.house.bus.execute(BeginAttempt(conversation=UUID(scene.id), fence=None, model="first"), by=SYSTEM)
    assert begun is not None
    assert await findings(scene) == []
    failed = FailAttempt(conversation=UUID(scene.id), fence=begun.fence, code="service.unavailable", tokens_out=3, final=False)
    assert await scene.house.bus.execute(failed, by=SYSTEM)
    assert await findings(scene) == []
    again = BeginAttempt(conversation=UUID(scene.id), fence=begun.fence, model="second")
    assert await scene.house.bus.execute(again, by=SYSTEM) is not None
    everything = await scene.document("verify")
    assert (everything["ok"], everything["findings"], everything["notes"]) == (True, [], [])
    assert everything["conversations"] == 3
    assert everything["snapshots"] > 0
    numbered = "SELECT count(*) FROM events WHERE stream LIKE 'practice-%' AND version IS NOT NULL"
    assert everything["events"] == await value(scene.house, numbered)
    one = await scene.state("verify", fork.rpartition("/")[2])
    assert (one.returncode, "1 conversations" in one.stdout, "all of it is what the events say" in one.stdout) == (0, True, True)


# What is done to the rows of a conversation ($1), and what must be found.
SABOTAGES = {
    "an event is gone": ("UPDATE events SET stream = 'lost' WHERE stream = 'practice-' || $1::uuid AND version = 2", "event_missing"),
    "the head is behind": ("UPDATE conversations SET version = version - 1 WHERE id = $1", "event_beyond"),
    "a phase": ("UPDATE conversations SET phase = 'pending' WHERE id = $1", "head_wrong"),
    "the number of turns": ("UPDATE conversations SET turns = turns + 1 WHERE id = $1", "head_wrong"),
    "that it has ended": ("UPDATE conversations SET ended = true WHERE id = $1", "head_wrong"),
    "a score": ("UPDATE conversations SET score = 99 WHERE id = $1", "head_wrong"),
    "who shares it": ("UPDATE conversations SET support = true WHERE id = $1", "head_wrong"),
    "that it is deleted": ("UPDATE conversations SET deleted_at = now() WHERE id = $1", "head_wrong"),
    "a snapshot is damaged": (
        "UPDATE conversation_snapshots SET state = set_byte(state, 3, 0) WHERE conversation = $1",
        "snapshot_damaged",
    ),
    "a snapshot is another": (
        (
            "UPDATE conversation_snapshots SET state = s, checksum = sha256(s) "
            "FROM (SELECT convert_to(replace(convert_from(state, 'UTF8'), '\"level\":\"B1\"', '\"level\":\"C1\"'), 'UTF8') AS s "
            "FROM conversation_snapshots WHERE conversation = $1 LIMIT 1) AS t WHERE conversation = $1"
        ),
        "snapshot_wrong",
    ),
    "a snapshot of the future": ("UPDATE conversation_snapshots SET version = version + 99 WHERE conversation = $1", "snapshot_beyond"),
    "a row of the log is gone": ("DELETE FROM conversation_log WHERE conversation = $1 AND name = 'practice.delta'", "log_missing"),
    "the end of the log is gone": (
        "DELETE FROM conversation_log WHERE conversation = $1 AND n = (SELECT max(n) FROM conversation_log WHERE conversation = $1)",
        "log_missing",
    ),
    "a row too many": (
        (
            "INSERT INTO conversation_log SELECT conversation, n + 100, at, name, version, turn, attempt, data "
            "FROM conversation_log WHERE conversation = $1 AND n = 1"
        ),
        "log_beyond",
    ),
    "a row twice": (
        (
            "INSERT INTO conversation_log SELECT conversation, n, at - interval '1 second', name, version, turn, attempt, data "
            "FROM conversation_log WHERE conversation = $1 AND n = 2"
        ),
        "log_repeated",
    ),
    "text of no attempt": (
        "UPDATE conversation_log SET attempt = 7 WHERE conversation = $1 AND name = 'practice.delta'",
        "log_stray",
    ),
    "another fact": (
        (
            "UPDATE conversation_log SET data = convert_to(replace(convert_from(data, 'UTF8'), '\"version\":2', '\"version\":3'), 'UTF8') "
            "WHERE conversation = $1 AND version = 2"
        ),
        "fact_wrong",
    ),
    "a fact that nobody was told": (
        "UPDATE conversation_log SET name = 'practice.delta', version = NULL WHERE conversation = $1 AND version = 2",
        "fact_missing",
    ),
    "a fact of no event": ("UPDATE conversation_log SET version = 50 WHERE conversation = $1 AND version = 2", "fact_stray"),
    "a call is gone": ("DELETE FROM model_calls WHERE conversation = $1", "call_missing"),
    "a call is open": (
        "UPDATE model_calls SET outcome = 'running', ended_at = NULL WHERE conversation = $1",
        "call_open",
    ),
    "a call of no attempt": ("UPDATE model_calls SET attempt = 3 WHERE conversation = $1", "call_stray"),
    "tokens of a call": ("UPDATE model_calls SET tokens_out = tokens_out + 1 WHERE conversation = $1", "call_wrong"),
    "two calls of the coach at once": (
        (
            "INSERT INTO model_calls (id, conversation, account, turn, purpose, attempt, fence, model, outcome, reserved, begun_at) "
            "SELECT gen_random_uuid(), conversation, account, turn, 'coach', n, 0, 'm', 'running', 0, now() "
            "FROM model_calls, generate_series(1, 2) AS n WHERE conversation = $1"
        ),
        "call_open",
    ),
    "a call of the coach that has and has not ended": (
        (
            "INSERT INTO model_calls (id, conversation, account, turn, purpose, attempt, fence, model, outcome, reserved, begun_at) "
            "SELECT gen_random_uuid(), conversation, account, turn, 'coach', 1, 0, 'm', 'failed', 0, now() "
            "FROM model_calls WHERE conversation = $1"
        ),
        "call_wrong",
    ),
    "what is reserved": ("UPDATE token_budgets SET reserved = 5 WHERE scope = 'conversation:' || $1::uuid", "budget_wrong"),
    "what is spent": ("UPDATE token_budgets SET spent = 1 WHERE scope = 'conversation:' || $1::uuid", "budget_wrong"),
    "what a day has spent": (
        "UPDATE token_budgets SET spent = 1 FROM conversations c WHERE c.id = $1 AND scope LIKE 'day:' || c.account || ':%'",
        "budget_wrong",
    ),
}


async def findings(scene: Scene) -> list[str]:
    """Their kinds; as the command finds them, but without the start of a process for each of many."""
    house = scene.house
    verification = Verification(house.reads.conversations_admin, kept=timedelta(days=house.settings.log_days), now=house.clock())
    return [one.kind for one in (await verification.everything()).findings]


async def test_whatever_is_altered_is_found(scene: Scene) -> None:
    tables = ("conversations", "conversation_log", "conversation_snapshots", "model_calls", "token_budgets")
    await scene.sql("CREATE SCHEMA aside; CREATE TABLE aside.events AS SELECT id, stream, version FROM events")
    for table in tables:
        await scene.sql(f"CREATE TABLE aside.{table} AS TABLE {table}")
    try:
        for what, (statement, kind) in SABOTAGES.items():
            await scene.sql(statement, UUID(scene.id))
            found = await findings(scene)
            assert kind in found, f"{what}: {found}"
            for table in tables:
                await scene.sql(f"DELETE FROM {table}; INSERT INTO {table} SELECT * FROM aside.{table}")  # noqa: S608 - names of our tables
            await scene.sql("UPDATE events e SET stream = a.stream, version = a.version FROM aside.events a WHERE a.id = e.id")
            assert await findings(scene) == [], what
    finally:
        await scene.sql("DROP SCHEMA aside CASCADE")


async def test_what_is_altered_is_named_and_ends_with_1(scene: Scene) -> None:
    lost = uuid4()
    for statement in (
        "UPDATE conversations SET turns = 7, phase = 'running' WHERE id = $1",
        "UPDATE conversation_snapshots SET checksum = sha256('other') WHERE conversation = $1",
        "DELETE FROM conversation_log WHERE conversation = $1 AND n = 2",
        "UPDATE token_budgets SET reserved = 5 WHERE scope = 'conversation:' || $1::uuid",
    ):
        await scene.sql(statement, UUID(scene.id))
    newest = "SELECT max(version) FROM conversation_snapshots"
    await scene.sql(f"UPDATE conversation_snapshots SET conversation = $1 WHERE version = ({newest})", lost)  # noqa: S608 - ours
    done = await scene.state("verify")
    assert (done.returncode, done.stderr) == (1, "")
    for line in (
        f"head_wrong: {scene.id}: By its events its turns is 1, not 7.",
        f"head_wrong: {scene.id}: By its events its phase is idle, not running.",
        f"log_missing: {scene.id}: Its log ends with",
        "but lacks 2.",
        f"budget_wrong: {scene.id}: The budget conversation:{scene.id} has 5 reserved",
        f"headless: There is something of a conversation that is not there: conversation_snapshots {lost}.",
    ):
        assert line in done.stdout, done.stdout
    one = json.loads((await scene.state("verify", scene.id, "--json")).stdout)
    assert (one["ok"], one["conversations"]) == (False, 1)
    assert {found["conversation"] for found in one["findings"]} == {scene.id}


async def test_a_log_whose_first_days_are_over_is_whole(scene: Scene) -> None:
    await scene.sql("UPDATE conversations SET created_at = created_at - interval '40 days' WHERE id = $1", UUID(scene.id))
    older = "UPDATE events SET at = at - interval '40 days' WHERE stream = 'practice-' || $1::uuid AND version <= 2"
    await scene.sql(older, UUID(scene.id))
    await scene.sql("DELETE FROM conversation_log WHERE conversation = $1 AND version <= 2", UUID(scene.id))
    await scene.sql("DELETE FROM conversation_snapshots")
    assert await findings(scene) == []
    await scene.sql("DELETE FROM conversation_log WHERE conversation = $1 AND version = 3", UUID(scene.id))
    assert await findings(scene) == ["fact_missing"]


async def test_everything_is_counted(scene: Scene) -> None:
    document, text = await scene.each(("stats", "--json"), ("stats",))
    found = json.loads(document.stdout)
    assert (found["conversations"], found["turns"], found["forks"], found["tokens_reserved"], found["generation"]) == (1, 1, 0, 0, 1)
    assert found["by_status"] == [{"name": "idle", "count": 1}]
    [call] = found["calls"]
    assert (call["name"], call["count"]) == ("answered", 1)
    assert call["tokens_out"] > 0
    assert sum(day["count"] for day in found["log_rows"]) == await value(scene.house, "SELECT count(*) FROM conversation_log")
    assert found["connected"] == {"connections": 0, "people": 0, "average": 0.0, "most": 0}
    assert (text.returncode, "1, of which 0 are forks" in text.stdout, "answered" in text.stdout) == (0, True, True)
    away = await fluentpro(msgspec.structs.replace(scene.house.settings, redis_url=f"redis://127.0.0.1:{free_port()}/0"), "state", "stats")
    assert (away.returncode, "unknown, for Redis does not answer" in away.stdout) == (0, True), away.stderr


async def test_health_says_what_is_wrong_and_what_to_do(scene: Scene) -> None:
    alone = await scene.state("health", "--json")
    by_name = {one["name"]: one for one in json.loads(alone.stdout)["checks"]}
    assert alone.returncode == 1
    assert {name: one["status"] for name, one in by_name.items()} == {"turns": "ok", "leases": "ok", "log": "ok", "workers": "wrong"}
    assert "start one with `fluentpro worker`" in by_name["workers"]["detail"]
    second = (await started(scene.door, scene.person)).rpartition("/")[2]
    ago = "now() - interval '1 minute'"
    await scene.sql(f"UPDATE conversations SET phase = 'pending', updated_at = {ago} WHERE id = $1", UUID(second))  # noqa: S608 - ours
    await scene.sql(f"UPDATE conversations SET phase = 'running', lease = {ago} WHERE id = $1", UUID(scene.id))  # noqa: S608 - the same
    late = await scene.state("health")
    assert late.returncode == 1
    for line in (
        "1 turns wait for a worker, the oldest for ",
        "1 answers have lost their worker, the first ",
        "and no other has taken them over: start workers",
    ):
        assert line in late.stdout, late.stdout


async def test_a_worker_that_runs_is_seen(scene: Scene) -> None:
    async with running(scene.house.settings) as start:
        start("worker")

        async def healthy() -> bool:
            return (await scene.state("health")).returncode == 0

        await eventually(healthy, "the worker is seen", 40)


async def test_after_a_restore_readers_begin_anew(scene: Scene) -> None:
    asked = await scene.state("restored", stdin="n\n")
    assert (asked.returncode, asked.stdout, "Was the database restored from a backup?" in asked.stderr) == (1, "", True)
    assert await value(scene.house, "SELECT generation FROM stream_generation") == 1
    try:
        assert await scene.document("restored", "--yes") == {"generation": 2}
        headers = {**scene.person.headers, "Last-Event-ID": "1.1"}
        async with (
            web(scene.house.settings) as served,
            served.client() as client,
            client.stream("GET", f"{scene.home}/events", headers=headers) as response,
        ):
            reset = await Feed(response).event()
        assert reset is not None
        assert (reset.event, reset.data["position"].partition(".")[0]) == ("stream.reset", "2")
        recorded = await rows(scene.house, "SELECT data FROM events WHERE name = 'practice.streams_restored'")
        assert [row["data"] for row in recorded] == [{"generation": 2}]
    finally:
        await scene.sql("UPDATE stream_generation SET generation = 1")


async def test_what_is_wrong_says_what_to_do(settings: Settings, scene: Scene) -> None:
    wrong: dict[tuple[str, ...], str] = {
        ("inspect", NOBODY): "There is no conversation with this id. List them to find it.",
        ("inspect", scene.id, "--at", "99"): "The conversation has the versions 1 to",
        ("inspect", scene.id, "--at", "x"): "'x' is neither a position",
        ("diff", scene.id, "1", "99"): "The conversation has the versions 1 to",
        ("diff", scene.id, "0", "1"): "0 is not in the range",
        ("verify", NOBODY): "There is no conversation with this id.",
        ("export", NOBODY, "--format", "json"): "There is no conversation with this id.",
        ("inspect", "x"): "'x' is not a valid UUID",
        ("list", "--account", "x"): "neither the id of an account nor an e-mail address",
        ("list", "--account", "nobody@example.com"): "There is no account nobody@example.com",
        ("search", "--from", "4711"): "--from is a time",
    }
    for (arguments, expected), done in zip(wrong.items(), await scene.each(*wrong), strict=True):
        assert (done.returncode != 0, done.stdout, expected in done.stderr) == (True, "", True), (arguments, done.stderr)
        assert "Traceback" not in done.stderr
    async with empty_database(settings) as empty:
        done = await fluentpro(empty, "state", "list")
        assert (done.returncode, "run `fluentpro migrate` first" in done.stderr) == (1, True)
    gone = msgspec.structs.replace(settings, database_url=f"postgresql://app@127.0.0.1:{free_port()}/app")
    done = await fluentpro(gone, "state", "verify")
    assert (done.returncode, "FLUENTPRO_DATABASE_URL" in done.stderr, "Traceback" in done.stderr) == (1, True, False)
    await scene.share()
    rotated = await fluentpro(msgspec.structs.replace(settings, secret_key=settings.secret_key[::-1]), "state", "inspect", scene.id)
    assert (rotated.returncode, "Set FLUENTPRO_SECRET_KEY to" in rotated.stderr, "Traceback" in rotated.stderr) == (1, True, False)
