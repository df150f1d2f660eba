-- What logs and telemetry tell of calls that did not go through the gateway, or did, and were written down there too.

-- One row for each call as one source tells it. A call is (message, request); where a line has neither, the message is 'line:' and its hash.
CREATE TABLE told (
    message_id TEXT    NOT NULL,
    request_id TEXT    NOT NULL,
    source     TEXT    NOT NULL,
    facts      TEXT    NOT NULL,
    -- The entry that stands for it now, '' where another source or copy stands for it.
    call_id    TEXT    NOT NULL,
    revision   INTEGER NOT NULL,
    entered    BLOB    NOT NULL,
    PRIMARY KEY (message_id, request_id, source)
) STRICT, WITHOUT ROWID;

CREATE INDEX told_by_request ON told (request_id) WHERE request_id <> '';

-- Entries that another one has taken the place of: they stay, and count nowhere.
CREATE TABLE superseded (
    seq     INTEGER PRIMARY KEY REFERENCES entry (seq),
    by_call TEXT    NOT NULL
) STRICT;

CREATE VIEW counted AS SELECT * FROM entry WHERE seq NOT IN (SELECT seq FROM superseded);

-- By what a gateway's entry and a log's line are known to be the same call.
CREATE INDEX entry_by_request ON entry (request_id) WHERE source = 'gateway' AND request_id <> '';

-- How far each log was read. `tail` is the hash of what stood before `offset`: a file that was replaced is read anew.
CREATE TABLE log_file (
    path     TEXT    NOT NULL PRIMARY KEY,
    offset   INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    tail     BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- What Claude Code says of a subscription's windows. Percent in hundredths.
CREATE TABLE observation (
    observed_at INTEGER NOT NULL,
    window      TEXT    NOT NULL,
    used        INTEGER NOT NULL,
    resets_at   INTEGER,
    session     TEXT    NOT NULL,
    PRIMARY KEY (window, observed_at)
) STRICT, WITHOUT ROWID;
