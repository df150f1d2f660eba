-- What a team's other devices handed over: sums of their days, apart from what happened here.

-- A device is known by its key from the first bundle on.
CREATE TABLE bundle_device (
    device     TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL,
    public_key BLOB    NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- `digest` is of the month's rows; of two bundles the one with the higher revision stands, then the one with the higher digest.
CREATE TABLE bundle_month (
    device   TEXT    NOT NULL REFERENCES bundle_device (device) ON DELETE CASCADE,
    month    TEXT    NOT NULL,
    revision INTEGER NOT NULL,
    digest   BLOB    NOT NULL,
    PRIMARY KEY (device, month)
) STRICT, WITHOUT ROWID;

-- A day is one of the device's own calendar: the number of days since 1970-01-01.
CREATE TABLE bundle_row (
    device                TEXT    NOT NULL,
    month                 TEXT    NOT NULL,
    day                   INTEGER NOT NULL,
    client                TEXT    NOT NULL,
    person                TEXT    NOT NULL,
    project               TEXT    NOT NULL,
    tenant                TEXT    NOT NULL,
    upstream              TEXT    NOT NULL,
    model                 TEXT    NOT NULL,
    source                TEXT    NOT NULL,
    calls                 INTEGER NOT NULL,
    input_tokens          INTEGER NOT NULL,
    cache_write_5m_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    cache_read_tokens     INTEGER NOT NULL,
    output_tokens         INTEGER NOT NULL,
    web_searches          INTEGER NOT NULL,
    cost_nanos            INTEGER NOT NULL,
    unpriced_calls        INTEGER NOT NULL,
    PRIMARY KEY (device, month, day, client, person, project, tenant, upstream, model, source),
    FOREIGN KEY (device, month) REFERENCES bundle_month (device, month) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX bundle_row_by_day ON bundle_row (day);
