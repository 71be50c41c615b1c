-- Accounts and API keys. A change that workers must hear of raises accounts.version in the same commit.

-- An id or a name that is taken is refused by its constraint.
-- name: insert_account
INSERT INTO accounts (id, name, status, version, limits, markup_ppm, metadata, created_at)
VALUES (:id, :name, 'active', 1, :limits, :markup_ppm, :metadata, :created_at);

-- name: account_by_id
SELECT * FROM accounts WHERE id = :id;

-- name: account_by_name
SELECT * FROM accounts WHERE name = :name;

-- Newest first; `before_created_at` and `before_id` are those of the last row of the page before.
-- name: list_accounts
SELECT * FROM accounts
WHERE created_at < :before_created_at OR (created_at = :before_created_at AND id < :before_id)
ORDER BY created_at DESC, id DESC LIMIT :row_limit;

-- The searches: `last_...` are those of the last row of the page before, null on the first page; `status`, `pattern` (of the
-- name) and `id_pattern` null let all pass. Patterns escape with an exclamation mark.
-- name: search_accounts_newest
SELECT * FROM accounts
WHERE (CAST(:last_id AS TEXT) IS NULL OR created_at < :last_at OR (created_at = :last_at AND id < :last_id))
    AND (CAST(:status AS TEXT) IS NULL OR CASE WHEN closed_at IS NULL THEN status ELSE 'closed' END = :status)
    AND (CAST(:pattern AS TEXT) IS NULL OR LOWER(name) LIKE LOWER(:pattern) ESCAPE '!' OR id LIKE :id_pattern ESCAPE '!')
ORDER BY created_at DESC, id DESC LIMIT :row_limit;

-- name: search_accounts_oldest
SELECT * FROM accounts
WHERE (CAST(:last_id AS TEXT) IS NULL OR created_at > :last_at OR (created_at = :last_at AND id > :last_id))
    AND (CAST(:status AS TEXT) IS NULL OR CASE WHEN closed_at IS NULL THEN status ELSE 'closed' END = :status)
    AND (CAST(:pattern AS TEXT) IS NULL OR LOWER(name) LIKE LOWER(:pattern) ESCAPE '!' OR id LIKE :id_pattern ESCAPE '!')
ORDER BY created_at, id LIMIT :row_limit;

-- name: search_accounts_by_name
SELECT * FROM accounts
WHERE (CAST(:last_name AS TEXT) IS NULL OR name > :last_name)
    AND (CAST(:status AS TEXT) IS NULL OR CASE WHEN closed_at IS NULL THEN status ELSE 'closed' END = :status)
    AND (CAST(:pattern AS TEXT) IS NULL OR LOWER(name) LIKE LOWER(:pattern) ESCAPE '!' OR id LIKE :id_pattern ESCAPE '!')
ORDER BY name LIMIT :row_limit;

-- name: search_accounts_by_name_down
SELECT * FROM accounts
WHERE (CAST(:last_name AS TEXT) IS NULL OR name < :last_name)
    AND (CAST(:status AS TEXT) IS NULL OR CASE WHEN closed_at IS NULL THEN status ELSE 'closed' END = :status)
    AND (CAST(:pattern AS TEXT) IS NULL OR LOWER(name) LIKE LOWER(:pattern) ESCAPE '!' OR id LIKE :id_pattern ESCAPE '!')
ORDER BY name DESC LIMIT :row_limit;

-- Oldest id first, for walks over every account.
-- name: accounts_after
SELECT * FROM accounts WHERE id > :after_id ORDER BY id LIMIT :row_limit;

-- name: raise_account_version
UPDATE accounts SET version = version + 1 WHERE id = :id;

-- name: set_account_status
UPDATE accounts SET status = :status WHERE id = :id;

-- name: close_account
UPDATE accounts SET status = 'suspended', closed_at = :closed_at WHERE id = :id;

-- name: update_account
UPDATE accounts SET name = :name, limits = :limits, markup_ppm = :markup_ppm, metadata = :metadata,
    low_balance_microcredits = :low_balance_microcredits
WHERE id = :id;

-- Refused (no row) where the account has `most` keys of the kind that are active and not yet expired.
-- name: insert_key_within
INSERT INTO api_keys (id, account_id, digest, prefix, kind, name, status, limits, models, scopes, expires_at, created_at,
    paths, networks)
SELECT CAST(:id AS TEXT), CAST(:account_id AS TEXT), CAST(:digest AS TEXT), CAST(:prefix AS TEXT), CAST(:kind AS TEXT),
    CAST(:name AS TEXT), 'active', CAST(:limits AS TEXT), CAST(:models AS TEXT), CAST(:scopes AS TEXT),
    CAST(:expires_at AS BIGINT), CAST(:created_at AS BIGINT), CAST(:paths AS TEXT), CAST(:networks AS TEXT)
WHERE (SELECT COUNT(*) FROM api_keys WHERE account_id = :account_id AND kind = :kind AND status = 'active'
    AND (expires_at IS NULL OR expires_at > :created_at)) < CAST(:most AS BIGINT);

-- name: key_by_id
SELECT * FROM api_keys WHERE id = :id;

-- Bounded: an account's keys, newest first.
-- name: list_keys
SELECT * FROM api_keys WHERE account_id = :account_id ORDER BY created_at DESC, id DESC LIMIT :row_limit;

-- An account's keys, newest first; `last_...` null on the first page, `status` null for all.
-- name: keys_page
SELECT * FROM api_keys
WHERE account_id = :account_id
    AND (CAST(:last_id AS TEXT) IS NULL OR created_at < :last_at OR (created_at = :last_at AND id < :last_id))
    AND (CAST(:status AS TEXT) IS NULL OR status = :status)
ORDER BY created_at DESC, id DESC LIMIT :row_limit;

-- name: revoke_key
UPDATE api_keys SET status = 'revoked', revoked_at = :revoked_at WHERE id = :key_id AND status = 'active';

-- name: revoke_keys_of_account
UPDATE api_keys SET status = 'revoked', revoked_at = :revoked_at WHERE account_id = :account_id AND status = 'active';

-- name: update_key
UPDATE api_keys SET name = :name, limits = :limits, models = :models, scopes = :scopes, expires_at = :expires_at,
    paths = :paths, networks = :networks
WHERE id = :id;

-- Everything that a call needs to know of its key, in one row.
-- name: key_by_digest
SELECT k.id AS key_id, k.kind, k.status AS key_status, k.limits AS key_limits, k.models, k.scopes, k.expires_at,
    k.paths, k.networks,
    a.id AS account_id, a.name AS account_name, a.status AS account_status, a.version, a.limits AS account_limits,
    a.markup_ppm
FROM api_keys k JOIN accounts a ON a.id = k.account_id WHERE k.digest = :digest;
