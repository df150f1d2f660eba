-- Sums that answer for months at once, the account of each call, and what stays when old entries are deleted.

-- The organisation or workspace that paid, as the upstream calls it.
ALTER TABLE entry ADD COLUMN account TEXT NOT NULL DEFAULT '';

-- The zone whose days the sums by day are: where it is another one than the settings', they are made anew at the next start.
ALTER TABLE meta ADD COLUMN zone TEXT NOT NULL DEFAULT '';

-- Entries of calls that started before may have been deleted; the sums have them all.
ALTER TABLE meta ADD COLUMN kept_from INTEGER NOT NULL DEFAULT 0;

-- Entries that were deleted lie between `since` and `through`, and the chain goes on from the link of the last of them.
CREATE TABLE cut (
    through INTEGER PRIMARY KEY,
    since   INTEGER NOT NULL UNIQUE,
    chain   BLOB    NOT NULL
) STRICT;

-- Calls that are summed together. Those whose price isn't known are apart.
CREATE TABLE series (
    id       INTEGER PRIMARY KEY,
    client   TEXT    NOT NULL,
    person   TEXT    NOT NULL,
    project  TEXT    NOT NULL,
    account  TEXT    NOT NULL,
    upstream TEXT    NOT NULL,
    model    TEXT    NOT NULL,
    source   TEXT    NOT NULL,
    priced   INTEGER NOT NULL CHECK (priced IN (0, 1)),
    UNIQUE (client, model, project, person, upstream, account, source, priced)
) STRICT;

-- Tenants may be many: their days are summed apart, so that those of the others stay few.
CREATE TABLE tenant_series (
    id     INTEGER PRIMARY KEY,
    client TEXT    NOT NULL,
    tenant TEXT    NOT NULL,
    source TEXT    NOT NULL,
    priced INTEGER NOT NULL CHECK (priced IN (0, 1)),
    UNIQUE (client, tenant, source, priced)
) STRICT;

-- Sums of the calls that started in a quarter of an hour: every zone's days are whole quarters. Refused calls are not in them.
CREATE TABLE quarter_sum (
    quarter               INTEGER NOT NULL,
    series                INTEGER NOT NULL REFERENCES series (id),
    tenant_series         INTEGER NOT NULL REFERENCES tenant_series (id),
    calls                 INTEGER NOT NULL,
    input_tokens          INTEGER NOT NULL,
    cache_write_5m_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    cache_read_tokens     INTEGER NOT NULL,
    output_tokens         INTEGER NOT NULL,
    web_searches          INTEGER NOT NULL,
    cost_nanos            INTEGER NOT NULL,
    PRIMARY KEY (quarter, series, tenant_series)
) STRICT, WITHOUT ROWID;

-- Of the quarters of a day in the zone that `meta` names; a day is the number of days since 1970-01-01.
CREATE TABLE day_sum (
    day                   INTEGER NOT NULL,
    series                INTEGER NOT NULL REFERENCES series (id),
    calls                 INTEGER NOT NULL,
    input_tokens          INTEGER NOT NULL,
    cache_write_5m_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    cache_read_tokens     INTEGER NOT NULL,
    output_tokens         INTEGER NOT NULL,
    web_searches          INTEGER NOT NULL,
    cost_nanos            INTEGER NOT NULL,
    PRIMARY KEY (day, series)
) STRICT, WITHOUT ROWID;

CREATE TABLE tenant_day_sum (
    day                   INTEGER NOT NULL,
    tenant_series         INTEGER NOT NULL REFERENCES tenant_series (id),
    calls                 INTEGER NOT NULL,
    input_tokens          INTEGER NOT NULL,
    cache_write_5m_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    cache_read_tokens     INTEGER NOT NULL,
    output_tokens         INTEGER NOT NULL,
    web_searches          INTEGER NOT NULL,
    cost_nanos            INTEGER NOT NULL,
    PRIMARY KEY (day, tenant_series)
) STRICT, WITHOUT ROWID;

