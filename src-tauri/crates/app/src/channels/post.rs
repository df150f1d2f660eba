//! What each kind of channel wants to be sent. Limits and forms are those of the services' own documentation.

use aws_lc_rs::hmac;
use domain::config::ChannelKind;
use domain::time::Timestamp;
use serde_json::{Value, json};

use crate::alerts::DIGEST;
use crate::view::AlertView;

/// One request, ready to be sent.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

/// Where a channel leads and what opens it, as they are when they are used.
pub(super) struct Opened<'a> {
    pub(super) kind: ChannelKind,
    pub(super) url: &'a str,
    /// Empty where it has none.
    pub(super) secret: &'a str,
}

/// Where a kind leads that the settings give no address.
pub(super) const fn usual_url(kind: ChannelKind) -> &'static str {
    match kind {
        ChannelKind::PagerDuty => PAGER_DUTY,
        ChannelKind::Opsgenie => OPSGENIE,
        ChannelKind::Jira => JIRA,
        ChannelKind::Desktop
        | ChannelKind::Slack
        | ChannelKind::Discord
        | ChannelKind::IncidentIo
        | ChannelKind::Webhook => "",
    }
}

/// The European ones are `https://events.eu.pagerduty.com/v2/enqueue` and `https://api.eu.opsgenie.com/v2/alerts`.
const PAGER_DUTY: &str = "https://events.pagerduty.com/v2/enqueue";
/// The service ends on 2027-04-05.
const OPSGENIE: &str = "https://api.opsgenie.com/v2/alerts";
/// Takes Opsgenie's form.
const JIRA: &str = "https://api.atlassian.com/jsm/ops/integration/v2/alerts";

/// Says that an alert has begun; where it has `resolved_at`, that it is over.
pub(super) fn post(opened: &Opened<'_>, alert: &AlertView, now: Timestamp) -> Post {
    let Opened { kind, url, secret } = opened;
    match kind {
        // One of the desktop is shown here and not sent.
        ChannelKind::Desktop | ChannelKind::Webhook => signed(url, secret, alert, now),
        ChannelKind::Slack => sent(url, &slack(alert)),
        ChannelKind::Discord => sent(url, &discord(alert)),
        ChannelKind::PagerDuty => sent(url, &pager_duty(secret, alert)),
        ChannelKind::Opsgenie | ChannelKind::Jira => opsgenie(url.trim_end_matches('/'), secret, alert),
        ChannelKind::IncidentIo => incident_io(url, secret, alert),
    }
}

fn sent(url: &str, body: &Value) -> Post {
    Post { url: url.to_owned(), headers: vec![], body: body.to_string().into_bytes() }
}

fn is_over(alert: &AlertView) -> bool {
    alert.resolved_at.is_some()
}

/// `Tidegate critical: tokens-critical`, `Tidegate, resolved: tokens-critical`.
fn title(alert: &AlertView) -> String {
    match is_over(alert) {
        true => format!("Tidegate, resolved: {}", alert.rule),
        false => format!("Tidegate {}: {}", alert.severity, alert.rule),
    }
}

fn facts(alert: &AlertView) -> Vec<(&'static str, &str)> {
    let all = [
        ("scope", alert.scope.as_str()),
        ("value", &alert.value),
        ("threshold", &alert.threshold),
        ("since", &alert.crossed_at),
        ("resolved", alert.resolved_at.as_deref().unwrap_or_default()),
        ("resets", alert.resets_at.as_deref().unwrap_or_default()),
    ];
    all.into_iter().filter(|(_, text)| !text.is_empty()).collect()
}

/// Services count characters and refuse what is longer.
fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    text.chars().take(chars_max - 1).chain(['…']).collect()
}

/// The message, whole where it fits; else up to the end of a sentence, and where the rest is.
fn fitted(alert: &AlertView, chars_max: usize, length: impl Fn(char) -> usize) -> String {
    let text = &alert.message;
    if text.chars().map(&length).sum::<usize>() <= chars_max {
        return text.clone();
    }
    let rest = format!("… (`tidegate {}` has the rest)", if alert.rule == DIGEST { "report" } else { "alert list" });
    let room = chars_max.saturating_sub(rest.chars().count());
    let (mut used, mut end, mut sentence) = (0, 0, 0);
    for (at, char) in text.char_indices() {
        used += length(char);
        if used > room {
            break;
        }
        end = at + char.len_utf8();
        match char {
            '\n' => sentence = at,
            '.' if text[end..].starts_with(' ') => sentence = end,
            _ => {}
        }
    }
    let end = if sentence > end / 2 { sentence } else { end };
    format!("{}{rest}", &text[..end])
}

const fn plain(_char: char) -> usize {
    1
}

