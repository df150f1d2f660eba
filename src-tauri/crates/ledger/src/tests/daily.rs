//! Days and months as CSV.

use super::*;
use crate::{Span, SumColumns};

const BERLIN: Calendar = Calendar::in_zone(Tz::Europe__Berlin);

async fn exported(ledger: &Ledger, span: Span, filter: &Filter, calendar: Calendar, columns: &str) -> String {
    let columns = SumColumns::named(Some(columns), None).expect("columns");
    let mut out = Vec::new();
    ledger.export_sums(span, filter, calendar, &columns, &mut out).await.expect("exported");
    String::from_utf8(out).expect("text")
}

fn between(from: &str, to: &str) -> Filter {
    Filter { from: Some(at(from)), to: Some(at(to)), client: None }
}

/// A call each hour of two days around the night in which Berlin's clocks go back.
async fn two_days_of_hours(ledger: &Ledger) {
    for hour in 0..48_u32 {
        let started_at = at("2026-10-24T12:00:00Z").after(Duration::from_secs(3_600 * u64::from(hour)));
        let mut call = call(hour.into(), started_at);
        call.who.client = if hour % 2 == 0 { "ci" } else { "=run()" }.into();
        settle(ledger, &entry(call)).await;
    }
}

#[tokio::test]
async fn a_day_of_25_hours_has_25_hours_of_calls_and_each_line_names_its_zone() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    two_days_of_hours(&ledger).await;
    let days = between("2026-10-23T22:00:00Z", "2026-10-26T23:00:00Z");
    let text = exported(&ledger, Span::Day, &days, BERLIN, "date,timezone,client,calls,cost_usd").await;
    let lines = [
        "date,timezone,client,calls,cost_usd",
        "2026-10-24,Europe/Berlin,\"'=run()\",5,0.001650000",
        "2026-10-24,Europe/Berlin,ci,5,0.001650000",
        "2026-10-25,Europe/Berlin,\"'=run()\",12,0.003960000",
        "2026-10-25,Europe/Berlin,ci,13,0.004290000",
        "2026-10-26,Europe/Berlin,\"'=run()\",7,0.002310000",
        "2026-10-26,Europe/Berlin,ci,6,0.001980000",
        "",
    ];
    assert_eq!(text, lines.join("\r\n"));
}

#[tokio::test]
async fn a_day_has_the_columns_of_the_contract_and_an_unknown_cost_is_empty() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    settle(&ledger, &Entry { cost: None, ..entry(call(1, noon())) }).await;
    let mut out = Vec::new();
    let all = between("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
    ledger.export_sums(Span::Month, &all, Calendar::UTC, &SumColumns::all(), &mut out).await.expect("exported");
    let expected = "date,timezone,client,person,project,upstream,model,calls,input_tokens,cache_write_5m_tokens,\
         cache_write_1h_tokens,cache_read_tokens,output_tokens,cost_usd,unpriced_calls\r\n\
         2026-11,UTC,ci,,,anthropic,claude-sonnet-4-5,1,10,0,0,0,20,,1\r\n";
    assert_eq!(String::from_utf8(out).expect("text"), expected);
}

#[tokio::test]
async fn only_the_client_and_the_time_that_were_asked_for_are_in_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    two_days_of_hours(&ledger).await;
    let filter = Filter { client: Some("ci".into()), ..between("2026-10-24T12:07:00Z", "2026-10-24T18:00:00.001Z") };
    let text = exported(&ledger, Span::Day, &filter, Calendar::UTC, "date,client,calls").await;
    assert_eq!(text, "date,client,calls\r\n2026-10-24,ci,3\r\n");
}

#[tokio::test]
async fn days_and_months_add_up_to_the_same_and_a_refused_call_is_in_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    for number in 0..200_u32 {
        let started_at = at("2026-08-31T20:00:00Z").after(Duration::from_secs(u64::from(number) * 30_011));
        let outcome = if number % 7 == 0 { Outcome::Refused } else { Outcome::Completed };
        settle(&ledger, &Entry { outcome, ..entry(call(number.into(), started_at)) }).await;
    }
    let filter = between("2020-01-01T00:00:00Z", "2030-01-01T00:00:00Z");
    for span in [Span::Day, Span::Month] {
        for zone in [Tz::Asia__Kathmandu, Tz::America__St_Johns, Tz::UTC] {
            let text = exported(&ledger, span, &filter, Calendar::in_zone(zone), "calls").await;
            let calls: u64 = text.lines().skip(1).map(|line| line.parse::<u64>().expect("a count")).sum();
            assert_eq!(calls, 171, "{span:?} {zone}");
        }
    }
}

#[test]
fn an_unknown_column_of_sums_is_named() {
    let error = SumColumns::named(Some("date,call_id"), None).expect_err("unknown").to_string();
    assert!(error.starts_with("there is no column \"call_id\"; there are date,timezone,client,"), "{error}");
}

#[tokio::test]
async fn lines_that_agree_in_what_is_asked_for_are_one_and_no_call_is_lost_or_doubled() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    for (number, (person, project, model)) in
        [("mira", "web", "a"), ("mira", "web", "b"), ("mira", "api", "a"), ("sam", "web", "a"), ("", "web", "a")]
            .into_iter()
            .enumerate()
    {
        let mut call = call(number as u128, noon());
        (call.who.person, call.who.project) = (Some(person.into()), Some(project.into()));
        call.model = model.into();
        settle(&ledger, &entry(call)).await;
    }
    let by = async |columns, by| {
        let columns = SumColumns::named(columns, Some(by)).expect("columns");
        let mut out = Vec::new();
        let all = between("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        ledger.export_sums(Span::Month, &all, Calendar::UTC, &columns, &mut out).await.expect("exported");
        String::from_utf8(out).expect("text")
    };
    let lines = [
        "date,person,project,calls",
        "2026-11,,web,1",
        "2026-11,mira,api,1",
        "2026-11,mira,web,2",
        "2026-11,sam,web,1",
        "",
    ];
    assert_eq!(by(Some("date,person,project,calls"), "project,person").await, lines.join("\r\n"));
    let text = by(None, "person").await;
    assert!(text.starts_with("date,timezone,person,calls,input_tokens,"), "{text}");
    let error = SumColumns::named(Some("date,model"), Some("person")).expect_err("not summed by it").to_string();
    assert!(error.starts_with("there is no column \"model\"; there are date,timezone,person,calls,"), "{error}");
    let error = SumColumns::named(None, Some("session")).expect_err("unknown").to_string();
    assert_eq!(error, "there is no column \"session\"; there are client,person,project,upstream,model,device");
}

#[tokio::test]
async fn the_latest_call_of_each_client_is_known() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    two_days_of_hours(&ledger).await;
    let latest = ledger.latest_of_clients().await.expect("an answer");
    let expected = [("=run()", "2026-10-26T11:00:00Z"), ("ci", "2026-10-26T10:00:00Z")];
    assert_eq!(latest, expected.map(|(client, moment)| (client.to_owned(), at(moment))).into());
}
