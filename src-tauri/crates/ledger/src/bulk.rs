//! Many rows with one statement. The macros bind a fixed number of values; here there are as many as the rows want.

use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, Encode, Sqlite, SqliteConnection, Type};

/// A power of two. Together with the smaller ones there are few statements to be remembered.
const ROWS_MAX: usize = 32;

/// An insertion of rows that have so many columns. Made by [`bulk`].
pub(crate) struct Bulk {
    pub(crate) columns: usize,
    /// Of 1, 2, 4, 8, 16 and 32 rows.
    pub(crate) statements: [&'static str; 6],
}

/// `bulk!(columns, up to the values, the places of one row, behind the values)`: every statement stands in the program as a whole.
macro_rules! bulk {
    ($columns:literal, $insert:literal, $row:literal, $then:literal) => {
        $crate::bulk::Bulk {
            columns: $columns,
            statements: [
                concat!($insert, " VALUES ", $row, $then),
                concat!($insert, " VALUES ", bulk!(@2 $row), $then),
                concat!($insert, " VALUES ", bulk!(@4 $row), $then),
                concat!($insert, " VALUES ", bulk!(@8 $row), $then),
                concat!($insert, " VALUES ", bulk!(@8 $row), ",", bulk!(@8 $row), $then),
                concat!(
                    $insert,
                    " VALUES ",
                    bulk!(@8 $row), ",", bulk!(@8 $row), ",", bulk!(@8 $row), ",", bulk!(@8 $row),
                    $then
                ),
            ],
        }
    };
    (@2 $row:literal) => { concat!($row, ",", $row) };
    (@4 $row:literal) => { concat!($row, ",", $row, ",", $row, ",", $row) };
    (@8 $row:literal) => { concat!(bulk!(@4 $row), ",", bulk!(@4 $row)) };
}
pub(crate) use bulk;

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
            let power = rows.len().min(ROWS_MAX).ilog2();
            let (now, later) = rows.split_at(1 << power);
            let mut values = Cells(SqliteArguments::default());
            values.0.reserve(now.len() * self.columns, 0);
            now.iter().try_for_each(|row| cells(row, &mut values)).map_err(sqlx::Error::Encode)?;
            sqlx::query_with(self.statements[power as usize], values.0).execute(&mut *conn).await?;
            rows = later;
        }
        Ok(())
    }
}
