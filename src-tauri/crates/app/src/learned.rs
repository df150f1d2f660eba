//! What admission has learned, over a restart: `DIR/learned.json`.
//!
//! Nobody depends on the file: without it, or with a damaged one, everything is learned again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::admission::{
    ClosedGroup, KnownWindow, LearnedEstimate, LearnedLimit, LearnedTemplate, LimitSource, Measure, Memory,
    Reservation, ReservationId,
};
use domain::call::Class;
use domain::money::Usd;
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::folder::{self, FolderError};

const FILE: &str = "learned.json";
/// Of the format. A file of another one is passed over.
const VERSION: u32 = 1;

/// What was learned in an earlier run; nothing where that can't be read.
pub(crate) fn read(dir: &Path) -> Memory {
    let file = dir.join(FILE);
    let text = match std::fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Memory::default(),
        Err(error) => return forgotten(&file, &error),
    };
    let version = match serde_json::from_slice::<Versioned>(&text) {
        Ok(Versioned { version }) => version,
        Err(error) => return forgotten(&file, &error),
    };
    if version != VERSION {
        return forgotten(&file, &format!("it is of version {version}, this program knows {VERSION}"));
    }
    match serde_json::from_slice::<Learned>(&text) {
        Ok(learned) => learned.memory(),
        Err(error) => forgotten(&file, &error),
    }
}

fn forgotten(file: &Path, reason: &dyn std::fmt::Display) -> Memory {
    tracing::warn!("{} is not used ({reason}): limits and estimates are learned again", file.display());
    Memory::default()
}

/// Keeps the file; writes only what has changed.
pub(crate) struct Keeper {
    file: PathBuf,
    kept: Vec<u8>,
    fails: bool,
}

impl Keeper {
    pub(crate) fn of(dir: &Path) -> Keeper {
        Keeper { file: dir.join(FILE), kept: vec![], fails: false }
    }

    /// Gives one sentence when keeping begins to fail, or works again.
    pub(crate) fn keep(&mut self, memory: &Memory) -> Option<String> {
        let kept = self.try_to_keep(memory);
        let failed_before = std::mem::replace(&mut self.fails, kept.is_err());
        match kept {
            Err(error) if !failed_before => Some(format!("what was learned is not kept for the next start: {error}")),
            Ok(()) if failed_before => Some("what was learned is kept again".to_owned()),
            Ok(()) | Err(_) => None,
        }
    }

