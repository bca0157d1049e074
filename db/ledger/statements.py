"""What is said to PostgreSQL; values are always parameters."""

from datetime import timedelta

PLACED = """
SELECT e.id, e.name, e.v, e.key, e.subject, e.data::text AS data, e.meta::text AS meta, e.at, f.position
FROM feed f JOIN events e ON e.id = f.event
"""

RECORD = """
WITH recorded AS (
    INSERT INTO events (id, stream, name, v, key, subject, data, meta, at, version, personal)
    SELECT id, stream, name, v, key, subject, data::json, meta::json, at, version, personal::json
    FROM unnest(
        $1::uuid[], $2::text[], $3::text[], $4::int[], $5::text[], $6::uuid[], $7::text[], $8::text[], $9::timestamptz[],
        $10::int[], $11::text[]
    ) AS e(id, stream, name, v, key, subject, data, meta, at, version, personal)
)
INSERT INTO outbox (id, kind) SELECT id, 'event' FROM unnest($1::uuid[]) WITH ORDINALITY AS e(id, n) ORDER BY e.n
"""

SEND = """
INSERT INTO outbox (id, kind, key, due, envelope) VALUES ($1, 'command', $2, $3, $4::text::json)
ON CONFLICT (key) WHERE kind = 'command'
DO UPDATE SET id = excluded.id, due = excluded.due, envelope = excluded.envelope, lease = NULL, fence = 0, tries = 0
"""

SPEND = "DELETE FROM outbox WHERE id = $1 AND fence = $2 RETURNING id"

CLAIM = """
INSERT INTO idempotency (caller, key, request, lease, at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (caller, key) DO UPDATE SET lease = excluded.lease, at = excluded.at, request = excluded.request, answer = NULL
    WHERE idempotency.at < $5 - interval '24 hours'
        OR (idempotency.answer IS NULL AND idempotency.lease < $5 AND idempotency.request = excluded.request)
RETURNING 1
"""

ANSWER = "UPDATE idempotency SET answer = $4 WHERE caller = $1 AND key = $2 AND lease = $3 AND answer IS NULL RETURNING 1"

RELEASE = "DELETE FROM idempotency WHERE caller = $1 AND key = $2 AND lease = $3 AND answer IS NULL"

LEAD = """
INSERT INTO leases AS held (name, holder, epoch, until) VALUES ($1, $2, 1, $4)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, epoch = held.epoch + 1, until = excluded.until
WHERE held.until <= $3 OR held.holder = excluded.holder
RETURNING epoch
"""

STAY = "UPDATE leases SET until = $3 WHERE name = $1 AND epoch = $2 RETURNING epoch"

# Whether this is still the leader: a new one waits for whoever holds this row, and an old one finds another epoch.
LED = "SELECT 1 FROM leases WHERE name = $1 AND epoch = $2 FOR SHARE"

# Asked first, because a commit waits for the disk, also one that has only locked the lease.
EVENTS_WAIT = "SELECT EXISTS (SELECT FROM outbox WHERE kind = 'event') AS wait FROM leases WHERE name = $1 AND epoch = $2"
COMMANDS_WAIT = """
SELECT EXISTS (SELECT FROM outbox WHERE kind = 'command' AND due <= $3 AND (lease IS NULL OR lease <= $3)) AS wait
FROM leases WHERE name = $1 AND epoch = $2
"""

# What only the leader may do answers with no row at all when it is not; one statement, for the relay waits for every round trip.
SEQUENCE = f"""
WITH led AS (
    {LED}
), taken AS (
    DELETE FROM outbox
    WHERE id IN (SELECT id FROM outbox WHERE kind = 'event' ORDER BY n LIMIT $3) AND EXISTS (SELECT FROM led) RETURNING id, n
), head AS (
    SELECT coalesce(max(position), 0) AS position FROM feed
), placed AS (
    INSERT INTO feed (position, event, area, key, subject, name, actor)
    SELECT head.position + row_number() OVER (ORDER BY taken.n), e.id, split_part(e.name, '.', 1), e.key, e.subject, e.name,
        coalesce(e.meta->'actor'->>'id', e.meta->'actor'->>'on_behalf_of')::uuid
    FROM taken JOIN events e ON e.id = taken.id CROSS JOIN head
    RETURNING 1
)
SELECT (SELECT count(*) FROM placed) AS placed FROM led
"""

