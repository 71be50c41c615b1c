-- What the query surfaces need: accounts as other systems know them, answers that are repeated, calls by service.

-- An account as the system that made it over a surface knows it: by an id of its own, with a name that need not be unique.
-- `metadata` is a JSON object. The row comes before the account's, and says which id that account is to have.
CREATE TABLE external_accounts (
    account_id TEXT PRIMARY KEY,
    external_id TEXT UNIQUE,
    name TEXT NOT NULL,
    email TEXT,
    metadata TEXT NOT NULL DEFAULT '{}',
    created_at BIGINT NOT NULL
);

-- One row an idempotency key of a surface, by who sent it: `digest` is that of the request, `answer` what it was answered, null
-- until then. `operation_id` is what the stores below know the operation by, so that repeating it changes nothing.
CREATE TABLE surface_requests (
    owner TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    digest TEXT NOT NULL,
    operation_id TEXT NOT NULL UNIQUE,
    status BIGINT,
    answer TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (owner, idempotency_key)
);

-- What a caller said of a credit operation beside its amount, a JSON object: shown again with its ledger entry, which has the
-- same key. Written before the operation is asked for.
CREATE TABLE surface_notes (
    idempotency_key TEXT PRIMARY KEY,
    metadata TEXT NOT NULL
);

-- In place of indexes on (account_id, at), as many as before: their order is that of lists, and counts and sums over an account's
-- or a key's calls read the index alone. An entry is 40 to 80 bytes longer.
DROP INDEX ledger_entries_by_time;
CREATE INDEX ledger_entries_by_time ON ledger_entries (account_id, at, seq, call_id);
DROP INDEX usage_records_by_time;
CREATE INDEX usage_records_by_time ON usage_records (account_id, at, call_id, key_id, charge_microcredits);
-- For administrators, who see the calls of all accounts. Written at its end alone, as time goes on.
CREATE INDEX usage_records_by_instant ON usage_records (at, call_id);
-- Entries of all accounts by time, for the same.
CREATE INDEX ledger_entries_by_instant ON ledger_entries (at, account_id, seq);

-- What of `usage` was read from a cache, so that it can be summed; null in records that are older than this column.
ALTER TABLE usage_records ADD COLUMN cached_tokens BIGINT;

-- Calls with the service that they belong to, by the path that they came to; the commonest paths first, as each pattern takes time.
CREATE VIEW served_calls AS
SELECT u.*,
    CASE
        WHEN u.path IN ('/v1/chat/completions', '/v1/responses', '/v1/messages', '/v1/completions') THEN 'chat'
        WHEN u.path = '/v1/embeddings' THEN 'embeddings'
        WHEN LOWER(u.path) LIKE '%embed%' THEN 'embeddings'
        WHEN LOWER(u.path) LIKE '%/images/%' THEN 'images'
        WHEN LOWER(u.path) LIKE '%/audio/%' THEN 'audio'
        WHEN LOWER(u.path) LIKE '%moderation%' THEN 'moderations'
        WHEN LOWER(u.path) LIKE '%rerank%' THEN 'rerank'
        WHEN LOWER(u.path) LIKE '%/completions' OR LOWER(u.path) LIKE '%/responses%' OR LOWER(u.path) LIKE '%/messages%'
            OR LOWER(u.path) LIKE '%content' OR LOWER(u.path) LIKE '%/converse%' OR LOWER(u.path) LIKE '%/invoke%'
            OR LOWER(u.path) LIKE '%/chat' OR LOWER(u.path) LIKE '%rawpredict' OR LOWER(u.path) LIKE '%tokens' THEN 'chat'
        WHEN LOWER(u.path) LIKE '%predict' THEN 'images'
        ELSE 'other'
    END AS service
FROM usage_records u;
