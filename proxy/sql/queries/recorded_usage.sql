-- Usage that applications reported of calls that did not go through the proxy.

-- The account that carries usage without an owner; its name cannot be anybody else's.
-- name: insert_system_account
INSERT INTO accounts (id, name, status, version, limits, markup_ppm, created_at)
VALUES (:id, :id, 'active', 1, '{}', NULL, :created_at)
ON CONFLICT (id) DO NOTHING;

-- name: insert_recorded_usage
INSERT INTO recorded_usage (account_id, reference, digest, call_id, status, record, created_at)
VALUES (:account_id, :reference, :digest, :call_id, 'pending', :record, :created_at)
ON CONFLICT (account_id, reference) DO NOTHING;

-- name: recorded_usage
SELECT * FROM recorded_usage WHERE account_id = :account_id AND reference = :reference;

-- name: apply_recorded_usage
UPDATE recorded_usage SET status = 'applied' WHERE call_id = :call_id;

-- What was refused leaves nothing behind, so that it may be reported again.
-- name: drop_recorded_usage
DELETE FROM recorded_usage WHERE call_id = :call_id AND status = 'pending';

-- Oldest first; a page begins behind the last row of the one before.
-- name: pending_recorded_usage
SELECT * FROM recorded_usage
WHERE status = 'pending' AND created_at <= :created_by
    AND (created_at > :after_created_at OR (created_at = :after_created_at AND call_id > :after_call_id))
ORDER BY created_at, call_id LIMIT :row_limit;

-- Only the rebuild: what was answered but never recorded is charged again, from its own row. Older ones were recorded long ago.
-- name: reopen_recorded_usage
UPDATE recorded_usage SET status = 'pending'
WHERE status = 'applied' AND created_at >= :since
    AND NOT EXISTS (SELECT 1 FROM usage_records u WHERE u.call_id = recorded_usage.call_id);
