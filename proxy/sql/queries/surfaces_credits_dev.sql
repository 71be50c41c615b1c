-- credits.dev's surface: accounts as others know them, kept answers, usage and entries by time.

-- name: insert_surface_request
INSERT INTO surface_requests (owner, idempotency_key, digest, operation_id, created_at)
VALUES (:owner, :idempotency_key, :digest, :operation_id, :created_at)
ON CONFLICT (owner, idempotency_key) DO NOTHING;

-- name: surface_request
SELECT * FROM surface_requests WHERE owner = :owner AND idempotency_key = :idempotency_key;

-- The first answer stands.
-- name: keep_surface_answer
UPDATE surface_requests SET status = :status, answer = :answer
WHERE owner = :owner AND idempotency_key = :idempotency_key AND answer IS NULL;

-- name: keep_surface_note
INSERT INTO surface_notes (idempotency_key, metadata) VALUES (:idempotency_key, :metadata)
ON CONFLICT (idempotency_key) DO NOTHING;

-- name: insert_external_account
INSERT INTO external_accounts (account_id, external_id, name, email, metadata, created_at)
VALUES (:account_id, :external_id, :name, :email, :metadata, :created_at)
ON CONFLICT DO NOTHING;

-- name: set_external_account
UPDATE external_accounts SET external_id = :external_id, name = :name, email = :email, metadata = :metadata,
    created_at = :created_at
WHERE account_id = :account_id;

-- name: external_claim
SELECT account_id FROM external_accounts WHERE external_id = :external_id;

-- Accounts that were not made over a surface are there too, by their own name.
-- name: external_account
SELECT a.id, a.created_at, x.external_id, x.email, COALESCE(x.metadata, '{}') AS metadata, COALESCE(x.name, a.name) AS name
FROM accounts a LEFT JOIN external_accounts x ON x.account_id = a.id WHERE a.id = :id;

-- name: external_account_by_external_id
SELECT a.id, a.created_at, x.external_id, x.email, x.metadata, x.name
FROM external_accounts x JOIN accounts a ON a.id = x.account_id WHERE x.external_id = :external_id;

-- name: external_accounts_page
SELECT a.id, a.created_at, x.external_id, x.email, COALESCE(x.metadata, '{}') AS metadata, COALESCE(x.name, a.name) AS name
FROM accounts a LEFT JOIN external_accounts x ON x.account_id = a.id
ORDER BY a.created_at DESC, a.id DESC LIMIT :row_limit OFFSET :row_offset;

-- name: transactions_count
SELECT COUNT(*) AS items FROM ledger_entries WHERE account_id = :account_id AND at >= :from_at AND at <= :to_at;

-- name: transactions_page
SELECT e.account_id, e.seq, e.kind, e.amount_microcredits, e.after_microcredits, e.at, e.call_id, e.reason, n.metadata AS note
FROM ledger_entries e LEFT JOIN surface_notes n ON n.idempotency_key = e.idempotency_key
WHERE e.account_id = :account_id AND e.at >= :from_at AND e.at <= :to_at
ORDER BY e.at DESC, e.seq DESC LIMIT :row_limit OFFSET :row_offset;

-- name: all_transactions_count
SELECT COUNT(*) AS items FROM ledger_entries WHERE at >= :from_at AND at <= :to_at;

-- name: all_transactions_page
SELECT e.account_id, e.seq, e.kind, e.amount_microcredits, e.after_microcredits, e.at, e.call_id, e.reason, n.metadata AS note
FROM ledger_entries e LEFT JOIN surface_notes n ON n.idempotency_key = e.idempotency_key
WHERE e.at >= :from_at AND e.at <= :to_at
ORDER BY e.at DESC, e.account_id DESC, e.seq DESC LIMIT :row_limit OFFSET :row_offset;

-- An empty text stands for any model.
-- name: account_usage_page
SELECT call_id, at, account_id, model, input_tokens, output_tokens, cost_nano_usd FROM usage_records
WHERE account_id = :account_id AND at >= :from_at AND at <= :to_at AND (CAST(:model AS TEXT) = '' OR model = :model)
ORDER BY at DESC, call_id DESC LIMIT :row_limit OFFSET :row_offset;

-- `except_account`: whose calls are left out.
-- name: all_usage_page
SELECT call_id, at, account_id, model, input_tokens, output_tokens, cost_nano_usd FROM usage_records
WHERE at >= :from_at AND at <= :to_at AND (CAST(:model AS TEXT) = '' OR model = :model) AND account_id <> :except_account
ORDER BY at DESC, call_id DESC LIMIT :row_limit OFFSET :row_offset;
