// Reads a stream of FluentPro into SQLite: every event has its effect exactly once and in order, whatever is killed in between.
//
//     node consume.mjs redis://127.0.0.1:6379/0 events.accounts crm crm.sqlite [--once]
//
// The effect here is a row of `timeline`. It and the position of its event are one transaction, and an event whose position was had
// before is dropped. `--once` ends when nothing is new. Needs ioredis, and nothing of FluentPro.
import { setTimeout as sleep } from "node:timers/promises";
import { DatabaseSync } from "node:sqlite";
import { Redis } from "ioredis";

const [url, stream, group, file, ...options] = process.argv.slice(2);
const once = options.includes("--once");

// One consumer at a time for each file: the lock is held until the process ends, and a second one is told that it is locked.
const effects = new DatabaseSync(file);
effects.exec(`
  PRAGMA locking_mode = EXCLUSIVE;
  CREATE TABLE IF NOT EXISTS progress (stream TEXT PRIMARY KEY, position INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS timeline (n INTEGER PRIMARY KEY, key TEXT, position INTEGER, type TEXT, version INTEGER, data TEXT);
`);
effects.prepare("INSERT OR IGNORE INTO progress VALUES (?, 0)").run(stream);
const standing = effects.prepare("SELECT position FROM progress WHERE stream = ?");
const move = effects.prepare("UPDATE progress SET position = ? WHERE stream = ? AND position < ?");
const insert = effects.prepare("INSERT INTO timeline (key, position, type, version, data) VALUES (?, ?, ?, ?, ?)");

// An outage of Redis is met in the loop below, and not by sending a command twice.
const streams = new Redis(url, { maxRetriesPerRequest: 0, retryStrategy: () => 1000 });
streams.on("error", (error) => console.error(`waiting for Redis: ${error.message}`));

/** Have a group that stands where we stand, unless there is one. */
async function join() {
  try {
    await streams.xgroup("CREATE", stream, group, `${standing.get(stream).position}-0`, "MKSTREAM");
  } catch (error) {
    if (!error.message.includes("BUSYGROUP")) throw error;
  }
}

/** Whatever is pending was read by a consumer that has died, for there is no other. */
async function takeOver() {
  let cursor = "0-0";
  do {
    const [next, entries] = await streams.xautoclaim(stream, group, "consumer", 0, cursor, "COUNT", 100);
    await settle(entries);
    cursor = next;
  } while (cursor !== "0-0");
}

/** What is new; whether there was any. */
async function read() {
  const waiting = once ? [] : ["BLOCK", 1000];
  const found = await streams.xreadgroup("GROUP", group, "consumer", "COUNT", 100, ...waiting, "STREAMS", stream, ">");
  for (const [, entries] of found ?? []) await settle(entries);
  return found !== null;
}

/** Acknowledged are entries whose effects are committed, never others. */
async function settle(entries) {
  for (const [, flat] of entries) {
    const fields = Object.fromEntries(Array.from({ length: flat.length / 2 }, (_, n) => flat.slice(2 * n, 2 * n + 2)));
    console.log(take(fields) ? "took" : "had", fields.position, fields.type, fields.key);
  }
  if (entries.length > 0) await streams.xack(stream, group, ...entries.map(([entry]) => entry));
}

/** The effect of an event and its position, in one transaction; false when it was had before. */
function take({ position, type, version, key, data }) {
  effects.exec("BEGIN");
  try {
    const fresh = move.run(Number(position), stream, Number(position)).changes > 0;
    if (fresh) insert.run(key, Number(position), type, Number(version), data);
    effects.exec("COMMIT");
    return fresh;
  } catch (error) {
    effects.exec("ROLLBACK");
    throw error;
  }
}

for (let done = false; !done; ) {
  try {
    await join();
    await takeOver();
    while ((await read()) || !once);
    done = true;
  } catch (error) {
    // Redis has lost its data: FluentPro fills the stream again, and we go on from our own position. Or it does not answer: we wait.
    if (!error.message.includes("NOGROUP") && streams.status === "ready") throw error;
    await sleep(streams.status === "ready" ? 0 : 1000);
  }
}
streams.disconnect();
