//! Who told of a call, which of them counts, and where they say different things.

use std::sync::Arc;

use domain::call::{Entry, Source};
use domain::catalog::Catalog;
use domain::usage::Usage;
use ledger::{Provenance, Telling};

use crate::show::money;
use crate::view::SourceView;

/// The entry's own source first, then all others that tell of the same call.
pub(crate) fn sources(entry: &Entry, provenance: &Provenance, catalog: &Catalog) -> Vec<SourceView> {
    let is_own = |telling: &&Telling| telling.call == Some(entry.call.id);
    let own = provenance.tellings.iter().find(is_own);
    let others = provenance.tellings.iter().filter(|telling| !is_own(telling));
    let mut sources = vec![of_entry(entry, own, provenance)];
    sources.extend(others.map(|telling| of_telling(telling, entry, provenance, catalog)));
    sources
}

fn of_entry(entry: &Entry, own: Option<&Telling>, provenance: &Provenance) -> SourceView {
    let request_id = entry.attempts.iter().rev().find_map(|attempt| attempt.request_id.clone());
    let request_id = request_id.or_else(|| own.and_then(|own| some(&own.request_id)));
    let counts = provenance.superseded.is_none();
    let source = SourceView {
        source: entry.source.name().to_owned(),
        counts,
        reason: if counts { why_it_counts(entry.source, provenance) } else { "another entry has its place".to_owned() },
        call_id: Some(entry.call.id.to_string()),
        message_id: own.and_then(|own| some(&own.message_id)).map(|id| id.to_string()),
        request_id: request_id.map(|id| id.to_string()),
        file: own.and_then(|own| some(&own.file)).map(|file| file.to_string()),
        at: entry.call.started_at.to_string(),
        model: entry.call.model.to_string(),
        cost_usd: money(entry.cost),
        ..SourceView::default()
    };
    with_usage(source, &entry.usage)
}

fn why_it_counts(source: Source, provenance: &Provenance) -> String {
    let has_log = provenance.tellings.iter().any(|telling| telling.source == Source::Log);
    match source {
        Source::Gateway => "it went through the gateway, which stands before telemetry and logs",
        Source::Otel if has_log => "telemetry stands before logs, which complete what it does not tell",
        Source::Otel => "telemetry alone tells of it",
        Source::Log => "the log alone tells of it",
        Source::Bundle => "a member's bundle tells of it",
    }
    .to_owned()
}

fn of_telling(telling: &Telling, entry: &Entry, provenance: &Provenance, catalog: &Catalog) -> SourceView {
    let counts = telling.call.is_some();
    let source = SourceView {
        source: telling.source.name().to_owned(),
        counts,
        reason: reason(telling, entry, provenance),
        call_id: telling.call.map(|call| call.to_string()),
        message_id: some(&telling.message_id).map(|id| id.to_string()),
        request_id: some(&telling.request_id).map(|id| id.to_string()),
        file: some(&telling.file).map(|file| file.to_string()),
        at: telling.at.to_string(),
        model: telling.model.clone(),
        cost_usd: money(catalog.charge("", &telling.model, &telling.usage, telling.at).cost),
        differs: differs(&telling.usage, &entry.usage, telling.is_estimate),
        ..SourceView::default()
    };
    with_usage(source, &telling.usage)
}

fn reason(telling: &Telling, entry: &Entry, provenance: &Provenance) -> String {
    let is_gateway = entry.source == Source::Gateway || provenance.through_gateway.is_some();
    let has_event = provenance.tellings.iter().any(|other| other.source == Source::Otel);
    match telling.source {
        _ if telling.call.is_some() => "it is another request, which counts by itself",
        _ if telling.is_copy => "a sidechain's copy of the message",
        Source::Otel | Source::Log if is_gateway => "the gateway stands before it",
        Source::Log if has_event => "telemetry stands before it",
        Source::Log => "another line of the same message counts",
        Source::Otel | Source::Gateway | Source::Bundle => "another source counts",
    }
    .to_owned()
}

fn with_usage(source: SourceView, usage: &Usage) -> SourceView {
    SourceView {
        input_tokens: usage.tokens.input,
        cache_write_5m_tokens: usage.tokens.cache_write_5m,
        cache_write_1h_tokens: usage.tokens.cache_write_1h,
        cache_read_tokens: usage.tokens.cache_read,
        output_tokens: usage.tokens.output,
        web_searches: usage.web_searches,
        ..source
    }
}

/// What it says otherwise. Telemetry can't tell the cache writes apart: only their sum is compared then.
fn differs(said: &Usage, entry: &Usage, is_estimate: bool) -> Vec<String> {
    let (said_tokens, tokens) = (&said.tokens, &entry.tokens);
    let written = |tokens: &domain::usage::Tokens| tokens.cache_write_5m.saturating_add(tokens.cache_write_1h);
    let (said_5m, own_5m) = if is_estimate {
        (written(said_tokens), written(tokens))
    } else {
        (said_tokens.cache_write_5m, tokens.cache_write_5m)
    };
    let (said_1h, own_1h) = if is_estimate { (0, 0) } else { (said_tokens.cache_write_1h, tokens.cache_write_1h) };
    let counts = [
        ("input_tokens", said_tokens.input, tokens.input),
        (if is_estimate { "cache_write_tokens" } else { "cache_write_5m_tokens" }, said_5m, own_5m),
        ("cache_write_1h_tokens", said_1h, own_1h),
        ("cache_read_tokens", said_tokens.cache_read, tokens.cache_read),
        ("output_tokens", said_tokens.output, tokens.output),
    ];
    let different = counts.into_iter().filter(|(_, said, own)| said != own);
    different.map(|(name, said, own)| format!("{name} {said}, not {own}")).collect()
}

fn some(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| text.into())
}
