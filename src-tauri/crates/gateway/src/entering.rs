//! A call before the door: what it asks for, where it stands, and what it learns there.

use std::sync::Arc;

use domain::admission::{Demand, Refusal};
use domain::config::Client;
use domain::price::Price;
use domain::time::Timestamp;
use http::HeaderMap;

use crate::door::{Entered, Pass};
use crate::entry::{OpenEntry, Prompt};
use crate::error::Error;
use crate::headers;
use crate::pipeline::{Phase, Pipeline, Sent, parse};
use crate::returning::{Sameness, Taken};
use crate::upstream::Upstream;

impl Pipeline {
    pub(crate) fn demand(
        &self,
        entry: &OpenEntry,
        client: &Client,
        upstream: &Upstream,
        request: &HeaderMap,
    ) -> Demand {
        let (call, Prompt { shape, fast, caching, .. }) = (entry.call(), entry.prompt());
        Demand {
            call: call.id,
            account: upstream.account,
            model: call.model.clone(),
            fast,
            class: call.class,
            client: call.who.client.clone(),
            weight: client.weight,
            max_share: client.max_share,
            tenant: call.who.tenant.clone(),
            person: call.who.person.clone(),
            project: call.who.project.clone(),
            session: call.who.session.clone(),
            shape,
            max_tokens: call.max_tokens,
            caching,
            price: self.price(&upstream.name, &call.model, call.started_at),
            reservation: headers::reservation(request),
            since: entry.since(),
            deadline: entry.came().after(headers::max_wait(request, self.max_wait)),
            has_fallback: false,
        }
    }

    /// What a client would ask for, had it sent this body now.
    pub(crate) fn imagined(self: &Arc<Self>, body: &[u8], client: &Client) -> Result<Demand, Error> {
        let upstream = self.upstreams.first().ok_or(Error::NoUpstream)?;
        let mut entry = OpenEntry::begin(self.clone(), client, &HeaderMap::new());
        entry.says(&parse(body)?, body.len());
        Ok(self.demand(&entry, client, upstream, &HeaderMap::new()))
    }

    /// A model without a price counts against budgets at the dearest there is.
    pub(crate) fn price(&self, upstream: &str, model: &str, at: Timestamp) -> Option<Arc<Price>> {
        let catalog = self.catalog.get();
        let quote = catalog.quote(upstream, model, at).map(|quote| quote.price);
        quote.or_else(|| catalog.dearest(at).cloned())
    }

    /// Through the door, as soon as the call may go.
    pub(crate) async fn enter(&self, entry: &mut OpenEntry, demand: &Demand, sent: &Sent) -> Result<Pass, Error> {
        let mut phase = self.phase.subscribe();
        tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase != Phase::Open) => Err(Error::Draining),
            entered = self.wait_at_the_door(entry, demand, sent) => entered,
        }
    }

    async fn wait_at_the_door(&self, entry: &mut OpenEntry, demand: &Demand, sent: &Sent) -> Result<Pass, Error> {
        if let Some(room) = self.books.room() {
            room.await;
        }
        let waiting = match self.door.offer(demand.clone()) {
            Ok(Entered::Goes(pass)) => return Ok(pass),
            Ok(Entered::Waits(waiting)) => waiting,
            Err(refusal) => return Err(self.refusal(&refusal, demand)),
        };
        let Some(tries) = sent.tries else {
            return waiting.end().await.map_err(|refusal| self.refusal(&refusal, demand));
        };
        let overtaken = entry.sits(self.sameness(entry, sent), tries);
        let decision = tokio::select! {
            biased;
            Ok(()) = overtaken => Err(Error::SentAgain),
            decided = waiting.end() => decided.map_err(|refusal| self.refusal(&refusal, demand)),
        };
        if entry.rises() { decision } else { Err(Error::SentAgain) }
    }

    fn refusal(&self, refusal: &Refusal, demand: &Demand) -> Error {
        let full = matches!(refusal, Refusal::QueueFull { .. });
        let eta = full.then(|| self.door.ask(|admission, now| admission.outlook(demand.clone(), now).wait)).flatten();
        self.words.refused(refusal, &demand.model, eta, self.now())
    }

    /// What a client left when it gave the same call up, or still holds, where this is its retry.
    pub(crate) fn place_of_earlier_try(&self, entry: &OpenEntry, sent: &Sent) -> Option<Taken<OpenEntry>> {
        let tries = sent.tries.filter(|tries| *tries > 0)?;
        self.returning.take(self.sameness(entry, sent), tries, self.now().instant)
    }

    fn sameness(&self, entry: &OpenEntry, sent: &Sent) -> Sameness {
        Sameness::of(&entry.call().who.client, &sent.target, sent.body())
    }
}
