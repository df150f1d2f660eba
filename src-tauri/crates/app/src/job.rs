//! Work that takes long enough to be watched and ended.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// The one that runs, if one does; the latest, where there are several. `P` is how far it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Job<P> {
    progress: Arc<Mutex<Option<P>>>,
    stop: Arc<Notify>,
}

impl<P: Copy + Default> Job<P> {
    pub(crate) fn begin(&self) -> Running<P> {
        self.set(Some(P::default()));
        Running(self.clone())
    }

    pub(crate) fn now(&self) -> Option<P> {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all that run; nothing where none does.
    pub(crate) fn stop(&self) {
        self.stop.notify_waiters();
    }

    /// What comes of the work; nothing where somebody ended it first.
    pub(crate) async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.stop.notified() => None,
            done = work => Some(done),
        }
    }

    fn set(&self, progress: Option<P>) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }
}

/// A job until it ends or is given up.
pub(crate) struct Running<P: Copy + Default>(Job<P>);

impl<P: Copy + Default> Running<P> {
    pub(crate) fn is(&self, now: P) {
        self.0.set(Some(now));
    }
}

impl<P: Copy + Default> Drop for Running<P> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_tells_how_far_it_is_until_it_ends_or_is_given_up() {
        let job = Job::<u64>::default();
        assert_eq!(job.now(), None);
        let running = job.begin();
        assert_eq!(job.now(), Some(0));
        running.is(5);
        assert_eq!(job.now(), Some(5));
        drop(running);
        assert_eq!(job.now(), None);
    }

    #[tokio::test]
    async fn a_stop_ends_all_that_run_and_none_that_begins_later() {
        let job = Job::<u64>::default();
        job.stop();
        let (endless, done_as_well) = (std::future::pending::<()>(), tokio::task::yield_now());
        let stopping = async { job.stop() };
        let (endless, done_as_well, ()) =
            tokio::join!(job.unless_stopped(endless), job.unless_stopped(done_as_well), stopping);
        assert_eq!((endless, done_as_well), (None, None), "both ran when it came");
        assert_eq!(job.unless_stopped(async { 7 }).await, Some(7));
    }
}
