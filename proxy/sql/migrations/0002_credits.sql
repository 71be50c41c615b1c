-- Every credit operation (top-up, grant, refund, adjustment, expiry) in one table under its idempotency key: `pending` before
-- the ledger is asked, then `applied` with the answer, `refused` with the error, or `void` (there was nothing to take).
-- Keys that begin with `farebox:` are the program's own. `call_id` is the refunded call's, `grant_id` that of a grant or expiry.
CREATE TABLE credit_operations (
    account_id TEXT NOT NULL REFERENCES accounts (id),
    idempotency_key TEXT NOT NULL,
    digest TEXT NOT NULL,
    operation_id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    amount_microcredits BIGINT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'applied', 'refused', 'void')),
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    call_id TEXT,
    grant_id TEXT,
    refusal TEXT,
    seq BIGINT,
    before_microcredits BIGINT,
    after_microcredits BIGINT,
    at BIGINT,
    PRIMARY KEY (account_id, idempotency_key)
);
INSERT INTO credit_operations (account_id, idempotency_key, digest, operation_id, kind, amount_microcredits, status, actor,
    reason, created_at, seq, before_microcredits, after_microcredits, at)
SELECT account_id, idempotency_key, digest, operation_id, kind, amount_microcredits, status, actor,
    reason, created_at, seq, before_microcredits, after_microcredits, at FROM topups;
DROP TABLE topups;
CREATE INDEX credit_operations_pending ON credit_operations (created_at) WHERE status = 'pending';
CREATE INDEX credit_operations_by_grant ON credit_operations (grant_id) WHERE grant_id IS NOT NULL;
CREATE INDEX ledger_entries_of_refunds ON ledger_entries (account_id, call_id) WHERE kind = 'refund';

-- Credits that burn before bought ones: by (expires_at, priority, id), a null expiry last. `ends_at` is when the sweep takes
-- what is left: the expiry, or earlier where the grant was revoked; the order never changes. `remaining_microcredits` is as of
-- the last change of the account's grants: what was spent since is attributed at the next one.
CREATE TABLE grants (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    operation_id TEXT NOT NULL UNIQUE,
    amount_microcredits BIGINT NOT NULL CHECK (amount_microcredits > 0),
    remaining_microcredits BIGINT NOT NULL,
    priority BIGINT NOT NULL,
    expires_at BIGINT,
    ends_at BIGINT,
    created_at BIGINT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'live', 'ended', 'refused'))
);
CREATE INDEX grants_by_account ON grants (account_id, created_at);
CREATE INDEX grants_due ON grants (ends_at) WHERE status = 'live';

-- Holds that applications asked for. `open` until it is confirmed, cancelled or found to have expired.
CREATE TABLE reservations (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    call_id TEXT NOT NULL UNIQUE,
    idempotency_key TEXT NOT NULL,
    digest TEXT NOT NULL,
    amount_microcredits BIGINT NOT NULL,
    actual_microcredits BIGINT,
    status TEXT NOT NULL CHECK (status IN ('pending', 'open', 'confirmed', 'cancelled', 'expired')),
    key_id TEXT NOT NULL,
    operation TEXT NOT NULL,
    model TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    UNIQUE (account_id, idempotency_key)
);
CREATE INDEX reservations_by_account ON reservations (account_id, created_at);
CREATE INDEX reservations_unended ON reservations (expires_at) WHERE status IN ('pending', 'open');

-- Usage that applications reported of calls that did not go through the proxy; the usage record has the same call_id.
-- `reference` is the transaction or idempotency key, marked by its kind.
CREATE TABLE recorded_usage (
    account_id TEXT NOT NULL REFERENCES accounts (id),
    reference TEXT NOT NULL,
    digest TEXT NOT NULL,
    call_id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL CHECK (status IN ('pending', 'applied')),
    record TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, reference)
);
CREATE INDEX recorded_usage_pending ON recorded_usage (created_at) WHERE status = 'pending';

-- `digest` is the HMAC-SHA256 of the code; the code itself is nowhere. `account_id` is who redeemed it, once for ever.
CREATE TABLE redemption_codes (
    id TEXT PRIMARY KEY,
    batch_id TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    prefix TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('topup', 'grant')),
    amount_microcredits BIGINT NOT NULL CHECK (amount_microcredits > 0),
    priority BIGINT NOT NULL,
    expires_at BIGINT,
    grant_expires_at BIGINT,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT,
    account_id TEXT REFERENCES accounts (id),
    redeemed_at BIGINT
);
CREATE INDEX redemption_codes_by_time ON redemption_codes (created_at);
