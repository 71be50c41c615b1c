-- Administrators, the log of changes, and requests under an idempotency key.

-- name: insert_administrator
INSERT INTO administrators (id, name, digest, prefix, roles, created_at, expires_at)
VALUES (:id, :name, :digest, :prefix, :roles, :created_at, :expires_at);

-- name: administrator_by_digest
SELECT * FROM administrators WHERE digest = :digest;

-- name: administrator_by_id
SELECT * FROM administrators WHERE id = :id;

-- name: administrator_by_name
SELECT * FROM administrators WHERE name = :name;

-- There are few of them; bounded all the same.
-- name: list_administrators
SELECT * FROM administrators WHERE id > :after_id ORDER BY id LIMIT :row_limit;

-- name: revoke_administrator
UPDATE administrators SET revoked_at = :revoked_at WHERE id = :id AND revoked_at IS NULL;

-- name: insert_audit_log
INSERT INTO audit_log (id, at, actor, action, subject, before_json, after_json)
VALUES (:id, :at, :actor, :action, :subject, :before_json, :after_json);

-- The row of a change to an account, or to one of its keys, that was decided on `version`. Where somebody else changed the
-- account in between, the NOT NULL constraint refuses the row, and with it the whole transaction.
-- name: insert_audit_log_at_version
INSERT INTO audit_log (id, at, actor, action, subject, before_json, after_json)
VALUES (:id, :at, CASE WHEN EXISTS (SELECT 1 FROM accounts WHERE id = :account_id AND version = :version)
    THEN CAST(:actor AS TEXT) END, :action, :subject, :before_json, :after_json);

-- The row of a new key; refused likewise where the key was not made.
-- name: insert_audit_log_of_new_key
INSERT INTO audit_log (id, at, actor, action, subject, before_json, after_json)
VALUES (:id, :at, CASE WHEN EXISTS (SELECT 1 FROM api_keys WHERE id = :subject AND digest = :digest)
    THEN CAST(:actor AS TEXT) END, :action, :subject, :before_json, :after_json);

-- The row of a credit operation, where it is this very one that was asked for now and not a repeat of it.
-- name: insert_audit_log_of_operation
INSERT INTO audit_log (id, at, actor, action, subject, before_json, after_json)
SELECT CAST(:id AS TEXT), CAST(:at AS BIGINT), CAST(:actor AS TEXT), CAST(:action AS TEXT), CAST(:subject AS TEXT),
    CAST(:before_json AS TEXT), CAST(:after_json AS TEXT)
WHERE EXISTS (SELECT 1 FROM credit_operations WHERE operation_id = :operation_id);

-- The row of a credit operation's refusal; it comes before the refusal itself in their transaction.
-- name: insert_audit_log_of_refusal
INSERT INTO audit_log (id, at, actor, action, subject, before_json, after_json)
SELECT CAST(:id AS TEXT), CAST(:at AS BIGINT), CAST(:actor AS TEXT), CAST(:action AS TEXT), CAST(:subject AS TEXT),
    CAST(:before_json AS TEXT), CAST(:after_json AS TEXT)
WHERE EXISTS (SELECT 1 FROM credit_operations WHERE operation_id = :operation_id AND status = 'pending');

-- Newest first. A filter that is null lets all pass.
-- name: audit_log_page
SELECT * FROM audit_log
WHERE id < :before_id AND at >= :from_at AND at < :to_at
    AND (CAST(:actor AS TEXT) IS NULL OR actor = :actor)
    AND (CAST(:action AS TEXT) IS NULL OR action = :action)
    AND (CAST(:subject AS TEXT) IS NULL OR subject = :subject)
ORDER BY id DESC LIMIT :row_limit;

-- name: insert_admin_request
INSERT INTO admin_requests (actor, idempotency_key, digest, resource_id, created_at)
VALUES (:actor, :idempotency_key, :digest, :resource_id, :created_at)
ON CONFLICT (actor, idempotency_key) DO NOTHING;

-- name: admin_request
SELECT * FROM admin_requests WHERE actor = :actor AND idempotency_key = :idempotency_key;

-- The first answer stands.
-- name: answer_admin_request
UPDATE admin_requests SET status = :status, answer = :answer
WHERE actor = :actor AND idempotency_key = :idempotency_key AND answer IS NULL;