    fn try_to_keep(&mut self, memory: &Memory) -> Result<(), FolderError> {
        let failed = |reason| FolderError::Damaged { file: self.file.clone(), reason };
        let text = serde_json::to_vec(&Learned::of(memory)).map_err(failed)?;
        if text != self.kept {
            folder::replace(&self.file, &text)?;
            self.kept = text;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Learned {
    version: u32,
    limits: Vec<LimitRow>,
    closed: Vec<ClosedRow>,
    windows: Vec<WindowRow>,
    estimates: Vec<EstimateRow>,
    reservations: Vec<ReservationRow>,
    paused: Vec<String>,
    paused_scopes: Vec<(String, i64)>,
}

#[derive(Serialize, Deserialize)]
struct LimitRow {
    account: String,
    group: String,
    measure: String,
    limit: u64,
    source: String,
    guard_permille: u32,
    outside_per_minute: u64,
    observed_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct ClosedRow {
    account: String,
    group: String,
    until: i64,
}

#[derive(Serialize, Deserialize)]
struct WindowRow {
    account: String,
    name: String,
    used: i64,
    since: i64,
    resets_at: i64,
    observed: bool,
}

#[derive(Serialize, Deserialize)]
struct EstimateRow {
    account: String,
    model: String,
    client: String,
    calls: u64,
    weights: Vec<f64>,
    spread: f64,
    caution: f64,
    templates: Vec<TemplateRow>,
    outputs: Vec<u32>,
    errors: Vec<f32>,
}

#[derive(Serialize, Deserialize)]
struct TemplateRow {
    head: u32,
    offset: f64,
    doubt: f64,
    outputs: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
struct ReservationRow {
    account: String,
    id: String,
    client: String,
    model: String,
    calls: u64,
    input_tokens: u64,
    output_tokens: u64,
    ttl_ms: u64,
    starts_at: i64,
    expires_at: i64,
    used: u64,
    #[serde(default)]
    cost_nanos: i64,
    #[serde(default)]
    cost_left_nanos: i64,
    #[serde(default)]
    tokens_left: i64,
}

impl Learned {
    fn of(memory: &Memory) -> Learned {
        Learned {
            version: VERSION,
            limits: memory.limits.iter().map(LimitRow::of).collect(),
            closed: memory.closed.iter().map(ClosedRow::of).collect(),
            windows: memory.windows.iter().map(WindowRow::of).collect(),
            estimates: memory.estimates.iter().filter_map(|(account, row)| EstimateRow::of(account, row)).collect(),
            reservations: memory.reservations.iter().map(|(account, held)| ReservationRow::of(account, held)).collect(),
            paused: memory.paused.iter().map(|class| class.name().to_owned()).collect(),
            paused_scopes: memory.paused_scopes.iter().map(|(name, at)| (name.to_string(), at.as_millis())).collect(),
        }
    }

    /// Rows that name what this program doesn't know are passed over.
    fn memory(self) -> Memory {
        Memory {
            limits: self.limits.into_iter().filter_map(LimitRow::limit).collect(),
            closed: self.closed.into_iter().map(ClosedRow::closed).collect(),
            windows: self.windows.into_iter().map(WindowRow::window).collect(),
            estimates: self.estimates.into_iter().map(EstimateRow::estimate).collect(),
            reservations: self.reservations.into_iter().filter_map(ReservationRow::reservation).collect(),
            paused: self.paused.iter().filter_map(|class| Class::named(class)).collect(),
            paused_scopes: self
                .paused_scopes
                .into_iter()
                .map(|(name, at)| (name.into(), Timestamp::from_millis(at)))
                .collect(),
        }
    }
}

impl LimitRow {
    fn of(limit: &LearnedLimit) -> LimitRow {
        LimitRow {
            account: limit.account.to_string(),
            group: limit.group.to_string(),
            measure: limit.measure.name().to_owned(),
            limit: limit.limit,
            source: limit.source.name().to_owned(),
            guard_permille: limit.guard_permille,
            outside_per_minute: limit.outside_per_minute,
            observed_at: limit.observed_at.map(Timestamp::as_millis),
        }
    }

    fn limit(self) -> Option<LearnedLimit> {
        Some(LearnedLimit {
            measure: Measure::named(&self.measure)?,
            source: LimitSource::named(&self.source)?,
            account: self.account.into(),
            group: self.group.into(),
            limit: self.limit,
            guard_permille: self.guard_permille,
            outside_per_minute: self.outside_per_minute,
            observed_at: self.observed_at.map(Timestamp::from_millis),
        })
    }
}

impl ClosedRow {
    fn of(closed: &ClosedGroup) -> ClosedRow {
        let (account, group) = (closed.account.to_string(), closed.group.to_string());
        ClosedRow { account, group, until: closed.until.as_millis() }
    }

    fn closed(self) -> ClosedGroup {
        let until = Timestamp::from_millis(self.until);
        ClosedGroup { account: self.account.into(), group: self.group.into(), until }
    }
}

impl WindowRow {
    fn of(window: &KnownWindow) -> WindowRow {
        WindowRow {
            account: window.account.to_string(),
            name: window.name.to_string(),
            used: window.used,
            since: window.since.as_millis(),
            resets_at: window.resets_at.as_millis(),
            observed: window.observed,
        }
    }

    fn window(self) -> KnownWindow {
        KnownWindow {
            account: self.account.into(),
            name: self.name.into(),
            used: self.used,
            since: Timestamp::from_millis(self.since),
            resets_at: Timestamp::from_millis(self.resets_at),
            observed: self.observed,
        }
    }
}

impl EstimateRow {
    /// JSON knows no number that is none; one such would make the whole file unreadable.
    fn of(account: &Arc<str>, learned: &LearnedEstimate) -> Option<EstimateRow> {
        let LearnedEstimate { model, client, calls, weights, spread, caution, templates, outputs, errors } = learned;
        let of_templates = templates.iter().flat_map(|template| [template.offset, template.doubt]);
        let figures = weights.iter().copied().chain([*spread, *caution]).chain(of_templates);
        let sensible = figures.chain(errors.iter().copied().map(f64::from)).all(f64::is_finite);
        sensible.then(|| EstimateRow {
            account: account.to_string(),
            model: model.to_string(),
            client: client.to_string(),
            calls: *calls,
            weights: weights.clone(),
            spread: *spread,
            caution: *caution,
            templates: templates.iter().map(TemplateRow::of).collect(),
            outputs: outputs.clone(),
            errors: errors.clone(),
        })
    }

    fn estimate(self) -> (Arc<str>, LearnedEstimate) {
        let learned = LearnedEstimate {
            model: self.model.into(),
            client: self.client.into(),
            calls: self.calls,
            weights: self.weights,
            spread: self.spread,
            caution: self.caution,
            templates: self.templates.into_iter().map(TemplateRow::template).collect(),
            outputs: self.outputs,
            errors: self.errors,
        };
        (self.account.into(), learned)
    }
}

impl TemplateRow {
    fn of(template: &LearnedTemplate) -> TemplateRow {
        let LearnedTemplate { head, offset, doubt, outputs } = template.clone();
        TemplateRow { head, offset, doubt, outputs }
    }

    fn template(self) -> LearnedTemplate {
        let TemplateRow { head, offset, doubt, outputs } = self;
        LearnedTemplate { head, offset, doubt, outputs }
    }
}

impl ReservationRow {
    fn of(account: &Arc<str>, held: &Reservation) -> ReservationRow {
        ReservationRow {
            account: account.to_string(),
            id: held.id.0.to_string(),
            client: held.client.to_string(),
            model: held.model.to_string(),
            calls: held.calls,
            input_tokens: held.input_tokens,
            output_tokens: held.output_tokens,
            ttl_ms: u64::try_from(held.ttl.as_millis()).unwrap_or(u64::MAX),
            starts_at: held.starts_at.as_millis(),
            expires_at: held.expires_at.as_millis(),
            used: held.used,
            cost_nanos: held.cost.as_nanos(),
            cost_left_nanos: held.cost_left.as_nanos(),
            tokens_left: held.tokens_left,
        }
    }

    fn reservation(self) -> Option<(Arc<str>, Reservation)> {
        let id = ReservationId(self.id.parse().ok()?);
        let held = Reservation {
            id,
            client: self.client.into(),
            // The account is found by its name.
            account: domain::admission::AccountId::default(),
            model: self.model.into(),
            calls: self.calls,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            ttl: Duration::from_millis(self.ttl_ms),
            starts_at: Timestamp::from_millis(self.starts_at),
            expires_at: Timestamp::from_millis(self.expires_at),
            used: self.used,
            cost: Usd::from_nanos(self.cost_nanos),
            cost_left: Usd::from_nanos(self.cost_left_nanos),
            tokens_left: self.tokens_left,
        };
        Some((self.account.into(), held))
    }
}

#[cfg(test)]
mod tests {
    use domain::call::CallId;

    use super::*;

    fn memory() -> Memory {
        let at = Timestamp::from_millis;
        let reservation = Reservation {
            id: ReservationId(CallId::new(at(1_790_000_000_000), 7)),
            client: "ci".into(),
            account: domain::admission::AccountId::default(),
            model: "claude-sonnet-4-5".into(),
            calls: 200,
            input_tokens: 1,
            output_tokens: 2,
            ttl: Duration::from_secs(600),
            starts_at: at(1),
            expires_at: at(600_001),
            used: 3,
            cost: Usd::from_nanos(9),
            cost_left: Usd::from_nanos(-2),
            tokens_left: -1,
        };
        Memory {
            limits: vec![LearnedLimit {
                account: "anthropic".into(),
                group: "sonnet-4".into(),
                measure: Measure::InputTokens,
                limit: 30_000,
                source: LimitSource::Headers,
                guard_permille: 930,
                outside_per_minute: 12,
                observed_at: Some(at(5)),
            }],
            closed: vec![ClosedGroup { account: "anthropic".into(), group: "opus-4".into(), until: at(9) }],
            windows: vec![KnownWindow {
                account: "anthropic".into(),
                name: "5h".into(),
                used: 4_200,
                since: at(1),
                resets_at: at(18_000_001),
                observed: true,
            }],
            estimates: vec![("anthropic".into(), estimate())],
            reservations: vec![("anthropic".into(), reservation)],
            paused: vec![Class::Background],
            paused_scopes: vec![("session:s-1".into(), at(7))],
        }
    }

    fn estimate() -> LearnedEstimate {
        let template = LearnedTemplate { head: 7, offset: -12.5, doubt: 4.0, outputs: vec![30] };
        LearnedEstimate {
            model: "claude-sonnet-4-5".into(),
            client: "ci".into(),
            calls: 50,
            weights: vec![1.0, 0.75],
            spread: 0.25,
            caution: 2.5,
            templates: vec![template],
            outputs: vec![100, 200],
            errors: vec![0.5, 0.125],
        }
    }

    fn kept(dir: &Path, memory: &Memory) {
        assert_eq!(Keeper::of(dir).keep(memory), None);
    }

    #[test]
    fn what_is_kept_is_read_back() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(read(dir.path()), Memory::default(), "no file is no memory");
        kept(dir.path(), &memory());
        assert_eq!(read(dir.path()), memory());
    }

    #[test]
    fn a_file_that_is_damaged_or_from_the_future_is_passed_over() {
        let dir = tempfile::tempdir().expect("a folder");
        kept(dir.path(), &memory());
        let file = dir.path().join(FILE);
        let whole = std::fs::read(&file).expect("a file");
        for length in 0..whole.len() {
            std::fs::write(&file, &whole[..length]).expect("written");
            assert_eq!(read(dir.path()), Memory::default(), "{length} bytes of it");
        }
        std::fs::write(&file, r#"{"version":2,"limits":[],"windows":"other"}"#).expect("written");
        assert_eq!(read(dir.path()), Memory::default());
        let strange = String::from_utf8(whole).expect("text").replace("input_tokens\"", "moons\"");
        std::fs::write(&file, strange).expect("written");
        assert_eq!(read(dir.path()).limits, []);
    }

    #[test]
    fn a_figure_that_is_no_number_costs_its_own_row_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let broken = LearnedEstimate { spread: f64::NAN, ..estimate() };
        let estimates = vec![("anthropic".into(), broken), ("anthropic".into(), estimate())];
        kept(dir.path(), &Memory { estimates, ..memory() });
        assert_eq!(read(dir.path()), memory());
    }

    #[test]
    fn what_has_not_changed_is_not_written_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut keeper = Keeper::of(dir.path());
        keeper.keep(&memory());
        std::fs::remove_file(dir.path().join(FILE)).expect("removed");
        keeper.keep(&memory());
        assert!(!dir.path().join(FILE).exists());
        keeper.keep(&Memory::default());
        assert!(dir.path().join(FILE).exists());
    }

    #[test]
    fn a_folder_that_takes_nothing_is_told_of_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let gone = dir.path().join("gone");
        let mut keeper = Keeper::of(&gone);
        let said = keeper.keep(&memory()).expect("a sentence");
        assert!(said.contains("is not kept") && said.contains("learned.json"), "{said}");
        assert_eq!(keeper.keep(&memory()), None);
        std::fs::create_dir(&gone).expect("made");
        assert_eq!(keeper.keep(&memory()).as_deref(), Some("what was learned is kept again"));
        assert_eq!(read(&gone), memory());
    }
}
