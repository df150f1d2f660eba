//! Whose call it is, by rules: where it was made, on which branch, by which program, in which session.

use std::sync::{Arc, PoisonError, RwLock};

use crate::catalog;

/// Where it fits, it says whose a call is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttributeRule {
    pub when: When,
    /// `*` stands for any run of characters.
    pub pattern: Arc<str>,
    pub labels: Labels,
}

/// The rules in force: who holds this sees a change at once.
#[derive(Clone, Debug, Default)]
pub struct InForce(Arc<RwLock<Arc<[AttributeRule]>>>);

impl InForce {
    pub fn get(&self) -> Arc<[AttributeRule]> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set(&self, rules: Arc<[AttributeRule]>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }
}

impl From<Arc<[AttributeRule]>> for InForce {
    fn from(rules: Arc<[AttributeRule]>) -> InForce {
        InForce(Arc::new(RwLock::new(rules)))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    Cwd,
    Branch,
    UserAgent,
    Session,
}

impl When {
    pub fn named(name: &str) -> Option<When> {
        match name {
            "cwd" => Some(When::Cwd),
            "branch" => Some(When::Branch),
            "user_agent" => Some(When::UserAgent),
            "session" => Some(When::Session),
            _ => None,
        }
    }
}

/// What a rule may say of a call.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Labels {
    /// Of calls that logs and telemetry tell of; what goes through the gateway has its client by its token.
    pub client: Option<Arc<str>>,
    pub person: Option<Arc<str>>,
    pub project: Option<Arc<str>>,
    pub tenant: Option<Arc<str>>,
    pub agent: Option<Arc<str>>,
    pub tags: Vec<(Arc<str>, Arc<str>)>,
}

impl Labels {
    /// Keeps what is known and fills in what isn't.
    fn fill(&mut self, other: &Labels) {
        let fill = |own: &mut Option<Arc<str>>, other: &Option<Arc<str>>| {
            if own.is_none() {
                own.clone_from(other);
            }
        };
        fill(&mut self.client, &other.client);
        fill(&mut self.person, &other.person);
        fill(&mut self.project, &other.project);
        fill(&mut self.tenant, &other.tenant);
        fill(&mut self.agent, &other.agent);
        add_tags(&mut self.tags, &other.tags);
    }
}

/// Adds those whose key is new.
pub fn add_tags(tags: &mut Vec<(Arc<str>, Arc<str>)>, more: &[(Arc<str>, Arc<str>)]) {
    for (key, value) in more {
        if !tags.iter().any(|(known, _)| known == key) {
            tags.push((key.clone(), value.clone()));
        }
    }
}

/// What rules may look at; '' where it isn't known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Circumstances<'a> {
    pub cwd: &'a str,
    pub branch: &'a str,
    pub user_agent: &'a str,
    pub session: &'a str,
}

/// What all rules that fit say together: for each label the first of them counts.
pub fn labels(rules: &[AttributeRule], of: &Circumstances<'_>) -> Labels {
    let mut labels = Labels::default();
    rules.iter().filter(|rule| rule.fits(of)).for_each(|rule| labels.fill(&rule.labels));
    labels
}

impl AttributeRule {
    fn fits(&self, of: &Circumstances<'_>) -> bool {
        match self.when {
            When::Cwd => is_in(&self.pattern, of.cwd),
            When::Branch => matches(&self.pattern, of.branch),
            When::UserAgent => matches(&self.pattern, of.user_agent),
            When::Session => matches(&self.pattern, of.session),
        }
    }
}

/// What isn't known fits no rule, not even `*`.
fn matches(pattern: &str, text: &str) -> bool {
    !text.is_empty() && catalog::matches(pattern, text)
}

/// A folder fits a rule for a folder above it.
fn is_in(pattern: &str, cwd: &str) -> bool {
    let above = cwd.match_indices(['/', '\\']).map(|(end, _)| &cwd[..end]);
    std::iter::once(cwd).chain(above).any(|folder| matches(pattern.trim_end_matches('/'), folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(when: &str, project: &str) -> AttributeRule {
        let (when, pattern) = when.split_once(':').expect("a kind and a pattern");
        let labels = Labels { project: Some(project.into()), ..Labels::default() };
        AttributeRule { when: When::named(when).expect("a kind"), pattern: pattern.into(), labels }
    }

    fn project(rules: &[AttributeRule], of: &Circumstances<'_>) -> Option<String> {
        labels(rules, of).project.map(|project| project.to_string())
    }

    #[test]
    fn the_first_rule_that_fits_names_the_project() {
        let rules = [
            rule("branch:release/*", "releases"),
            rule("cwd:/home/*/shop", "shop"),
            rule("user_agent:claude-cli*", "agents"),
            rule("session:s-1", "one"),
        ];
        let of =
            |cwd, branch, user_agent, session| project(&rules, &Circumstances { cwd, branch, user_agent, session });
        assert_eq!(of("/home/u/shop", "main", "", "").as_deref(), Some("shop"));
        assert_eq!(of("/home/u/shop/api", "", "", "").as_deref(), Some("shop"), "a folder inside");
        assert_eq!(of("/home/u/shopping", "", "", ""), None);
        assert_eq!(of("/home/u/shop", "release/2", "", "").as_deref(), Some("releases"));
        assert_eq!(of("/x", "", "claude-cli/2.1", "").as_deref(), Some("agents"));
        assert_eq!(of("", "", "", "s-1").as_deref(), Some("one"));
        assert_eq!(of("", "", "", ""), None);
    }

    #[test]
    fn what_is_not_known_fits_no_rule() {
        assert_eq!(project(&[rule("branch:*", "any")], &Circumstances { cwd: "/x", ..Circumstances::default() }), None);
    }

    #[test]
    fn for_each_label_the_first_rule_that_fits_counts() {
        let says = |person: Option<&str>, tags: &[(&str, &str)]| Labels {
            person: person.map(Arc::from),
            tags: tags.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect(),
            ..Labels::default()
        };
        let rules = [
            AttributeRule { labels: says(None, &[("team", "gate")]), ..rule("session:*", "") },
            AttributeRule {
                labels: says(Some("ada"), &[("team", "other"), ("kind", "test")]),
                ..rule("session:*", "")
            },
            AttributeRule { labels: says(Some("bob"), &[]), ..rule("session:*", "") },
            AttributeRule { labels: says(Some("eve"), &[("no", "no")]), ..rule("session:elsewhere", "") },
        ];
        let found = labels(&rules, &Circumstances { session: "s", ..Circumstances::default() });
        assert_eq!(found, says(Some("ada"), &[("team", "gate"), ("kind", "test")]));
    }
}
