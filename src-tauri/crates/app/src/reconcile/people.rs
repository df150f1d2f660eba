//! Who used Claude Code, as its report tells it, against the calls of the same people in the ledger.

use std::collections::BTreeMap;

use domain::money::Usd;
use domain::time::Calendar;
use ledger::{By, Totals};

use super::asking::{Admin, NoReport, Question};
use super::wire::PeoplePage;
use super::{Days, ReconciledPersonView, date};
use crate::App;

const PEOPLE: &str = "Claude Code report";

/// What is reported of a person in all days.
#[derive(Default)]
pub(super) struct Person {
    customer_type: Option<String>,
    tokens: u64,
    cost: Usd,
}

/// By e-mail address, or the name of an API key.
pub(super) async fn read(admin: &Admin, days: Days) -> Result<BTreeMap<String, Person>, NoReport> {
    let mut people: BTreeMap<String, Person> = BTreeMap::new();
    for day in days.from..=days.to {
        let parameters = [("starting_at", date(day)), ("limit", "1000".to_owned())];
        let path = "usage_report/claude_code";
        let pages: Vec<PeoplePage> =
            admin.pages(Question { what: PEOPLE, path, parameters: &parameters, next: "page" }).await?;
        for row in pages.into_iter().flat_map(|page| page.data) {
            let Some(name) = row.actor.email_address.or(row.actor.api_key_name) else { continue };
            let person = people.entry(name).or_default();
            person.customer_type = row.customer_type.or(person.customer_type.take());
            for model in &row.model_breakdown {
                let counted = model.tokens().and_then(|tokens| Ok((tokens, model.usd()?)));
                let (tokens, cost) = counted.map_err(|reason| admin.unreadable(PEOPLE, reason))?;
                person.tokens = person.tokens.saturating_add(tokens);
                person.cost += cost;
            }
        }
    }
    Ok(people)
}

impl App {
    /// A person of the ledger is one of the report's whose address they have.
    pub(super) async fn against_people(
        &self,
        people: BTreeMap<String, Person>,
        days: Days,
    ) -> Result<Vec<ReconciledPersonView>, ledger::Error> {
        if people.is_empty() {
            return Ok(vec![]);
        }
        let (from, to) = days.moments();
        let ours = self.ledger.usage(&By::Person, from, to, Calendar::UTC).await?;
        let of = |name: &str| {
            let mut totals = Totals::default();
            ours.rows.iter().filter(|row| row.key.eq_ignore_ascii_case(name)).for_each(|row| totals.add(row.totals));
            totals
        };
        let view = |(name, person): (String, Person)| {
            let ours = of(&name);
            let tokens = ours.tokens.prompt().saturating_add(ours.tokens.output);
            let verdict = match tokens.cmp(&person.tokens) {
                std::cmp::Ordering::Equal => "agree",
                std::cmp::Ordering::Less => "elsewhere",
                std::cmp::Ordering::Greater => "ledger_only",
            };
            ReconciledPersonView {
                person: name,
                customer_type: person.customer_type,
                reported_tokens: person.tokens,
                ledger_tokens: tokens,
                reported_usd: person.cost.to_string(),
                ledger_usd: ours.known_cost.to_string(),
                verdict: verdict.to_owned(),
            }
        };
        Ok(people.into_iter().map(view).collect())
    }
}
