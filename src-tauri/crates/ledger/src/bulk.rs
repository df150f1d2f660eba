//! Many rows with one statement. The macros bind a fixed number of values; here there are as many as the rows want.

use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe, Encode, Sqlite, SqliteConnection, Type};

/// A power of two. Together with the smaller ones there are few statements to be remembered.
const ROWS_MAX: usize = 32;

/// An insertion of rows that have so many columns.
pub(crate) struct Bulk {
    /// Up to the values.
    pub(crate) insert: &'static str,
    pub(crate) columns: usize,
    /// Behind the values.
    pub(crate) then: &'static str,
}

/// The values of one row after the other.
pub(crate) struct Cells(SqliteArguments);

impl Cells {
    pub(crate) fn push<'t>(&mut self, value: impl Encode<'t, Sqlite> + Type<Sqlite>) -> Result<(), BoxDynError> {
        self.0.add(value)
    }
}

impl Bulk {
    pub(crate) async fn rows<R>(
        &self,
        conn: &mut SqliteConnection,
        mut rows: &[R],
        cells: impl Fn(&R, &mut Cells) -> Result<(), BoxDynError>,
    ) -> sqlx::Result<()> {
        while !rows.is_empty() {
            let (now, later) = rows.split_at(1 << rows.len().min(ROWS_MAX).ilog2());
            let mut values = Cells(SqliteArguments::default());
            values.0.reserve(now.len() * self.columns, 0);
            now.iter().try_for_each(|row| cells(row, &mut values)).map_err(sqlx::Error::Encode)?;
            sqlx::query_with(AssertSqlSafe(self.statement(now.len())), values.0).execute(&mut *conn).await?;
            rows = later;
        }
        Ok(())
    }

    fn statement(&self, rows: usize) -> String {
        let row = format!("({})", ["?"].repeat(self.columns).join(","));
        format!("{} VALUES {} {}", self.insert, [row.as_str()].repeat(rows).join(","), self.then)
    }
}
