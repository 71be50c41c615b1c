-- Reservations: holds that applications asked for.

-- name: insert_reservation
INSERT INTO reservations (id, account_id, call_id, idempotency_key, digest, amount_microcredits, status, key_id, operation,
    model, metadata, created_at, expires_at)
VALUES (:id, :account_id, :call_id, :idempotency_key, :digest, :amount_microcredits, 'pending', :key_id, :operation,
    :model, :metadata, :created_at, :expires_at)
ON CONFLICT (account_id, idempotency_key) DO NOTHING;

-- name: reservation_by_key
SELECT * FROM reservations WHERE account_id = :account_id AND idempotency_key = :idempotency_key;

-- name: reservation_by_id
SELECT * FROM reservations WHERE id = :id;

-- name: open_reservation
UPDATE reservations SET status = 'open', expires_at = :expires_at WHERE id = :id AND status = 'pending';

-- A reservation that was refused leaves nothing behind, so that its key may be used again.
-- name: drop_reservation
DELETE FROM reservations WHERE id = :id AND status = 'pending';

-- The first end stands.
-- name: end_reservation
UPDATE reservations SET status = :status, actual_microcredits = :actual_microcredits
WHERE id = :id AND status IN ('pending', 'open');

-- Newest first; `before_created_at` and `before_id` are those of the last row of the page before.
-- name: list_reservations
SELECT * FROM reservations
WHERE account_id = :account_id AND status <> 'pending'
    AND (created_at < :before_created_at OR (created_at = :before_created_at AND id < :before_id))
ORDER BY created_at DESC, id DESC LIMIT :row_limit;

-- name: list_open_reservations
SELECT * FROM reservations
WHERE account_id = :account_id AND status = 'open'
    AND (created_at < :before_created_at OR (created_at = :before_created_at AND id < :before_id))
ORDER BY created_at DESC, id DESC LIMIT :row_limit;

-- Whose time is over and whose end is not known here, oldest first.
-- name: unended_reservations
SELECT * FROM reservations WHERE status IN ('pending', 'open') AND expires_at <= :ended_by
    AND (expires_at > :after_expires_at OR (expires_at = :after_expires_at AND id > :after_id))
ORDER BY expires_at, id LIMIT :row_limit;
