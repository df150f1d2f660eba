//! What Claude Code says of a subscription's windows, as a series: resets move and come early.

use domain::time::Timestamp;

use crate::db::CHECKPOINT_PAGES;
use crate::{Error, Ledger};

/// A window that is spent.
pub(crate) const FULL: u32 = 10_000;

/// How full a window was at a moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observation {
    pub at: Timestamp,
    /// `five_hour`, `seven_day` of a subscription; of an upstream's own window its name, a stroke, and the window's.
    pub window: String,
    /// In hundredths of a percent.
    pub used: u32,
    pub resets_at: Option<Timestamp>,
    /// '' where it isn't known.
    pub session: String,
}

impl Ledger {
    /// The same observation counts once, however often it is brought.
    pub async fn observe(&self, observations: &[Observation]) -> Result<(), Error> {
        if observations.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = observations
            .iter()
            .map(|seen| {
                let resets_at = seen.resets_at.map(Timestamp::as_millis);
                (seen.at.as_millis(), &seen.window, seen.used, resets_at, &seen.session)
            })
            .collect();
        let rows = serde_json::to_string(&rows).map_err(|error| Error::unwritable("observations", &error))?;
        let mut conn = self.db.writer().await?;
        let written = sqlx::query!(
            "INSERT INTO observation (observed_at, window, used, resets_at, session)
             SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(?1) WHERE true
             ON CONFLICT DO NOTHING",
            rows
        )
        .execute(&mut conn)
        .await;
        written.map_err(|error| self.db.error(&error))?;
        self.db.checkpoint(&mut conn, CHECKPOINT_PAGES).await
    }

    /// Those of a window, or of all, from `from` on, in their order.
    pub async fn observations(&self, window: Option<&str>, from: Timestamp) -> Result<Vec<Observation>, Error> {
        let from = from.as_millis();
        let rows = sqlx::query!(
            "SELECT * FROM observation WHERE observed_at >= ?1 AND (?2 IS NULL OR window = ?2) ORDER BY observed_at, window",
            from,
            window
        );
        let rows = rows.fetch_all(&self.readers).await.map_err(|error| self.db.error(&error))?;
        let seen = rows.into_iter().map(|row| Observation {
            at: Timestamp::from_millis(row.observed_at),
            window: row.window,
            used: u32::try_from(row.used).unwrap_or(u32::MAX),
            resets_at: row.resets_at.map(Timestamp::from_millis),
            session: row.session,
        });
        Ok(seen.collect())
    }

    /// The last of each of the subscription's windows; `None` where nothing of Claude Code's own calls is known at all.
    pub async fn subscription(&self) -> Result<Option<Vec<Observation>>, Error> {
        let failed = |error: sqlx::Error| self.db.error(&error);
        let rows = sqlx::query!(
            "SELECT * FROM observation
             WHERE (window, observed_at) IN (SELECT window, max(observed_at) FROM observation GROUP BY window)
               AND instr(window, '/') = 0 ORDER BY window"
        );
        let rows = rows.fetch_all(&self.readers).await.map_err(failed)?;
        let told = sqlx::query_scalar!(r#"SELECT EXISTS(SELECT 1 FROM told) AS "told!: bool""#);
        let is_known = !rows.is_empty() || told.fetch_one(&self.readers).await.map_err(failed)?;
        let seen = rows.into_iter().map(|row| Observation {
            at: Timestamp::from_millis(row.observed_at),
            window: row.window,
            used: u32::try_from(row.used).unwrap_or(u32::MAX),
            resets_at: row.resets_at.map(Timestamp::from_millis),
            session: row.session,
        });
        Ok(is_known.then(|| seen.collect()))
    }
}
