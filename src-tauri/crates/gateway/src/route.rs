//! Where a call may go, in order: the upstreams of its client or class, and at last a configured text.

use std::sync::Arc;

use domain::call::Class;
use domain::catalog::matches;
use domain::routing::Capabilities;

use crate::pipeline::Pipeline;
use crate::upstream::Upstream;

/// What `[[fallback]]` says: whose calls go where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fallback {
    pub whose: Whose,
    /// By their places among the upstreams. Empty: the first one alone.
    pub upstreams: Vec<usize>,
    /// Given as an answer where no upstream has one.
    pub text: Option<Arc<str>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Whose {
    Class(Class),
    Client(Arc<str>),
}

pub(crate) struct Route<'a> {
    pub(crate) upstreams: Vec<&'a Upstream>,
    pub(crate) text: Option<&'a Arc<str>>,
}

impl Pipeline {
    /// A client's own line stands before that of its class. An upstream that doesn't serve the model is left out, and so is
    /// one that lacks what the call uses.
    pub(crate) fn route(&self, client: &str, class: Class, model: &str, uses: Capabilities) -> Route<'_> {
        let of_client = |fallback: &&Fallback| matches!(&fallback.whose, Whose::Client(name) if **name == *client);
        let of_class = |fallback: &&Fallback| fallback.whose == Whose::Class(class);
        let line = self.fallbacks.iter().find(of_client).or_else(|| self.fallbacks.iter().find(of_class));
        let places = line.map_or(&[][..], |line| &line.upstreams);
        let first = || self.upstreams.first().into_iter().collect();
        let mut upstreams: Vec<&Upstream> = places.iter().filter_map(|place| self.upstreams.get(*place)).collect();
        if upstreams.is_empty() {
            upstreams = first();
        }
        upstreams.retain(|upstream| upstream.lacks.and(uses).is_empty());
        if upstreams.len() > 1 && upstreams.iter().any(|upstream| upstream.serves(model)) {
            upstreams.retain(|upstream| upstream.serves(model));
        }
        Route { upstreams, text: line.and_then(|line| line.text.as_ref()) }
    }
}

impl Upstream {
    fn serves(&self, model: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|pattern| matches(pattern, model))
    }
}
