-- Credits given to an account under an idempotency key: pending, then applied with the ledger's answer.

-- name: insert_topup
INSERT INTO topups (account_id, idempotency_key, digest, operation_id, kind, amount_microcredits, status, actor, reason,
    created_at)
VALUES (:account_id, :idempotency_key, :digest, :operation_id, :kind, :amount_microcredits, 'pending', :actor, :reason,
    :created_at)
ON CONFLICT (account_id, idempotency_key) DO NOTHING;

-- name: topup
SELECT * FROM topups WHERE account_id = :account_id AND idempotency_key = :idempotency_key;

-- The first answer stands: an applied row is never changed again.
-- name: apply_topup
UPDATE topups SET status = 'applied', seq = :seq, before_microcredits = :before_microcredits,
    after_microcredits = :after_microcredits, at = :at
WHERE account_id = :account_id AND idempotency_key = :idempotency_key AND status = 'pending';
