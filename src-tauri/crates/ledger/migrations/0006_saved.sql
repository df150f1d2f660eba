-- What the response cache spared: of each hit, and in all sums. It stands beside the cost and is in none.

-- Set for a hit alone; NULL also where that price is not known.
ALTER TABLE entry ADD COLUMN saved_nanos INTEGER;

ALTER TABLE quarter_sum ADD COLUMN cache_hits INTEGER NOT NULL DEFAULT 0;
ALTER TABLE quarter_sum ADD COLUMN cache_misses INTEGER NOT NULL DEFAULT 0;
ALTER TABLE quarter_sum ADD COLUMN saved_nanos INTEGER NOT NULL DEFAULT 0;
ALTER TABLE day_sum ADD COLUMN cache_hits INTEGER NOT NULL DEFAULT 0;
ALTER TABLE day_sum ADD COLUMN cache_misses INTEGER NOT NULL DEFAULT 0;
ALTER TABLE day_sum ADD COLUMN saved_nanos INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenant_day_sum ADD COLUMN cache_hits INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenant_day_sum ADD COLUMN cache_misses INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenant_day_sum ADD COLUMN saved_nanos INTEGER NOT NULL DEFAULT 0;

DROP VIEW rollup;
DROP VIEW day_rollup;
DROP VIEW tenant_day_rollup;
DROP VIEW counted;

CREATE VIEW rollup AS
SELECT quarter, series.client, person, project, account, tenant, upstream, model, series.source, series.priced, calls,
    input_tokens, cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, output_tokens, web_searches, cost_nanos,
    calls * (series.priced = 0) AS unpriced_calls, cache_hits, cache_misses, saved_nanos
FROM quarter_sum JOIN series ON series.id = series JOIN tenant_series ON tenant_series.id = tenant_series;

CREATE VIEW day_rollup AS
SELECT day, client, person, project, account, upstream, model, source, priced, calls, input_tokens, cache_write_5m_tokens,
    cache_write_1h_tokens, cache_read_tokens, output_tokens, web_searches, cost_nanos, calls * (priced = 0) AS unpriced_calls,
    cache_hits, cache_misses, saved_nanos
FROM day_sum JOIN series ON series.id = series;

CREATE VIEW tenant_day_rollup AS
SELECT day, client, tenant, source, priced, calls, input_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
    cache_read_tokens, output_tokens, web_searches, cost_nanos, calls * (priced = 0) AS unpriced_calls,
    cache_hits, cache_misses, saved_nanos
FROM tenant_day_sum JOIN tenant_series ON tenant_series.id = tenant_series;

-- What counts, at its present price.
CREATE VIEW counted AS
SELECT entry.seq, call_id, started_at, ended_at, client, person, project, tenant, session, agent, tags, class, model, max_tokens,
    stream, body_bytes, upstream, request_id, attempts, status, outcome, input_tokens, cache_write_5m_tokens,
    cache_write_1h_tokens, cache_read_tokens, output_tokens, web_searches, batch, fast, us_only,
    coalesce(repriced.cost_nanos, entry.cost_nanos) AS cost_nanos,
    coalesce(repriced.price_id, entry.price_id) AS price_id,
    coalesce(repriced.estimated, entry.estimated) AS estimated,
    source, waited_ms, first_byte_ms, total_ms, cache, error, entry.chain, account, saved_nanos
FROM entry LEFT JOIN repriced ON number = (SELECT max(number) FROM repriced AS later WHERE later.seq = entry.seq)
WHERE entry.seq NOT IN (SELECT seq FROM superseded);
