"""What somebody wrote is erased with their key, and nothing else is."""

from tests.app.client import Door, sign_up
from tests.app.test_conversations_api import CONVERSATIONS, practising, read, said, started
from tests.support import audited, harness_of, rows, seal

__all__ = ["practising"]

WORDS = "We would like a discount of five per cent, because she work with you for years."


async def test_without_their_key_nobody_reads_what_a_learner_wrote_and_the_audit_still_holds(practising: Door) -> None:
    house = practising.house
    learner, other = await sign_up(practising.client), await sign_up(practising.client, email="bea@example.com")
    home, elsewhere = await started(practising, learner), await started(practising, other)
    for person, place in ((learner, home), (other, elsewhere)):
        await said(practising, person, place, WORDS)
    assert (await read(practising, learner, home))["turns"][0]["text"] == WORDS
    await harness_of(house).settle()
    await seal(house)
    held, positions = await audited(house)
    assert held
    kept = await rows(
        house, "SELECT e.personal FROM events e JOIN feed f ON f.event = e.id WHERE e.personal IS NOT NULL AND position <= $1", positions
    )
    assert len(kept) >= 4
    await rows(house, "DELETE FROM personal_keys WHERE account = $1 RETURNING account", learner.id)
    gone = await practising.client.get(home, headers=learner.headers)
    assert gone.status_code == 404, gone.text
    assert WORDS not in gone.text
    assert (await read(practising, other, elsewhere))["turns"][0]["text"] == WORDS
    assert await audited(house) == (True, positions)


async def test_who_begins_anew_after_an_erasure_sees_what_is_left_in_the_list_and_reads_what_is_new(practising: Door) -> None:
    learner = await sign_up(practising.client)
    old = await started(practising, learner)
    await practising.client.patch(old, json={"title": "About the discount"}, headers=learner.headers)
    await rows(practising.house, "DELETE FROM personal_keys WHERE account = $1 RETURNING account", learner.id)
    erased = await practising.client.get(CONVERSATIONS, headers=learner.headers)
    assert (erased.status_code, [one["title"] for one in erased.json()["data"]]) == (200, [None])
    new = await started(practising, learner)
    await practising.client.patch(new, json={"title": "About the rent"}, headers=learner.headers)
    listed = await practising.client.get(CONVERSATIONS, headers=learner.headers)
    assert (listed.status_code, [one["title"] for one in listed.json()["data"]]) == (200, ["About the rent", None])
    assert (await practising.client.get(old, headers=learner.headers)).status_code == 404
