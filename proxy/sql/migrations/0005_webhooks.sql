-- Webhooks: what an account's administrators want to hear of, how far that was looked for, what is to be told and to whom.

-- A balance that falls to it, or below, is told once, until it was above it again. Null: nothing is told.
ALTER TABLE accounts ADD COLUMN low_balance_microcredits BIGINT CHECK (low_balance_microcredits >= 0);
CREATE INDEX accounts_watched ON accounts (id) WHERE low_balance_microcredits IS NOT NULL;

-- One row a watched account: entries up to `seen_seq` were looked at, for this threshold. `armed` 1: the last was above it.
CREATE TABLE low_balance_watches (
    account_id TEXT PRIMARY KEY REFERENCES accounts (id),
    threshold_microcredits BIGINT NOT NULL,
    seen_seq BIGINT NOT NULL,
    armed BIGINT NOT NULL
);

-- `id` follows from what happened, so that it is told once whoever finds it. `body` is what is sent, to the byte.
CREATE TABLE webhook_events (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- An event for one receiver, which is known by a digest of its URL (a URL may hold a secret) and its host. `lease` is who sends it now,
-- until `leased_until`; `attempts` counts those begun, `answered` is the last answer's HTTP status, `problem` what was wrong with it.
CREATE TABLE webhook_deliveries (
    id TEXT PRIMARY KEY,
    event_id TEXT NOT NULL REFERENCES webhook_events (id),
    receiver TEXT NOT NULL,
    host TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'delivered', 'failed')),
    attempts BIGINT NOT NULL DEFAULT 0,
    due_at BIGINT NOT NULL,
    lease TEXT NOT NULL DEFAULT '',
    leased_until BIGINT NOT NULL DEFAULT 0,
    answered BIGINT,
    problem TEXT,
    attempted_at BIGINT,
    delivered_at BIGINT,
    created_at BIGINT NOT NULL,
    UNIQUE (event_id, receiver)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (receiver, due_at) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_by_time ON webhook_deliveries (created_at, id);
