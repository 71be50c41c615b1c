-- Credit operations under their idempotency keys: pending, then applied with the ledger's answer, refused or void.

-- name: insert_operation
INSERT INTO credit_operations (account_id, idempotency_key, digest, operation_id, kind, amount_microcredits, status, actor,
    reason, created_at, call_id, grant_id)
VALUES (:account_id, :idempotency_key, :digest, :operation_id, :kind, :amount_microcredits, 'pending', :actor,
    :reason, :created_at, :call_id, :grant_id)
ON CONFLICT (account_id, idempotency_key) DO NOTHING;

-- name: operation_by_key
SELECT * FROM credit_operations WHERE account_id = :account_id AND idempotency_key = :idempotency_key;

-- The first answer stands: an applied row is never changed again. What the ledger applied counts more than a refusal that
-- another attempt was given before.
-- name: apply_operation
UPDATE credit_operations SET status = 'applied', refusal = NULL, amount_microcredits = :amount_microcredits, seq = :seq,
    before_microcredits = :before_microcredits, after_microcredits = :after_microcredits, at = :at
WHERE operation_id = :operation_id AND status <> 'applied';

-- name: refuse_operation
UPDATE credit_operations SET status = 'refused', refusal = :refusal
WHERE operation_id = :operation_id AND status = 'pending';

-- name: void_operation
UPDATE credit_operations SET status = 'void' WHERE operation_id = :operation_id AND status = 'pending';

-- Oldest first; a page begins behind the last row of the one before.
-- name: pending_operations
SELECT * FROM credit_operations
WHERE status = 'pending' AND created_at <= :created_by
    AND (created_at > :after_created_at OR (created_at = :after_created_at AND operation_id > :after_operation_id))
ORDER BY created_at, operation_id LIMIT :row_limit;

-- Operations that were answered but whose entry never reached SQL: Redis lost it before it was recorded. A refund counts only
-- where its call was not lost as well; an expiry is not entered again, for what it took is there again.
-- name: operations_without_entry
SELECT o.* FROM credit_operations o
WHERE o.account_id = :account_id AND o.status = 'applied'
    AND NOT EXISTS (SELECT 1 FROM ledger_entries e WHERE e.operation_id = o.operation_id)
ORDER BY o.seq;

-- Only the rebuild may change an answer: the entry got another place in the ledger than the one that was lost.
-- name: renumber_operation
UPDATE credit_operations SET seq = :seq, before_microcredits = :before_microcredits,
    after_microcredits = :after_microcredits
WHERE operation_id = :operation_id;

-- Only the rebuild takes an answer back: of what happened to a call or grant that is as it was before.
-- name: undo_operation
UPDATE credit_operations SET status = 'void' WHERE operation_id = :operation_id AND status = 'applied';