UNPUBLISHED = f"""{PLACED}
WHERE f.position IN (
    SELECT position FROM feed WHERE position > (SELECT coalesce(max(position), 0) FROM watermarks) ORDER BY position LIMIT $1
)
ORDER BY f.position
"""

STRETCH = f"""{PLACED}
WHERE f.area = $1 AND f.position > $2 AND f.position <= $3 ORDER BY f.position LIMIT $4
"""

# Need not be on disk before the relay goes on: whoever finds a stream further on than its watermark takes the stream's word for it.
ADVANCE = f"""
WITH led AS (
    {LED}
), advanced AS (
    INSERT INTO watermarks (area, position)
    SELECT area, position FROM unnest($3::text[], $4::bigint[]) AS m(area, position) WHERE EXISTS (SELECT FROM led)
    ON CONFLICT (area) DO UPDATE SET position = excluded.position
)
SELECT set_config('synchronous_commit', 'off', true) FROM led
"""

LASTS = """
SELECT a.area, coalesce((SELECT max(position) FROM feed WHERE feed.area = a.area AND position <= $2), 0) AS position
FROM unnest($1::text[]) AS a(area)
"""

# Positions follow time, but for transactions that were committed late, and clocks that differ.
DISORDER = timedelta(hours=1)

# The last position whose event is older than an instant, found by halving; near it, positions may be out of order.
LAST_OLDER = """
WITH RECURSIVE range(low, high) AS (
    SELECT 0::bigint, coalesce(max(position), 0) FROM feed
    UNION ALL
    SELECT CASE WHEN older THEN middle ELSE low END, CASE WHEN older THEN high ELSE middle - 1 END
    FROM (
        SELECT low, high, middle, coalesce((
            SELECT e.at < $1::timestamptz + $2::interval FROM feed f JOIN events e ON e.id = f.event
            WHERE f.position <= middle ORDER BY f.position DESC LIMIT 1
        ), true) AS older
        FROM (SELECT low, high, (low + high + 1) / 2 AS middle FROM range WHERE low < high) AS halves
    ) AS judged
)
SELECT low FROM range WHERE low = high
"""

POSITION_AT = f"""
SELECT coalesce(
    (
        SELECT f.position - 1 FROM feed f JOIN events e ON e.id = f.event
        WHERE f.area = $3 AND f.position > ({LAST_OLDER}) AND e.at >= $1 ORDER BY f.position LIMIT 1
    ),
    (SELECT max(position) FROM feed WHERE area = $3),
    0
)
"""

CONFIRM = """
INSERT INTO groups AS known (area, name, position, moved_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (area, name) DO UPDATE SET position = excluded.position, moved_at = excluded.moved_at WHERE known.position < excluded.position
"""

HAND_OVER = f"""
WITH led AS (
    {LED}
), handed AS (
    UPDATE outbox SET lease = $4, fence = fence + 1, begun = false
    WHERE id IN (
        SELECT id FROM outbox WHERE kind = 'command' AND due <= $3 AND (lease IS NULL OR lease <= $3)
        ORDER BY due LIMIT $5 FOR UPDATE SKIP LOCKED
    ) AND EXISTS (SELECT FROM led)
    RETURNING fence, due, envelope::text AS envelope
)
SELECT fence, due, envelope FROM led LEFT JOIN handed ON true
"""

BEGIN = """
UPDATE outbox SET begun = true, tries = tries + 1, lease = $3 WHERE id = $1 AND fence >= $2 AND lease IS NOT NULL AND NOT begun
RETURNING fence, tries, envelope::text AS envelope
"""

POSTPONE = "UPDATE outbox SET lease = NULL, tries = $3, due = $4 WHERE id = $1 AND fence = $2"

