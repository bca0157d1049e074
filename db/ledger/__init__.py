"""The ledger: events, feed, outbox, done, deliveries, idempotency."""

from db.ledger.postgres import PostgresLedger, envelope_of

__all__ = ["PostgresLedger", "envelope_of"]
