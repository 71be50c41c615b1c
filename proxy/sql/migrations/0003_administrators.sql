-- Administrators, the log of every change that somebody made, requests that must not happen twice; what accounts and API keys
-- know besides: an account's end and notes, and from where and for what a key may be used.

-- A closed account is suspended too, so that whoever looks at `status` alone refuses it. SQLite cannot change the CHECK of a
-- table that others refer to.
ALTER TABLE accounts ADD COLUMN closed_at BIGINT CHECK (closed_at IS NULL OR status = 'suspended');
ALTER TABLE accounts ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}';
CREATE INDEX accounts_by_time ON accounts (created_at, id);

-- JSON lists: paths of the data listener (a trailing * matches the rest), networks in CIDR notation. Null: all.
ALTER TABLE api_keys ADD COLUMN paths TEXT;
ALTER TABLE api_keys ADD COLUMN networks TEXT;

-- `digest` is the HMAC-SHA256 of the credential, which itself is nowhere. A name is never given again: the log speaks of it.
CREATE TABLE administrators (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    digest TEXT NOT NULL UNIQUE,
    prefix TEXT NOT NULL,
    roles TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);

-- One row a change, never changed itself. Ids begin with their time. `before` and `after` are JSON without secrets.
CREATE TABLE audit_log (
    id TEXT PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    before_json TEXT,
    after_json TEXT
);
CREATE INDEX audit_log_by_subject ON audit_log (subject, id);
CREATE INDEX audit_log_by_actor ON audit_log (actor, id);

-- A request with an idempotency key: what it makes gets `resource_id`, however often it is sent; `answer` once it was given.
CREATE TABLE admin_requests (
    actor TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    digest TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    status BIGINT,
    answer TEXT,
    PRIMARY KEY (actor, idempotency_key)
);