/// In Slack's own text `<` begins a command such as `<!channel>`.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const fn escaped_length(char: char) -> usize {
    match char {
        '&' => 5,
        '<' | '>' => 4,
        _ => 1,
    }
}

/// Of a message's text; 40,000 are taken with its title.
const SLACK_TEXT_MAX: usize = 39_000;

fn slack(alert: &AlertView) -> Value {
    let field = |(name, text): (&str, &str)| json!({"type": "mrkdwn", "text": format!("*{name}*\n{}", escaped(&cut(text, 300)))});
    let fields: Vec<Value> = facts(alert).into_iter().map(field).collect();
    let message = escaped(&fitted(alert, SLACK_TEXT_MAX, escaped_length));
    json!({
        "text": format!("{}: {message}", escaped(&cut(&title(alert), 150))),
        "attachments": [{"color": format!("#{:06x}", color(alert)), "blocks": [{"type": "section", "fields": fields}]}],
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

/// Of a description, and of all text of an embed.
const DISCORD_TEXT_MAX: usize = 4_096;
const DISCORD_EMBED_MAX: usize = 6_000;

fn discord(alert: &AlertView) -> Value {
    let field = |(name, text): (&str, String)| json!({"name": name, "value": text, "inline": true});
    let title = cut(&title(alert), 256);
    let facts: Vec<(&str, String)> = facts(alert).into_iter().map(|(name, text)| (name, cut(text, 300))).collect();
    let beside: usize = facts.iter().map(|(name, text)| name.len() + text.chars().count()).sum();
    let room = DISCORD_EMBED_MAX.saturating_sub(beside + title.chars().count());
    json!({
        "username": "Tidegate",
        "embeds": [{
            "title": title,
            "description": fitted(alert, room.min(DISCORD_TEXT_MAX), plain),
            "color": color(alert),
            "timestamp": alert.resolved_at.as_ref().unwrap_or(&alert.crossed_at),
            "fields": facts.into_iter().map(field).collect::<Vec<_>>(),
        }],
        // A name that reads like a mention calls nobody.
        "allowed_mentions": {"parse": []},
    })
}

fn color(alert: &AlertView) -> u32 {
    match alert.severity.as_str() {
        _ if is_over(alert) => 0x2e_7d32,
        "info" => 0x15_65c0,
        "warning" => 0xb2_6a00,
        _ => 0xc6_2828,
    }
}

fn pager_duty(routing_key: &str, alert: &AlertView) -> Value {
    let severity = match alert.severity.as_str() {
        "info" => "info",
        "warning" => "warning",
        "critical" => "error",
        _ => "critical",
    };
    let event = json!({"routing_key": routing_key, "dedup_key": alert.alert_id});
    let more = match is_over(alert) {
        true => json!({"event_action": "resolve"}),
        false => json!({
            "event_action": "trigger",
            "client": "Tidegate",
            "payload": {
                "summary": summary(alert),
                "source": "tidegate",
                "severity": severity,
                "timestamp": alert.crossed_at,
                "component": cut(&alert.scope, 255),
                "class": cut(&alert.rule, 255),
                // A summary takes little; here all of it fits.
                "custom_details": merged(details(alert), json!({"message": fitted(alert, 15_000, plain)})),
            },
        }),
    };
    merged(event, more)
}

fn summary(alert: &AlertView) -> String {
    const CHARS_MAX: usize = 1_024;
    let title = cut(&title(alert), 256);
    format!("{title}: {}", fitted(alert, CHARS_MAX - title.chars().count() - 2, plain))
}

fn details(alert: &AlertView) -> Value {
    facts(alert).into_iter().map(|(name, text)| (name.to_owned(), Value::from(cut(text, 1_000)))).collect()
}

fn merged(mut object: Value, more: Value) -> Value {
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    object
}

/// Opsgenie's form. An alert is closed by its alias.
fn opsgenie(base: &str, key: &str, alert: &AlertView) -> Post {
    let priority = match alert.severity.as_str() {
        "emergency" => "P1",
        "critical" => "P2",
        "warning" => "P3",
        _ => "P5",
    };
    let (url, body) = match is_over(alert) {
        true => (
            format!("{base}/{}/close?identifierType=alias", alert.alert_id),
            json!({"source": "tidegate", "note": fitted(alert, 15_000, plain)}),
        ),
        false => (
            base.to_owned(),
            json!({
                "message": cut(&title(alert), 130),
                "alias": alert.alert_id,
                "description": fitted(alert, 15_000, plain),
                "details": details(alert),
                "entity": cut(&alert.scope, 512),
                "source": "tidegate",
                "priority": priority,
            }),
        ),
    };
    Post { headers: vec![("authorization", format!("GenieKey {key}"))], ..sent(&url, &body) }
}

fn incident_io(url: &str, token: &str, alert: &AlertView) -> Post {
    let body = json!({
        "title": cut(&title(alert), 256),
        // It names no limit; no digest is longer.
        "description": fitted(alert, 15_000, plain),
        "status": if is_over(alert) { "resolved" } else { "firing" },
        "deduplication_key": alert.alert_id,
        "metadata": merged(details(alert), json!({"severity": alert.severity, "rule": alert.rule})),
    });
    Post { headers: vec![("authorization", format!("Bearer {token}"))], ..sent(url, &body) }
}

/// Whoever has the secret can tell that it is from here, unchanged, and not an old one sent again.
fn signed(url: &str, secret: &str, alert: &AlertView, now: Timestamp) -> Post {
    let event = if is_over(alert) { "resolved" } else { "crossed" };
    let mut post = sent(url, &json!({"event": event, "alert": alert}));
    let at = (now.as_millis() / 1_000).to_string();
    post.headers.push(("x-tidegate-timestamp", at.clone()));
    if !secret.is_empty() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = hmac::sign(&key, &[at.as_bytes(), b".", &post.body].concat());
        post.headers.push(("x-tidegate-signature", format!("v1={}", hex(tag.as_ref()))));
    }
    post
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(severity: &str, is_over: bool) -> AlertView {
        AlertView {
            alert_id: "01KAXXXXXXXXXXXXXXXXXXXXXX".to_owned(),
            rule: "tokens-critical".to_owned(),
            scope: "week".to_owned(),
            threshold: "0.9".to_owned(),
            value: "0.91".to_owned(),
            severity: severity.to_owned(),
            message: "91 % of the window \"week\" is used".to_owned(),
            crossed_at: "2026-11-24T10:00:00Z".to_owned(),
            resolved_at: is_over.then(|| "2026-11-24T11:00:00Z".to_owned()),
            ..AlertView::default()
        }
    }

    fn made(kind: ChannelKind, alert: &AlertView) -> (Post, Value) {
        let opened = Opened { kind, url: "https://hooks.example/x", secret: "s3cret" };
        let post = post(&opened, alert, Timestamp::from_millis(1_790_000_000_500));
        let body = serde_json::from_slice(&post.body).expect("JSON");
        (post, body)
    }

    /// A rule of a service's documentation: where, and at most how many characters; 0 is any length.
    fn check(kind: ChannelKind, alert: &AlertView, limits: &[(&str, usize)]) {
        let (post, body) = made(kind, alert);
        assert!(post.body.len() <= 512_000, "{kind:?}: {} bytes", post.body.len());
        for (place, chars_max) in limits {
            let text = body.pointer(place).and_then(Value::as_str).unwrap_or_else(|| panic!("{place} in {body}"));
            assert!(!text.is_empty(), "{kind:?} {place}");
            assert!(
                *chars_max == 0 || text.chars().count() <= *chars_max,
                "{kind:?} {place}: {}",
                text.chars().count()
            );
        }
    }

    #[test]
    fn each_service_gets_the_fields_it_asks_for_within_its_limits() {
        let long = AlertView {
            message: "€<&".repeat(9_000),
            scope: "client:".to_owned() + &"ß".repeat(900),
            ..alert("critical", false)
        };
        for alert in [alert("warning", false), alert("emergency", true), long] {
            check(
                ChannelKind::Slack,
                &alert,
                &[("/text", 40_000), ("/attachments/0/color", 7), ("/attachments/0/blocks/0/fields/0/text", 2_000)],
            );
            check(
                ChannelKind::Discord,
                &alert,
                &[
                    ("/username", 80),
                    ("/embeds/0/title", 256),
                    ("/embeds/0/description", 4_096),
                    ("/embeds/0/timestamp", 0),
                    ("/embeds/0/fields/0/name", 256),
                    ("/embeds/0/fields/0/value", 1_024),
                ],
            );
            check(ChannelKind::PagerDuty, &alert, &[("/routing_key", 0), ("/dedup_key", 255), ("/event_action", 0)]);
            check(
                ChannelKind::IncidentIo,
                &alert,
                &[("/title", 0), ("/description", 0), ("/status", 0), ("/deduplication_key", 0)],
            );
            check(ChannelKind::Webhook, &alert, &[("/event", 0), ("/alert/alert_id", 0)]);
            let embed = made(ChannelKind::Discord, &alert).1["embeds"][0].to_string();
            assert!(embed.chars().count() <= 6_000, "all of an embed: {}", embed.chars().count());
            if alert.resolved_at.is_none() {
                check(
                    ChannelKind::PagerDuty,
                    &alert,
                    &[
                        ("/payload/summary", 1_024),
                        ("/payload/source", 0),
                        ("/payload/severity", 0),
                        ("/payload/timestamp", 0),
                    ],
                );
                check(
                    ChannelKind::Opsgenie,
                    &alert,
                    &[
                        ("/message", 130),
                        ("/alias", 512),
                        ("/description", 15_000),
                        ("/entity", 512),
                        ("/source", 100),
                        ("/priority", 2),
                    ],
                );
            }
        }
    }

    #[test]
    fn a_digest_is_sent_whole_as_far_as_a_service_takes_it_and_says_where_the_rest_is() {
        let sentence = "By client: <ci> $1.00 & more. ";
        let digest = |sentences: usize| AlertView {
            rule: DIGEST.to_owned(),
            message: sentence.repeat(sentences).trim_end().to_owned(),
            ..alert("info", false)
        };
        let text = |kind, alert: &AlertView, place: &str| {
            let body = made(kind, alert).1;
            body.pointer(place).and_then(Value::as_str).unwrap_or_else(|| panic!("{place} in {body}")).to_owned()
        };
        let places = [
            (ChannelKind::Slack, "/text"),
            (ChannelKind::Discord, "/embeds/0/description"),
            (ChannelKind::PagerDuty, "/payload/custom_details/message"),
            (ChannelKind::Opsgenie, "/description"),
            (ChannelKind::IncidentIo, "/description"),
            (ChannelKind::Webhook, "/alert/message"),
        ];
        // 3,000 characters, as long as a month's digest may well be.
        let month = digest(100);
        for (kind, place) in places {
            let whole = text(kind, &month, place).replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">");
            assert!(whole.ends_with(&*month.message), "{kind:?}");
        }
        let endless = digest(4_000);
        for (kind, place) in &places[..5] {
            let cut = text(*kind, &endless, place);
            assert!(cut.ends_with("more.… (`tidegate report` has the rest)"), "{kind:?}");
        }
        assert!(
            text(ChannelKind::PagerDuty, &month, "/payload/summary")
                .ends_with("& more.… (`tidegate report` has the rest)")
        );
        let one_word = AlertView { message: "ß".repeat(50_000), ..alert("warning", false) };
        let cut = text(ChannelKind::Opsgenie, &one_word, "/description");
        assert!(cut.chars().count() == 15_000 && cut.ends_with("ß… (`tidegate alert list` has the rest)"));
    }

    #[test]
    fn what_begins_and_what_is_over_go_by_one_key() {
        for kind in [ChannelKind::PagerDuty, ChannelKind::IncidentIo] {
            let key = |is_over| {
                let body = made(kind, &alert("critical", is_over)).1;
                body["dedup_key"].as_str().or(body["deduplication_key"].as_str()).expect("a key").to_owned()
            };
            assert_eq!(key(false), key(true));
        }
        let (begun, body) = made(ChannelKind::Jira, &alert("critical", false));
        let (over, _) = made(ChannelKind::Jira, &alert("critical", true));
        assert_eq!(begun.url, "https://hooks.example/x");
        let alias = body["alias"].as_str().expect("an alias");
        assert_eq!(over.url, format!("https://hooks.example/x/{alias}/close?identifierType=alias"));
        assert_eq!(begun.headers, [("authorization", "GenieKey s3cret".to_owned())]);
    }

    #[test]
    fn a_name_calls_nobody_and_stays_text() {
        let hostile = AlertView {
            scope: "client:<!channel> @everyone".to_owned(),
            message: "<https://evil|here> & *bold*\"}]".to_owned(),
            ..alert("warning", false)
        };
        let (_, slack) = made(ChannelKind::Slack, &hostile);
        assert!(!slack.to_string().contains('<'), "{slack}");
        let (_, discord) = made(ChannelKind::Discord, &hostile);
        assert_eq!(discord["allowed_mentions"], json!({"parse": []}));
    }

    #[test]
    fn a_webhook_is_signed_over_its_time_and_its_body() {
        let (post, body) = made(ChannelKind::Webhook, &alert("critical", true));
        assert_eq!((&body["event"], &body["alert"]["rule"]), (&json!("resolved"), &json!("tokens-critical")));
        let header = |name| post.headers.iter().find(|(header, _)| *header == name).map(|(_, value)| value.as_str());
        assert_eq!(header("x-tidegate-timestamp"), Some("1790000000"));
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"s3cret");
        let tag = hmac::sign(&key, &[b"1790000000.", &*post.body].concat());
        assert_eq!(header("x-tidegate-signature"), Some(&*format!("v1={}", hex(tag.as_ref()))));
    }
}
