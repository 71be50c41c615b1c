-- Grants: credits that burn before bought ones, soonest expiry first.

-- In the commit of its operation, and only where this is the operation that its idempotency key stands for.
-- name: insert_grant
INSERT INTO grants (id, account_id, operation_id, amount_microcredits, remaining_microcredits, priority, expires_at, ends_at,
    created_at, status)
SELECT CAST(:id AS TEXT), CAST(:account_id AS TEXT), CAST(:operation_id AS TEXT), CAST(:amount_microcredits AS BIGINT),
    CAST(:amount_microcredits AS BIGINT), CAST(:priority AS BIGINT), CAST(:expires_at AS BIGINT),
    CAST(:expires_at AS BIGINT), CAST(:created_at AS BIGINT), 'pending'
WHERE EXISTS (SELECT 1 FROM credit_operations o WHERE o.operation_id = :operation_id)
ON CONFLICT (id) DO NOTHING;

-- `expired_microcredits` is what its expiries took.
-- name: grant_by_id
SELECT g.*, o.actor, o.reason, o.idempotency_key,
    CAST(COALESCE((SELECT SUM(-e.amount_microcredits) FROM credit_operations e
        WHERE e.grant_id = g.id AND e.kind = 'expiry' AND e.status = 'applied'), 0) AS BIGINT) AS expired_microcredits
FROM grants g JOIN credit_operations o ON o.operation_id = g.operation_id WHERE g.id = :id;

-- Newest first; `before_created_at` and `before_id` are those of the last row of the page before.
-- name: list_grants
SELECT g.*, o.actor, o.reason, o.idempotency_key,
    CAST(COALESCE((SELECT SUM(-e.amount_microcredits) FROM credit_operations e
        WHERE e.grant_id = g.id AND e.kind = 'expiry' AND e.status = 'applied'), 0) AS BIGINT) AS expired_microcredits
FROM grants g JOIN credit_operations o ON o.operation_id = g.operation_id
WHERE g.account_id = :account_id
    AND (g.created_at < :before_created_at OR (g.created_at = :before_created_at AND g.id < :before_id))
ORDER BY g.created_at DESC, g.id DESC LIMIT :row_limit;

-- name: live_grants
SELECT * FROM grants WHERE account_id = :account_id AND status = 'live';

-- Of all accounts, whose time is over.
-- name: due_grants
SELECT * FROM grants WHERE status = 'live' AND ends_at <= :now_ms
    AND (ends_at > :after_ends_at OR (ends_at = :after_ends_at AND id > :after_id))
ORDER BY ends_at, id LIMIT :row_limit;

-- name: start_grant
UPDATE grants SET status = 'live', remaining_microcredits = :remaining_microcredits
WHERE operation_id = :operation_id AND status <> 'live' AND status <> 'ended';

-- name: refuse_grant
UPDATE grants SET status = 'refused', remaining_microcredits = 0 WHERE operation_id = :operation_id AND status = 'pending';

-- name: note_grant
UPDATE grants SET remaining_microcredits = :remaining_microcredits, status = :status WHERE id = :id AND status = 'live';

-- The first end stands, and nothing is revoked after its own end.
-- name: revoke_grant
UPDATE grants SET ends_at = :now_ms WHERE id = :id AND (ends_at IS NULL OR ends_at > :now_ms)
    AND status IN ('pending', 'live');

-- The expiries of a grant: how many were begun, and the newest of them.
-- name: expiries_of_grant
SELECT COUNT(*) AS begun, CAST(COALESCE(SUM(CASE WHEN status = 'pending' THEN 1 ELSE 0 END), 0) AS BIGINT) AS pending
FROM credit_operations WHERE grant_id = :grant_id AND kind = 'expiry';

-- Whatever has become of them: for the audit and the rebuild, which follow the entries from the first one on. An operation
-- id leads from an entry to its grant.
-- name: grants_of_account
SELECT * FROM grants WHERE account_id = :account_id AND status <> 'refused' ORDER BY id;

-- name: expiries_of_account
SELECT o.operation_id, o.grant_id FROM credit_operations o JOIN grants g ON g.id = o.grant_id
WHERE g.account_id = :account_id AND o.kind = 'expiry';

-- Only the rebuild: as the entries have it.
-- name: restore_grant
UPDATE grants SET remaining_microcredits = :remaining_microcredits, status = :status WHERE id = :id;
