//! What a model is called, by whom, and what that tells of where it runs.

use std::borrow::Cow;

use crate::price::{Platform, Reach};

/// A model's id, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ModelId<'a> {
    /// As Anthropic itself writes it.
    pub(super) name: Cow<'a, str>,
    /// Where the way it is written tells.
    pub(super) platform: Option<Platform>,
    pub(super) reach: Reach,
}

/// `us.anthropic.claude-sonnet-4-5-20250929-v1:0`, `claude-sonnet-4-5@20250929` and `claude-sonnet-4-5-20250929` are one model.
pub(super) fn model_id(id: &str) -> ModelId<'_> {
    // A profile's ARN ends with the id; a client's note on the context's length is no part of it.
    let id = id.rsplit('/').next().unwrap_or(id);
    let id = id.split_once('[').map_or(id, |(id, _)| id);
    if let Some((before, name)) = id.split_once("anthropic.") {
        let reach = match before {
            "" | "global." => Reach::Global,
            "us-gov." => Reach::Government,
            _ => Reach::Regional,
        };
        let name = Cow::Borrowed(without_revision(name));
        return ModelId { name, platform: Some(Platform::Bedrock), reach };
    }
    match id.split_once('@') {
        Some((name, "default")) => {
            ModelId { name: name.into(), platform: Some(Platform::Vertex), reach: Reach::Global }
        }
        Some((name, date)) => {
            let name = Cow::Owned(format!("{name}-{date}"));
            ModelId { name, platform: Some(Platform::Vertex), reach: Reach::Global }
        }
        None => ModelId { name: id.into(), platform: None, reach: Reach::Global },
    }
}

/// `…-v1:0`
fn without_revision(name: &str) -> &str {
    match name.rsplit_once("-v") {
        Some((head, revision)) if is_revision(revision) => head,
        Some(_) | None => name,
    }
}

fn is_revision(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b':')
}

/// A snapshot of a model costs what the model does.
pub(super) fn without_date(name: &str) -> Option<&str> {
    let (head, date) = name.rsplit_once('-')?;
    (date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit())).then_some(head)
}

/// The family of a Claude model and its version: `claude-3-5-haiku-20241022` is `haiku`, 3.5.
pub(super) fn family(name: &str) -> Option<(&str, Vec<u32>)> {
    let parts: Vec<&str> = name.strip_prefix("claude-")?.split('-').collect();
    let is_word = |part: &&&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphabetic());
    let family = parts.iter().find(is_word)?;
    let small = parts.iter().filter(|part| part.len() <= 2);
    Some((family, small.filter_map(|part| part.parse().ok()).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_model_is_known_under_every_name() {
        for (id, name, platform, reach) in [
            ("claude-opus-5-5", "claude-opus-5-5", None, Reach::Global),
            ("claude-opus-5-5[1m]", "claude-opus-5-5", None, Reach::Global),
            ("anthropic.claude-opus-4-6-v1", "claude-opus-4-6", Some(Platform::Bedrock), Reach::Global),
            (
                "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
                "claude-sonnet-4-5-20250929",
                Some(Platform::Bedrock),
                Reach::Regional,
            ),
            ("global.anthropic.claude-fable-5", "claude-fable-5", Some(Platform::Bedrock), Reach::Global),
            ("us-gov.anthropic.claude-opus-5", "claude-opus-5", Some(Platform::Bedrock), Reach::Government),
            (
                "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.anthropic.claude-haiku-5-5",
                "claude-haiku-5-5",
                Some(Platform::Bedrock),
                Reach::Regional,
            ),
            ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5-20250929", Some(Platform::Vertex), Reach::Global),
            ("claude-opus-5@default", "claude-opus-5", Some(Platform::Vertex), Reach::Global),
            ("gpt-5-v", "gpt-5-v", None, Reach::Global),
        ] {
            assert_eq!(model_id(id), ModelId { name: name.into(), platform, reach }, "{id}");
        }
    }

    #[test]
    fn a_family_has_versions() {
        assert_eq!(family("claude-3-5-haiku-20241022"), Some(("haiku", vec![3, 5])));
        assert_eq!(family("claude-sonnet-9-9"), Some(("sonnet", vec![9, 9])));
        assert_eq!(family("claude-mythos-preview"), Some(("mythos", vec![])));
        assert_eq!((family("gpt-5"), family("claude-")), (None, None));
        assert_eq!((without_date("claude-x-20250929"), without_date("claude-x-5")), (Some("claude-x"), None));
    }
}
