-- Accounts and API keys. A change that workers must hear of raises accounts.version in the same commit.

-- name: insert_account
INSERT INTO accounts (id, name, status, version, limits, markup_ppm, created_at)
VALUES (:id, :name, 'active', 1, :limits, :markup_ppm, :created_at)
ON CONFLICT (name) DO NOTHING;

-- name: account_by_id
SELECT * FROM accounts WHERE id = :id;

-- name: account_by_name
SELECT * FROM accounts WHERE name = :name;

-- Newest first; `before_created_at` and `before_id` are those of the last row of the page before.
-- name: list_accounts
SELECT * FROM accounts
WHERE created_at < :before_created_at OR (created_at = :before_created_at AND id < :before_id)
ORDER BY created_at DESC, id DESC LIMIT :row_limit;

-- Oldest id first, for walks over every account.
-- name: accounts_after
SELECT * FROM accounts WHERE id > :after_id ORDER BY id LIMIT :row_limit;

-- name: set_account_status
UPDATE accounts SET status = :status, version = version + 1 WHERE id = :id AND status <> :status;

-- name: set_account_limits
UPDATE accounts SET limits = :limits, version = version + 1 WHERE id = :id;

-- name: set_account_markup
UPDATE accounts SET markup_ppm = :markup_ppm, version = version + 1 WHERE id = :id;

-- name: raise_account_version
UPDATE accounts SET version = version + 1 WHERE id = :id;

-- The account's version grows only where the key is still active, so that repeating a revocation changes nothing.
-- name: raise_version_for_active_key
UPDATE accounts SET version = version + 1
WHERE id = (SELECT account_id FROM api_keys WHERE id = :key_id AND status = 'active');

-- name: insert_key
INSERT INTO api_keys (id, account_id, digest, prefix, kind, name, status, limits, models, scopes, expires_at, created_at)
VALUES (:id, :account_id, :digest, :prefix, :kind, :name, 'active', :limits, :models, :scopes, :expires_at, :created_at);

-- Refused (no row) where the account has `most` keys of the kind that are active and not yet expired.
-- name: insert_key_within
INSERT INTO api_keys (id, account_id, digest, prefix, kind, name, status, limits, models, scopes, expires_at, created_at)
SELECT CAST(:id AS TEXT), CAST(:account_id AS TEXT), CAST(:digest AS TEXT), CAST(:prefix AS TEXT), CAST(:kind AS TEXT),
    CAST(:name AS TEXT), 'active', CAST(:limits AS TEXT), CAST(:models AS TEXT), CAST(:scopes AS TEXT),
    CAST(:expires_at AS BIGINT), CAST(:created_at AS BIGINT)
WHERE (SELECT COUNT(*) FROM api_keys WHERE account_id = :account_id AND kind = :kind AND status = 'active'
    AND (expires_at IS NULL OR expires_at > :created_at)) < CAST(:most AS BIGINT);

-- name: key_by_id
SELECT * FROM api_keys WHERE id = :id;

-- Bounded: an account's keys, newest first.
-- name: list_keys
SELECT * FROM api_keys WHERE account_id = :account_id ORDER BY created_at DESC, id DESC LIMIT :row_limit;

-- name: revoke_key
UPDATE api_keys SET status = 'revoked', revoked_at = :revoked_at WHERE id = :key_id AND status = 'active';

-- name: set_key_limits
UPDATE api_keys SET limits = :limits WHERE id = :id;

-- Everything that a call needs to know of its key, in one row.
-- name: key_by_digest
SELECT k.id AS key_id, k.kind, k.status AS key_status, k.limits AS key_limits, k.models, k.scopes, k.expires_at,
    a.id AS account_id, a.name AS account_name, a.status AS account_status, a.version, a.limits AS account_limits,
    a.markup_ppm
FROM api_keys k JOIN accounts a ON a.id = k.account_id WHERE k.digest = :digest;
