-- Webhooks: watched balances, events and their deliveries.

-- Watched accounts with something new: an entry that was not looked at, or a threshold that was set or changed since.
-- name: watches_behind
SELECT a.id AS account_id, a.name, a.low_balance_microcredits AS threshold_microcredits,
    w.threshold_microcredits AS watched_microcredits, w.seen_seq, w.armed
FROM accounts a LEFT JOIN low_balance_watches w ON w.account_id = a.id
WHERE a.low_balance_microcredits IS NOT NULL AND a.closed_at IS NULL AND a.id > :after_id
    AND (w.account_id IS NULL OR w.threshold_microcredits <> a.low_balance_microcredits
        OR EXISTS (SELECT 1 FROM ledger_entries e WHERE e.account_id = a.id AND e.seq > w.seen_seq))
ORDER BY a.id LIMIT :row_limit;

-- Begins to watch, armed, with the account's last entry still to be looked at: a balance that is low already is told.
-- name: begin_watch
INSERT INTO low_balance_watches (account_id, threshold_microcredits, seen_seq, armed)
SELECT a.id, a.low_balance_microcredits,
    (SELECT CASE WHEN MAX(e.seq) > 0 THEN MAX(e.seq) - 1 ELSE 0 END FROM ledger_entries e WHERE e.account_id = a.id), 1
FROM accounts a WHERE a.id = :account_id AND a.low_balance_microcredits IS NOT NULL
ON CONFLICT (account_id) DO UPDATE SET threshold_microcredits = excluded.threshold_microcredits,
    seen_seq = excluded.seen_seq, armed = 1
WHERE low_balance_watches.threshold_microcredits <> excluded.threshold_microcredits;

-- Watches whose account has no threshold any more; written so that watches are walked, and not all accounts.
-- name: end_watches
DELETE FROM low_balance_watches WHERE NOT EXISTS (SELECT 1 FROM accounts a
    WHERE a.id = low_balance_watches.account_id AND a.low_balance_microcredits IS NOT NULL);

-- name: unwatched
SELECT w.account_id FROM low_balance_watches w WHERE NOT EXISTS (SELECT 1 FROM accounts a
    WHERE a.id = w.account_id AND a.low_balance_microcredits IS NOT NULL) LIMIT 1;

-- name: entries_to_watch
SELECT seq, after_microcredits, at FROM ledger_entries
WHERE account_id = :account_id AND seq > :seen_seq ORDER BY seq LIMIT :row_limit;

-- Both only as long as nobody else got there first: the event comes before the watch moves on, in one commit.
-- name: insert_event_of_watch
INSERT INTO webhook_events (id, account_id, kind, body, created_at)
SELECT CAST(:id AS TEXT), w.account_id, CAST(:kind AS TEXT), CAST(:body AS TEXT), CAST(:created_at AS BIGINT)
FROM low_balance_watches w
WHERE w.account_id = :account_id AND w.seen_seq = :seen_seq AND w.threshold_microcredits = :threshold_microcredits
ON CONFLICT (id) DO NOTHING;

-- name: insert_delivery
INSERT INTO webhook_deliveries (id, event_id, receiver, host, status, due_at, created_at)
SELECT CAST(:id AS TEXT), e.id, CAST(:receiver AS TEXT), CAST(:host AS TEXT), 'pending', CAST(:now AS BIGINT),
    CAST(:now AS BIGINT)
FROM webhook_events e WHERE e.id = :event_id
ON CONFLICT (event_id, receiver) DO NOTHING;

-- name: move_watch
UPDATE low_balance_watches SET seen_seq = :to_seq, armed = :armed
WHERE account_id = :account_id AND seen_seq = :seen_seq AND threshold_microcredits = :threshold_microcredits;

-- name: any_delivery_due
SELECT id FROM webhook_deliveries
WHERE status = 'pending' AND receiver = :receiver AND due_at <= :now AND leased_until <= :now LIMIT 1;

-- name: lease_deliveries
UPDATE webhook_deliveries SET lease = :lease, leased_until = :until, attempts = attempts + 1, attempted_at = :now
WHERE status = 'pending' AND leased_until <= :now AND id IN (
    SELECT id FROM webhook_deliveries
    WHERE status = 'pending' AND receiver = :receiver AND due_at <= :now AND leased_until <= :now
    ORDER BY due_at, id LIMIT :row_limit);

-- name: leased_deliveries
SELECT d.id, d.event_id, d.attempts, e.body FROM webhook_deliveries d JOIN webhook_events e ON e.id = d.event_id
WHERE d.lease = :lease ORDER BY d.due_at, d.id;

-- How an attempt ended; only whoever has the lease may say so.
-- name: end_attempt
UPDATE webhook_deliveries SET status = :status, answered = :answered, problem = :problem, due_at = :due_at,
    delivered_at = :delivered_at, lease = '', leased_until = 0
WHERE id = :id AND lease = :lease;

-- Newest first; `last_...` null on the first page, filters null for all.
-- name: deliveries_page
SELECT d.*, e.account_id, e.kind, e.body FROM webhook_deliveries d JOIN webhook_events e ON e.id = d.event_id
WHERE (CAST(:last_id AS TEXT) IS NULL OR d.created_at < :last_at OR (d.created_at = :last_at AND d.id < :last_id))
    AND (CAST(:status AS TEXT) IS NULL OR d.status = :status)
    AND (CAST(:account_id AS TEXT) IS NULL OR e.account_id = :account_id)
ORDER BY d.created_at DESC, d.id DESC LIMIT :row_limit;

-- name: delivery
SELECT d.*, e.account_id, e.kind, e.body FROM webhook_deliveries d JOIN webhook_events e ON e.id = d.event_id
WHERE d.id = :id;

-- From the first attempt again; one that is on its way is not asked how it ended.
-- name: resend_delivery
UPDATE webhook_deliveries SET status = 'pending', attempts = 0, due_at = :now, lease = '', leased_until = 0,
    delivered_at = NULL
WHERE id = :id;
