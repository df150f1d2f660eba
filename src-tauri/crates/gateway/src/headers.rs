//! What a client tells us in headers: whose call it is, how urgent, how long it may wait.

use std::sync::Arc;
use std::time::Duration;

use domain::admission::ReservationId;
use domain::attribution::{AttributeRule, Circumstances, add_tags, labels};
use domain::cache::Wish;
use domain::call::{Attribution, Class};
use domain::config::Client;
use http::HeaderMap;

/// No name or tag is kept longer.
const TEXT_CHARS_MAX: usize = 256;
const TAGS_MAX: usize = 16;

/// The client's class, or a lower one that the call asks for.
pub(crate) fn class(headers: &HeaderMap, client: Class) -> Class {
    let asked = text(headers, "x-tidegate-priority").and_then(|name| Class::named(&name));
    asked.map_or(client, |asked| asked.max(client))
}

/// What the call says of itself stands before what the rules say, and that before what is set for the client.
pub(crate) fn attribution(headers: &HeaderMap, client: &Client, rules: &[AttributeRule]) -> Attribution {
    let session = text(headers, "x-claude-code-session-id");
    let user_agent = text(headers, "user-agent");
    let or_none = |text: &Option<Arc<str>>| text.clone().unwrap_or_default();
    let (user_agent, of_session) = (or_none(&user_agent), or_none(&session));
    let circumstances = Circumstances { user_agent: &user_agent, session: &of_session, ..Circumstances::default() };
    let ruled = labels(rules, &circumstances);
    let mut tags = tags(headers);
    add_tags(&mut tags, &ruled.tags);
    Attribution {
        client: client.name.clone(),
        person: ruled.person.or_else(|| client.person.clone()),
        project: text(headers, "x-tidegate-project").or(ruled.project).or_else(|| client.project.clone()),
        tenant: text(headers, "x-tidegate-tenant").or(ruled.tenant),
        session,
        agent: text(headers, "x-claude-code-agent-id").or(ruled.agent),
        tags,
    }
}

/// How long the call may stand in the queue.
pub(crate) fn max_wait(headers: &HeaderMap, settings: Duration) -> Duration {
    let asked = text(headers, "x-tidegate-max-wait").and_then(|value| seconds(&value));
    let patience = ["x-stainless-timeout", "x-stainless-read-timeout"]
        .into_iter()
        .filter_map(|name| text(headers, name).and_then(|value| seconds(&value)))
        .map(|patience| patience.saturating_sub(time_to_answer(patience)));
    patience.chain(asked).fold(settings, Duration::min)
}

/// Of a client's patience, what is left for the answer itself: a tenth, from half a second to half a minute.
fn time_to_answer(patience: Duration) -> Duration {
    (patience / 10).clamp(Duration::from_millis(500), Duration::from_secs(30))
}

/// Which try of its client it is, from 0. SDKs count; `None` where the client doesn't.
pub(crate) fn tries(headers: &HeaderMap) -> Option<u32> {
    text(headers, "x-stainless-retry-count")?.parse().ok()
}

/// The reservation that a call is to draw on; a name that is none counts as none.
pub(crate) fn reservation(headers: &HeaderMap) -> Option<ReservationId> {
    text(headers, "x-tidegate-reservation")?.parse().ok().map(ReservationId)
}

/// What the call wants of the response cache.
pub(crate) fn cache_wish(headers: &HeaderMap) -> Wish {
    text(headers, "x-tidegate-cache").map_or(Wish::Use, |name| Wish::named(&name))
}

fn tags(headers: &HeaderMap) -> Vec<(Arc<str>, Arc<str>)> {
    headers
        .get_all("x-tidegate-tag")
        .iter()
        .filter_map(|value| std::str::from_utf8(value.as_bytes()).ok())
        .filter_map(|tag| tag.split_once('='))
        .map(|(key, value)| (short(key.trim()), short(value.trim())))
        .filter(|(key, _)| !key.is_empty())
        .take(TAGS_MAX)
        .collect()
}

fn text(headers: &HeaderMap, name: &str) -> Option<Arc<str>> {
    let value = std::str::from_utf8(headers.get(name)?.as_bytes()).ok()?.trim();
    (!value.is_empty()).then(|| short(value))
}

pub(crate) fn short(text: &str) -> Arc<str> {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => text[..end].into(),
        None => text.into(),
    }
}

