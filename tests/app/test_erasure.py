"""What somebody wrote is erased with their key, and nothing else is."""

from tests.app.client import Door, sign_up
from tests.app.test_conversations_api import practising, read, said, started
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
