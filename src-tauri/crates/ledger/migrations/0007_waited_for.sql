-- Why a call had to wait, in one sentence; '' where it went at once, or nobody says.
ALTER TABLE entry ADD COLUMN waited_for TEXT NOT NULL DEFAULT '';

DROP VIEW counted;

-- What counts, at its present price.
CREATE VIEW counted AS
SELECT entry.seq, call_id, started_at, ended_at, client, person, project, tenant, session, agent, tags, class, model, max_tokens,
    stream, body_bytes, upstream, request_id, attempts, status, outcome, input_tokens, cache_write_5m_tokens,
    cache_write_1h_tokens, cache_read_tokens, output_tokens, web_searches, batch, fast, us_only,
    coalesce(repriced.cost_nanos, entry.cost_nanos) AS cost_nanos,
    coalesce(repriced.price_id, entry.price_id) AS price_id,
    coalesce(repriced.estimated, entry.estimated) AS estimated,
    source, waited_ms, first_byte_ms, total_ms, cache, error, entry.chain, account, saved_nanos, waited_for
FROM entry LEFT JOIN repriced ON number = (SELECT max(number) FROM repriced AS later WHERE later.seq = entry.seq)
WHERE entry.seq NOT IN (SELECT seq FROM superseded);
