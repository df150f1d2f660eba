//! What each kind of channel wants to be sent. Limits and forms are those of the services' own documentation.

use aws_lc_rs::hmac;
use domain::config::ChannelKind;
use domain::time::Timestamp;
use serde_json::{Value, json};

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

/// In Slack's own text `<` begins a command such as `<!channel>`.
fn slack(alert: &AlertView) -> Value {
    let escaped =
        |text: &str, chars_max| cut(text, chars_max).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let field =
        |(name, text): (&str, &str)| json!({"type": "mrkdwn", "text": format!("*{name}*\n{}", escaped(text, 300))});
    let fields: Vec<Value> = facts(alert).into_iter().map(field).collect();
    let sentence =
        json!({"type": "section", "text": {"type": "mrkdwn", "text": escaped(&alert.message, 500)}, "fields": fields});
    json!({
        "text": format!("{}: {}", escaped(&title(alert), 150), escaped(&alert.message, 500)),
        "attachments": [{"color": format!("#{:06x}", color(alert)), "blocks": [sentence]}],
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

fn discord(alert: &AlertView) -> Value {
    let field = |(name, text): (&str, &str)| json!({"name": name, "value": cut(text, 1_024), "inline": true});
    json!({
        "username": "Tidegate",
        "embeds": [{
            "title": cut(&title(alert), 256),
            "description": cut(&alert.message, 1_000),
            "color": color(alert),
            "timestamp": alert.resolved_at.as_ref().unwrap_or(&alert.crossed_at),
            "fields": facts(alert).into_iter().map(|(name, text)| field((name, &cut(text, 300)))).collect::<Vec<_>>(),
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
                "summary": cut(&format!("{}: {}", title(alert), alert.message), 1_024),
                "source": "tidegate",
                "severity": severity,
                "timestamp": alert.crossed_at,
                "component": cut(&alert.scope, 255),
                "class": cut(&alert.rule, 255),
                "custom_details": details(alert),
            },
        }),
    };
    merged(event, more)
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
            json!({"source": "tidegate", "note": cut(&alert.message, 1_000)}),
        ),
        false => (
            base.to_owned(),
            json!({
                "message": cut(&title(alert), 130),
                "alias": alert.alert_id,
                "description": cut(&alert.message, 15_000),
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
        "description": cut(&alert.message, 4_000),
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
                &[
                    ("/text", 40_000),
                    ("/attachments/0/color", 7),
                    ("/attachments/0/blocks/0/text/text", 3_000),
                    ("/attachments/0/blocks/0/fields/0/text", 2_000),
                ],
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
