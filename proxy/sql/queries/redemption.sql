-- Redemption codes: credits that an account gives itself with a code, once.

-- name: insert_code
INSERT INTO redemption_codes (id, batch_id, digest, prefix, kind, amount_microcredits, priority, expires_at,
    grant_expires_at, actor, reason, created_at)
VALUES (:id, :batch_id, :digest, :prefix, :kind, :amount_microcredits, :priority, :expires_at,
    :grant_expires_at, :actor, :reason, :created_at);

-- name: code_by_digest
SELECT * FROM redemption_codes WHERE digest = :digest;

-- name: code_by_id
SELECT * FROM redemption_codes WHERE id = :id;

-- Newest first; `before_created_at` and `before_id` are those of the last row of the page before.
-- name: list_codes
SELECT * FROM redemption_codes
WHERE created_at < :before_created_at OR (created_at = :before_created_at AND id < :before_id)
ORDER BY created_at DESC, id DESC LIMIT :row_limit;

-- The first account to say it has it, for ever.
-- name: claim_code
UPDATE redemption_codes SET account_id = :account_id, redeemed_at = :now_ms
WHERE id = :id AND account_id IS NULL AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now_ms);

-- In the commit of the claim, and only for who has the code.
-- name: insert_operation_of_code
INSERT INTO credit_operations (account_id, idempotency_key, digest, operation_id, kind, amount_microcredits, status, actor,
    reason, created_at, call_id, grant_id)
SELECT CAST(:account_id AS TEXT), CAST(:idempotency_key AS TEXT), CAST(:digest AS TEXT), CAST(:operation_id AS TEXT),
    c.kind, c.amount_microcredits, 'pending', CAST(:actor AS TEXT), CAST(:reason AS TEXT), CAST(:created_at AS BIGINT),
    NULL, CAST(:grant_id AS TEXT)
FROM redemption_codes c WHERE c.id = :code_id AND c.account_id = :account_id
ON CONFLICT (account_id, idempotency_key) DO NOTHING;

-- name: revoke_code
UPDATE redemption_codes SET revoked_at = :now_ms WHERE id = :id AND account_id IS NULL AND revoked_at IS NULL;