BURY_COMMAND = """
WITH gone AS (DELETE FROM outbox WHERE id = $1 AND fence = $2 RETURNING *)
INSERT INTO deliveries (id, at, reaction, message, state, key, tries, error, envelope, fence)
SELECT id, $4, envelope->>'name', id, 'dead', key, tries, $3, envelope, fence FROM gone
"""

IS_DONE = "SELECT 1 FROM done WHERE reaction = $1 AND message = $2 AND at = $3"

DONE = "INSERT INTO done (reaction, message, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING 1"

IS_KNOWN = f"{IS_DONE} UNION ALL SELECT 1 FROM deliveries WHERE reaction = $1 AND message = $2 LIMIT 1"

OWES = "SELECT 1 FROM deliveries WHERE reaction = $1 AND key = $2 LIMIT 1"

PARK = """
WITH owing AS (
    SELECT 1 FROM deliveries WHERE reaction = $1 AND key = $3
), parked AS (
    INSERT INTO deliveries (id, at, reaction, message, state, key, position, tries, envelope)
    SELECT $7, $8, $1, $2, 'parked', $3, $4, 0, $5::text::json
    WHERE EXISTS (SELECT 1 FROM owing)
        AND NOT EXISTS (SELECT 1 FROM done WHERE reaction = $1 AND message = $2 AND at = $6)
    ON CONFLICT (reaction, message) DO NOTHING
)
SELECT EXISTS (SELECT 1 FROM owing)
"""

UNPARK = """
UPDATE deliveries SET state = 'waiting', due = $3 WHERE reaction = $1 AND message = (
    SELECT message FROM deliveries WHERE reaction = $1 AND key = $2 ORDER BY position LIMIT 1
) AND state = 'parked'
"""

OWE = """
INSERT INTO deliveries (reaction, message, state, key, position, tries, due, error, envelope, id, at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::json, $10, $11)
ON CONFLICT (reaction, message)
DO UPDATE SET state = excluded.state, tries = excluded.tries, due = excluded.due, error = excluded.error, at = excluded.at
"""

DUE = """
UPDATE deliveries SET due = $2
WHERE (reaction, message) IN (
    SELECT reaction, message FROM deliveries WHERE state = 'waiting' AND due <= $1 AND reaction <> ALL($4::text[])
    ORDER BY due LIMIT $3 FOR UPDATE SKIP LOCKED
)
RETURNING id, at, reaction, tries, envelope::text AS envelope
"""

# Parking behind a key and releasing the next of it take turns, or an entry could be parked behind nothing.
LOCK_KEY = "SELECT pg_advisory_xact_lock(hashtextextended($1 || '|' || coalesce($2, ''), 0))"

DEAD_LETTER = """
SELECT id, reaction, message, state, key, tries, due, envelope->>'name' AS name FROM deliveries WHERE id = $1 FOR UPDATE
"""

REVIVE = "UPDATE deliveries SET state = 'waiting', tries = 0, due = $2, at = $2 WHERE id = $1"

# The fence goes on where it was: whoever still holds an earlier handover must not pass for the new one.
REVIVE_COMMAND = """
WITH gone AS (DELETE FROM deliveries WHERE id = $1 RETURNING message, key, envelope, fence)
INSERT INTO outbox (id, kind, key, due, envelope, fence) SELECT message, 'command', key, $2, envelope, fence FROM gone
ON CONFLICT (key) WHERE kind = 'command' DO NOTHING
RETURNING 1
"""

# An entry may be delivered again after its row is gone; that it was given up must be known then.
GIVE_UP = """
WITH gone AS (DELETE FROM deliveries WHERE id = $1 RETURNING reaction, message, envelope)
INSERT INTO done (reaction, message, at) SELECT reaction, message, (envelope->>'at')::timestamptz FROM gone ON CONFLICT DO NOTHING
"""

LAG = """
SELECT count(*) AS waiting, min(at) AS since FROM (
    SELECT e.at FROM outbox o JOIN events e ON e.id = o.id WHERE o.kind = 'event'
    UNION ALL
    SELECT e.at FROM feed f JOIN events e ON e.id = f.event WHERE f.position > (SELECT coalesce(max(position), 0) FROM watermarks)
) AS late
"""
