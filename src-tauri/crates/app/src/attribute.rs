//! Which project a call belongs to, by rules that the settings name: where it was made, on which branch, by which program.

use std::sync::Arc;

use domain::catalog;
use ledger::Circumstances;

/// The first rule that fits names the project.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttributeRule {
    pub when: When,
    /// `*` stands for any run of characters.
    pub pattern: Arc<str>,
    pub project: Arc<str>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    Cwd,
    Branch,
    UserAgent,
    Session,
}

impl When {
    pub(crate) fn named(name: &str) -> Option<When> {
        match name {
            "cwd" => Some(When::Cwd),
            "branch" => Some(When::Branch),
            "user_agent" => Some(When::UserAgent),
            "session" => Some(When::Session),
            _ => None,
        }
    }
}

pub(crate) fn project_of(rules: &[AttributeRule], of: &Circumstances<'_>) -> Option<Arc<str>> {
    rules.iter().find(|rule| rule.fits(of)).map(|rule| rule.project.clone())
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
        AttributeRule { when: When::named(when).expect("a kind"), pattern: pattern.into(), project: project.into() }
    }

    #[test]
    fn the_first_rule_that_fits_names_the_project() {
        let rules = [
            rule("branch:release/*", "releases"),
            rule("cwd:/home/*/shop", "shop"),
            rule("user_agent:claude-cli*", "agents"),
            rule("session:s-1", "one"),
        ];
        let of = |cwd, branch, user_agent, session| {
            project_of(&rules, &Circumstances { cwd, branch, user_agent, session }).as_deref().map(str::to_owned)
        };
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
        let rules = [rule("branch:*", "any")];
        assert_eq!(project_of(&rules, &Circumstances { cwd: "/x", ..Circumstances::default() }), None);
    }
}
