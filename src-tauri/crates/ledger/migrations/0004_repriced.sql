-- What calls cost by a later price. Entries never change: the last row of one is its present price, the others are how it came to it.

CREATE TABLE repriced (
    number         INTEGER PRIMARY KEY,
    seq            INTEGER NOT NULL,
    at             INTEGER NOT NULL,
    old_price_id   TEXT    NOT NULL,
    old_cost_nanos INTEGER,
    price_id       TEXT    NOT NULL,
    cost_nanos     INTEGER NOT NULL,
    estimated      INTEGER NOT NULL CHECK (estimated IN (0, 1)),
    reason         TEXT    NOT NULL,
    chain          BLOB    NOT NULL
) STRICT;

CREATE INDEX repriced_by_entry ON repriced (seq, number);

-- The last link of the rows of `repriced`.
ALTER TABLE meta ADD COLUMN repriced_chain BLOB NOT NULL
    DEFAULT x'0000000000000000000000000000000000000000000000000000000000000000';

DROP VIEW counted;

-- What counts, at its present price.
CREATE VIEW counted AS
SELECT entry.seq, call_id, started_at, ended_at, client, person, project, tenant, session, agent, tags, class, model, max_tokens,
    stream, body_bytes, upstream, request_id, attempts, status, outcome, input_tokens, cache_write_5m_tokens,
    cache_write_1h_tokens, cache_read_tokens, output_tokens, web_searches, batch, fast, us_only,
    coalesce(repriced.cost_nanos, entry.cost_nanos) AS cost_nanos,
    coalesce(repriced.price_id, entry.price_id) AS price_id,
    coalesce(repriced.estimated, entry.estimated) AS estimated,
    source, waited_ms, first_byte_ms, total_ms, cache, error, entry.chain, account
FROM entry LEFT JOIN repriced ON number = (SELECT max(number) FROM repriced AS later WHERE later.seq = entry.seq)
WHERE entry.seq NOT IN (SELECT seq FROM superseded);
