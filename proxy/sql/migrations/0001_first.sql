-- Money in integer microcredits (cost in nano-USD), instants in Unix milliseconds, JSON as text.
-- Only what SQLite and PostgreSQL both understand.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- `version` grows with every change that workers must hear of (status, limits, markup, a key's end); the ledger holds the
-- same number, and a hold that was asked for with another one is refused.
CREATE TABLE accounts (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL CHECK (status IN ('active', 'suspended')),
    version BIGINT NOT NULL CHECK (version > 0),
    limits TEXT NOT NULL DEFAULT '{}',
    markup_ppm BIGINT CHECK (markup_ppm > 0),
    created_at BIGINT NOT NULL
);

-- `digest` is the HMAC-SHA256 of the key; the key itself is nowhere. `models` null: every model.
CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    digest TEXT NOT NULL UNIQUE,
    prefix TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('user', 'manager')),
    name TEXT NOT NULL DEFAULT '',
    status TEXT NOT NULL CHECK (status IN ('active', 'revoked')),
    limits TEXT NOT NULL DEFAULT '{}',
    models TEXT,
    scopes TEXT NOT NULL DEFAULT '[]',
    expires_at BIGINT,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX api_keys_by_account ON api_keys (account_id, created_at);

-- One row an idempotency key: `pending` until the ledger has answered, then the answer, for ever.
CREATE TABLE topups (
    account_id TEXT NOT NULL REFERENCES accounts (id),
    idempotency_key TEXT NOT NULL,
    digest TEXT NOT NULL,
    operation_id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    amount_microcredits BIGINT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'applied')),
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    seq BIGINT,
    before_microcredits BIGINT,
    after_microcredits BIGINT,
    at BIGINT,
    PRIMARY KEY (account_id, idempotency_key)
);

CREATE TABLE ledger_entries (
    account_id TEXT NOT NULL,
    seq BIGINT NOT NULL CHECK (seq > 0),
    kind TEXT NOT NULL,
    amount_microcredits BIGINT NOT NULL,
    before_microcredits BIGINT NOT NULL,
    after_microcredits BIGINT NOT NULL,
    at BIGINT NOT NULL,
    call_id TEXT,
    operation_id TEXT,
    actor TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    idempotency_key TEXT,
    PRIMARY KEY (account_id, seq)
);
CREATE INDEX ledger_entries_by_time ON ledger_entries (account_id, at);
CREATE INDEX ledger_entries_by_call ON ledger_entries (call_id);
CREATE UNIQUE INDEX ledger_entries_by_operation ON ledger_entries (operation_id);

-- `revision` 0 is the end of the call, 1 its correction by a result that came after expiry; 1 overrides 0, never back.
CREATE TABLE usage_records (
    call_id TEXT PRIMARY KEY,
    revision BIGINT NOT NULL,
    at BIGINT NOT NULL,
    account_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    dialect TEXT NOT NULL,
    path TEXT NOT NULL,
    status BIGINT,
    outcome TEXT NOT NULL,
    stream BIGINT NOT NULL,
    usage TEXT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cost_nano_usd BIGINT NOT NULL,
    charge_microcredits BIGINT NOT NULL,
    hold_microcredits BIGINT NOT NULL,
    price_version TEXT NOT NULL,
    settlement_basis TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    duration_ms BIGINT,
    time_to_first_byte_ms BIGINT,
    trace_id TEXT NOT NULL,
    tags TEXT NOT NULL
);
CREATE INDEX usage_records_by_time ON usage_records (account_id, at);