fn seconds(value: &str) -> Option<Duration> {
    let number: f64 = value.parse().ok()?;
    Duration::try_from_secs_f64(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::attribution::{Labels, When};

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, http::HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        map
    }

    #[test]
    fn a_call_may_lower_its_class_and_never_raise_it() {
        for (client, asked, expected) in [
            (Class::Normal, "background", Class::Background),
            (Class::Normal, "critical", Class::Normal),
            (Class::Critical, "normal", Class::Normal),
            (Class::Background, "normal", Class::Background),
            (Class::Normal, "urgent", Class::Normal),
        ] {
            assert_eq!(class(&headers(&[("x-tidegate-priority", asked)]), client), expected, "{asked}");
        }
    }

    #[test]
    fn the_wait_is_the_smallest_of_all_that_bound_it() {
        let wait = |pairs: &[(&'static str, &str)]| max_wait(&headers(pairs), Duration::from_secs(600)).as_millis();
        assert_eq!(wait(&[]), 600_000);
        assert_eq!(wait(&[("x-tidegate-max-wait", "0")]), 0);
        assert_eq!(wait(&[("x-tidegate-max-wait", "2.5")]), 2_500);
        assert_eq!(wait(&[("x-tidegate-max-wait", "9999")]), 600_000);
        assert_eq!(wait(&[("x-stainless-timeout", "600")]), 570_000);
        assert_eq!(wait(&[("x-stainless-read-timeout", "2")]), 1_500);
        assert_eq!(wait(&[("x-stainless-read-timeout", "NOT_GIVEN")]), 600_000);
        assert_eq!(wait(&[("x-stainless-read-timeout", "-1")]), 600_000);
        assert_eq!(wait(&[("x-stainless-timeout", "10"), ("x-tidegate-max-wait", "3")]), 3_000);
    }

    #[test]
    fn tries_and_reservations_are_read_where_they_are_some() {
        let of = |name, value| headers(&[(name, value)]);
        for (value, expected) in [("0", Some(0)), ("2", Some(2)), ("-1", None), ("NOT_GIVEN", None), ("", None)] {
            assert_eq!(tries(&of("x-stainless-retry-count", value)), expected, "{value}");
        }
        let id = "01JDZZZZZZZZZZZZZZZZZZZZZZ";
        assert_eq!(reservation(&of("x-tidegate-reservation", id)), Some(ReservationId(id.parse().expect("an id"))));
        assert_eq!(reservation(&of("x-tidegate-reservation", "mine")), None);
    }

    #[test]
    fn attribution_comes_from_headers_and_else_from_the_client() {
        let client = Client {
            name: "ci".into(),
            class: Class::Normal,
            weight: 1,
            person: Some("ann".into()),
            project: Some("shop".into()),
            daily: None,
            weekly: None,
            monthly: None,
            max_share: None,
        };
        let who = attribution(
            &headers(&[
                ("x-tidegate-tag", "team=küche"),
                ("x-tidegate-tag", "nonsense"),
                ("x-tidegate-tag", "pr = 7=8"),
                ("x-tidegate-tenant", &"x".repeat(300)),
                ("x-claude-code-session-id", "s1"),
            ]),
            &client,
            &[],
        );
        let pair = |key: &str, value: &str| (Arc::from(key), Arc::from(value));
        assert_eq!(who.tags, [pair("team", "küche"), pair("pr", "7=8")]);
        assert_eq!((who.project.as_deref(), who.session.as_deref()), (Some("shop"), Some("s1")));
        assert_eq!(who.tenant.map(|tenant| tenant.len()), Some(256));
    }

    #[test]
    fn what_a_call_says_of_itself_stands_before_the_rules_and_they_before_the_client() {
        let client = Client {
            name: "ci".into(),
            class: Class::Normal,
            weight: 1,
            person: Some("ann".into()),
            project: Some("shop".into()),
            daily: None,
            weekly: None,
            monthly: None,
            max_share: None,
        };
        let rule = |when: &str, labels: Labels| {
            let (when, pattern) = when.split_once(':').expect("a kind and a pattern");
            AttributeRule { when: When::named(when).expect("a kind"), pattern: pattern.into(), labels }
        };
        let some = |text: &str| Some(Arc::from(text));
        let says = Labels {
            client: some("never"),
            person: some("bob"),
            project: some("bots"),
            tenant: some("t"),
            agent: some("nightly"),
            tags: vec![("team".into(), "night".into()), ("kind".into(), "bot".into())],
        };
        let of_session = Labels { project: some("one"), ..Labels::default() };
        let rules = [rule("session:s-1", of_session), rule("user_agent:bot/*", says), rule("cwd:*", Labels::default())];
        let said = |pairs: &[(&'static str, &str)]| {
            let who = attribution(&headers(pairs), &client, &rules);
            let names = [Some(who.client), who.person, who.project, who.tenant, who.agent];
            let tags = who.tags.iter().map(|(key, value)| format!("{key}={value}"));
            let names = names.into_iter().map(|name| name.map_or_else(|| "-".to_owned(), |name| name.to_string()));
            names.chain(tags).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(said(&[("user-agent", "curl/8")]), "ci ann shop - -");
        assert_eq!(said(&[("user-agent", "bot/1")]), "ci bob bots t nightly team=night kind=bot");
        let told = [("x-tidegate-project", "p"), ("x-tidegate-tenant", "u"), ("x-claude-code-agent-id", "a")];
        let told = [&told[..], &[("user-agent", "bot/1"), ("x-tidegate-tag", "team=day")]].concat();
        assert_eq!(said(&told), "ci bob p u a team=day kind=bot");
        let of_session = [("user-agent", "bot/1"), ("x-claude-code-session-id", "s-1")];
        assert_eq!(said(&of_session), "ci bob one t nightly team=night kind=bot");
    }
}
