//! What a call asks of an upstream beside text, and what an upstream can't do.

use std::fmt;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Capability {
    Images,
    Documents,
    /// Tools that the client runs.
    Tools,
    Thinking,
    /// Tools that the upstream runs by itself, such as web search and MCP servers.
    ServerTools,
    /// Marks of what is to be kept in the prompt cache.
    Cache,
}

impl Capability {
    pub const ALL: [Capability; 6] = [
        Capability::Images,
        Capability::Documents,
        Capability::Tools,
        Capability::Thinking,
        Capability::ServerTools,
        Capability::Cache,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Capability::Images => "images",
            Capability::Documents => "documents",
            Capability::Tools => "tools",
            Capability::Thinking => "thinking",
            Capability::ServerTools => "server_tools",
            Capability::Cache => "cache",
        }
    }

    pub fn named(name: &str) -> Option<Capability> {
        Capability::ALL.into_iter().find(|capability| capability.name() == name)
    }
}

/// Some of them.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(u8);

impl Capabilities {
    pub const NONE: Capabilities = Capabilities(0);

    pub const fn add(&mut self, capability: Capability) {
        self.0 |= 1 << capability as u8;
    }

    pub const fn has(self, capability: Capability) -> bool {
        self.0 & 1 << capability as u8 != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that are in both.
    pub const fn and(self, other: Capabilities) -> Capabilities {
        Capabilities(self.0 & other.0)
    }

    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.into_iter().filter(move |capability| self.has(*capability))
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(all: I) -> Capabilities {
        all.into_iter().fold(Capabilities::NONE, |mut some, capability| {
            some.add(capability);
            some
        })
    }
}

/// `images, server_tools`
impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iter().map(Capability::name).collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_uses_and_an_upstream_lacks_is_what_both_name() {
        let some = |names: &[&str]| names.iter().filter_map(|name| Capability::named(name)).collect::<Capabilities>();
        let (used, lacked) = (some(&["cache", "images", "nothing"]), some(&["images", "server_tools"]));
        assert_eq!(used.and(lacked).to_string(), "images");
        assert_eq!(
            (used.to_string(), lacked.to_string()),
            ("images, cache".to_owned(), "images, server_tools".to_owned())
        );
        assert!(used.and(some(&["tools"])).is_empty() && Capabilities::NONE.is_empty());
        assert!(Capability::ALL.into_iter().all(|one| Capability::named(one.name()) == Some(one)));
    }
}
