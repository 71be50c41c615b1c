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

-- Newest first; `before_created_at` and `before_id` are those of the last row of the page before. The status is as of `now_ms`.
-- name: list_codes
SELECT * FROM redemption_codes
WHERE created_at <= :before_created_at AND (created_at < :before_created_at OR id < :before_id)
    AND (CAST(:batch_id AS TEXT) IS NULL OR batch_id = :batch_id)
    AND (CAST(:status AS TEXT) IS NULL OR :status = CASE
        WHEN account_id IS NOT NULL THEN 'redeemed'
        WHEN revoked_at IS NOT NULL THEN 'revoked'
        WHEN expires_at <= :now_ms THEN 'expired'
        ELSE 'active' END)
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

-- The row of the log of changes, in the commit of the change and before it: only for a code that is still to be had.
-- name: log_code_revoked
INSERT INTO audit_log (id, at, actor, action, subject, before_json, after_json)
SELECT CAST(:id AS TEXT), CAST(:at AS BIGINT), CAST(:actor AS TEXT), CAST(:action AS TEXT), c.id,
    CAST(:before_json AS TEXT), CAST(:after_json AS TEXT)
FROM redemption_codes c WHERE c.id = :subject AND c.account_id IS NULL AND c.revoked_at IS NULL;