INSERT INTO series (client, person, project, account, upstream, model, source, priced)
SELECT DISTINCT client, person, project, account, upstream, model, source, cost_nanos IS NOT NULL
FROM counted WHERE outcome <> 'refused';

INSERT INTO tenant_series (client, tenant, source, priced)
SELECT DISTINCT client, tenant, source, cost_nanos IS NOT NULL FROM counted WHERE outcome <> 'refused';

-- One by one, so that no memory is needed to sort them. The days are made at the end of the start that does this.
INSERT INTO quarter_sum
SELECT started_at / 900000, series.id, tenant_series.id, 1, input_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
    cache_read_tokens, output_tokens, web_searches, coalesce(cost_nanos, 0)
FROM counted AS call
CROSS JOIN series ON series.client = call.client AND series.model = call.model AND series.project = call.project
    AND series.person = call.person AND series.upstream = call.upstream AND series.account = call.account
    AND series.source = call.source AND series.priced = (call.cost_nanos IS NOT NULL)
CROSS JOIN tenant_series ON tenant_series.client = call.client AND tenant_series.tenant = call.tenant
    AND tenant_series.source = call.source AND tenant_series.priced = (call.cost_nanos IS NOT NULL)
WHERE outcome <> 'refused'
ON CONFLICT DO UPDATE SET calls = calls + 1,
    input_tokens = min(9223372036854775807, input_tokens + excluded.input_tokens),
    cache_write_5m_tokens = min(9223372036854775807, cache_write_5m_tokens + excluded.cache_write_5m_tokens),
    cache_write_1h_tokens = min(9223372036854775807, cache_write_1h_tokens + excluded.cache_write_1h_tokens),
    cache_read_tokens = min(9223372036854775807, cache_read_tokens + excluded.cache_read_tokens),
    output_tokens = min(9223372036854775807, output_tokens + excluded.output_tokens),
    web_searches = min(9223372036854775807, web_searches + excluded.web_searches),
    cost_nanos = min(9223372036854775807, cost_nanos + excluded.cost_nanos);

DROP TABLE rollup;

-- The sums with their names, for questions.
CREATE VIEW rollup AS
SELECT quarter, series.client, person, project, account, tenant, upstream, model, series.source, series.priced, calls,
    input_tokens, cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, output_tokens, web_searches, cost_nanos,
    calls * (series.priced = 0) AS unpriced_calls
FROM quarter_sum JOIN series ON series.id = series JOIN tenant_series ON tenant_series.id = tenant_series;

CREATE VIEW day_rollup AS
SELECT day, client, person, project, account, upstream, model, source, priced, calls, input_tokens, cache_write_5m_tokens,
    cache_write_1h_tokens, cache_read_tokens, output_tokens, web_searches, cost_nanos, calls * (priced = 0) AS unpriced_calls
FROM day_sum JOIN series ON series.id = series;

CREATE VIEW tenant_day_rollup AS
SELECT day, client, tenant, source, priced, calls, input_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
    cache_read_tokens, output_tokens, web_searches, cost_nanos, calls * (priced = 0) AS unpriced_calls
FROM tenant_day_sum JOIN tenant_series ON tenant_series.id = tenant_series;

-- What was told lies in the order of its coming: messages are named by chance, and finding a key its place in an index
-- moves a tenth of what moving the whole row there did.
CREATE TABLE telling (
    id         INTEGER PRIMARY KEY,
    message_id TEXT    NOT NULL,
    request_id TEXT    NOT NULL,
    source     TEXT    NOT NULL,
    facts      TEXT    NOT NULL,
    -- The entry that stands for it now, '' where another source or copy stands for it.
    call_id    TEXT    NOT NULL,
    revision   INTEGER NOT NULL,
    entered    BLOB    NOT NULL,
    UNIQUE (message_id, request_id, source)
) STRICT;

INSERT INTO telling (message_id, request_id, source, facts, call_id, revision, entered)
SELECT message_id, request_id, source, facts, call_id, revision, entered FROM told;

DROP TABLE told;

ALTER TABLE telling RENAME TO told;

CREATE INDEX told_by_request ON told (request_id) WHERE request_id <> '';
