-- The ledger's first schema. Instants are milliseconds since 1970 UTC, money is nano-dollars, '' stands for "none".

-- How far the journal is folded in, and the last link of the chain.
CREATE TABLE meta (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    folded_seq   INTEGER NOT NULL,
    chain        BLOB    NOT NULL
) STRICT;

INSERT INTO meta (id, folded_seq, chain) VALUES (1, 0, zeroblob(32));

-- One row for each call that has ended; never changed afterwards.
CREATE TABLE entry (
    seq                   INTEGER PRIMARY KEY,
    call_id               TEXT    NOT NULL UNIQUE,
    started_at            INTEGER NOT NULL,
    ended_at              INTEGER NOT NULL,
    client                TEXT    NOT NULL,
    person                TEXT    NOT NULL,
    project               TEXT    NOT NULL,
    tenant                TEXT    NOT NULL,
    session               TEXT    NOT NULL,
    agent                 TEXT    NOT NULL,
    tags                  TEXT    NOT NULL CHECK (json_valid(tags)),
    class                 TEXT    NOT NULL,
    model                 TEXT    NOT NULL,
    max_tokens            INTEGER,
    stream                INTEGER NOT NULL CHECK (stream IN (0, 1)),
    body_bytes            INTEGER NOT NULL,
    upstream              TEXT    NOT NULL,
    request_id            TEXT    NOT NULL,
    attempts              INTEGER NOT NULL,
    status                INTEGER NOT NULL,
    outcome               TEXT    NOT NULL,
    input_tokens          INTEGER NOT NULL,
    cache_write_5m_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    cache_read_tokens     INTEGER NOT NULL,
    output_tokens         INTEGER NOT NULL,
    web_searches          INTEGER NOT NULL,
    batch                 INTEGER NOT NULL CHECK (batch IN (0, 1)),
    fast                  INTEGER NOT NULL CHECK (fast IN (0, 1)),
    us_only               INTEGER NOT NULL CHECK (us_only IN (0, 1)),
    cost_nanos            INTEGER,
    price_id              TEXT    NOT NULL,
    estimated             INTEGER NOT NULL CHECK (estimated IN (0, 1)),
    source                TEXT    NOT NULL,
    waited_ms             INTEGER NOT NULL,
    first_byte_ms         INTEGER,
    total_ms              INTEGER NOT NULL,
    cache                 TEXT    NOT NULL,
    error                 TEXT    NOT NULL,
    chain                 BLOB    NOT NULL
) STRICT;

CREATE INDEX entry_by_time ON entry (started_at, seq);

-- One row for each time a call was sent.
CREATE TABLE attempt (
    call_id      TEXT    NOT NULL REFERENCES entry (call_id),
    number       INTEGER NOT NULL,
    upstream     TEXT    NOT NULL,
    opened_at    INTEGER NOT NULL,
    status       INTEGER,
    request_id   TEXT    NOT NULL,
    error        TEXT    NOT NULL,
    maybe_billed INTEGER NOT NULL CHECK (maybe_billed IN (0, 1)),
    PRIMARY KEY (call_id, number)
) STRICT, WITHOUT ROWID;

-- Calls that run. What is still here at the next start was interrupted.
CREATE TABLE open_call (
    call_id TEXT NOT NULL PRIMARY KEY,
    call    TEXT NOT NULL CHECK (json_valid(call)),
    usage   TEXT CHECK (json_valid(usage)),
    used_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE open_attempt (
    call_id TEXT    NOT NULL REFERENCES open_call (call_id) ON DELETE CASCADE,
    number  INTEGER NOT NULL,
    opening TEXT    NOT NULL CHECK (json_valid(opening)),
    PRIMARY KEY (call_id, number)
) STRICT, WITHOUT ROWID;

-- Sums of the calls that started in a quarter of an hour: every zone's days are whole quarters. Refused calls are not in them.
CREATE TABLE rollup (
    quarter               INTEGER NOT NULL,
    client                TEXT    NOT NULL,
    person                TEXT    NOT NULL,
    project               TEXT    NOT NULL,
    upstream              TEXT    NOT NULL,
    model                 TEXT    NOT NULL,
    source                TEXT    NOT NULL,
    calls                 INTEGER NOT NULL,
    input_tokens          INTEGER NOT NULL,
    cache_write_5m_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    cache_read_tokens     INTEGER NOT NULL,
    output_tokens         INTEGER NOT NULL,
    cost_nanos            INTEGER NOT NULL,
    unpriced_calls        INTEGER NOT NULL,
    PRIMARY KEY (quarter, client, person, project, upstream, model, source)
) STRICT, WITHOUT ROWID;
