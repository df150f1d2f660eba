//! Is a file a ledger that Tidegate has made? It is looked at before anything is written to it.

use std::collections::BTreeMap;

use sqlx::migrate::{Migration, Migrator};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::{Db, MIGRATIONS, newest};
use crate::Error;

/// Of a table or a view its columns; of a view also how it is made, which no change of the schema rewrites.
#[derive(PartialEq, Eq)]
struct Shape {
    kind: String,
    columns: String,
    view: String,
}

type Shapes = BTreeMap<String, Shape>;

/// Other tables, views and indexes than ours do no harm. A trigger would change what we write.
pub(super) async fn check(db: &Db, conn: &mut SqliteConnection) -> Result<(), Error> {
    let strange = |reason| Error::Damaged { path: db.path.clone(), reason };
    let found = shapes(conn).await.map_err(|error| {
        let told = db.error(&error);
        if let Error::Sqlite { reason, .. } = told { strange(reason) } else { told }
    })?;
    let schema = db.schema(conn).await?;
    let known = newest(&MIGRATIONS);
    if schema > known {
        return Err(Error::Newer { path: db.path.clone(), found: schema, known });
    }
    if schema == 0 {
        let is_new = found.is_empty();
        return if is_new { Ok(()) } else { Err(strange("it holds tables of another program".into())) };
    }
    if let Some((name, _)) = found.iter().find(|(_, shape)| shape.kind == "trigger") {
        return Err(strange(format!("it has a trigger, {name:?}, which Tidegate never makes")));
    }
    let ours = shapes_of(schema).await.map_err(|error| db.error(&error))?;
    let differs = ours.iter().find(|(name, shape)| found.get(*name) != Some(shape));
    differs.map_or(Ok(()), |(name, shape)| {
        Err(strange(format!("its {} {name:?} is not as Tidegate makes it", shape.kind)))
    })
}

async fn shapes(conn: &mut SqliteConnection) -> sqlx::Result<Shapes> {
    let all = "SELECT name, type, CASE type WHEN 'view' THEN sql ELSE '' END,
                   (SELECT coalesce(group_concat(name, ' '), '') FROM pragma_table_info(of.name))
               FROM sqlite_schema AS of WHERE type IN ('table', 'view', 'trigger') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
    let rows: Vec<(String, String, String, String)> = sqlx::query_as(all).fetch_all(conn).await?;
    Ok(rows.into_iter().map(|(name, kind, view, columns)| (name, Shape { kind, columns, view })).collect())
}

/// As a new file would have it.
async fn shapes_of(schema: i64) -> sqlx::Result<Shapes> {
    let mut conn = SqliteConnectOptions::new().in_memory(true).disable_statement_logging().connect().await?;
    let steps: Vec<Migration> = MIGRATIONS.iter().filter(|step| step.version <= schema).cloned().collect();
    let made = Migrator::with_migrations(steps).run_direct(None, &mut conn, false).await;
    made.map_err(|error| sqlx::Error::Protocol(error.to_string()))?;
    let shapes = shapes(&mut conn).await;
    conn.close().await?;
    shapes
}
