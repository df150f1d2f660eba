//! Whom `metadata.user_id` means: a customer of the client's, as the API wants it, or what Claude Code packs into it.

use std::borrow::Cow;

use serde_json::Value;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct User<'a> {
    pub(crate) tenant: Option<Cow<'a, str>>,
    pub(crate) session: Option<Cow<'a, str>>,
}

impl<'a> User<'a> {
    /// Claude Code names a device, an account and a session: each session would be a customer of its own.
    pub(crate) fn of(user_id: &'a str) -> User<'a> {
        let user = packed(user_id).or_else(|| joined(user_id));
        user.unwrap_or_else(|| User { tenant: some(user_id), session: None })
    }
}

/// `{"device_id":"…","account_uuid":"…","session_id":"…"}`
fn packed(user_id: &str) -> Option<User<'static>> {
    if !user_id.starts_with('{') {
        return None;
    }
    let value: Value = serde_json::from_str(user_id).ok()?;
    let text = |key: &str| value[key].as_str().filter(|text| !text.is_empty()).map(|text| Cow::Owned(text.to_owned()));
    let tenant = text("account_uuid").or_else(|| text("device_id"))?;
    Some(User { tenant: Some(tenant), session: text("session_id") })
}

/// `user_DEVICE_account_UUID_session_UUID`; there may be no account in it.
fn joined(user_id: &str) -> Option<User<'_>> {
    let (device, rest) = user_id.strip_prefix("user_")?.split_once("_account_")?;
    let (account, session) = rest.rsplit_once("session_")?;
    let account = account.trim_end_matches('_');
    Some(User { tenant: some(account).or_else(|| some(device)), session: some(session) })
}

fn some(text: &str) -> Option<Cow<'_, str>> {
    (!text.is_empty()).then_some(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claude_code_s_user_is_its_account_or_device_and_never_its_session() {
        for (user_id, tenant, session) in [
            ("customer-7", Some("customer-7"), None),
            ("", None, None),
            ("user_abc", Some("user_abc"), None),
            ("user_d1_account_a1_session_s1", Some("a1"), Some("s1")),
            ("user_d1_account__session_s1", Some("d1"), Some("s1")),
            (r#"{"device_id":"d1","account_uuid":"a1","session_id":"s1"}"#, Some("a1"), Some("s1")),
            (r#"{"device_id":"d1","account_uuid":"","session_id":"s1"}"#, Some("d1"), Some("s1")),
            (r#"{"user":"x"}"#, Some(r#"{"user":"x"}"#), None),
            ("{torn", Some("{torn"), None),
        ] {
            let user = User::of(user_id);
            assert_eq!((user.tenant.as_deref(), user.session.as_deref()), (tenant, session), "{user_id}");
        }
    }
}
