//! Files, as far as clients need them: their metadata. Contents are not kept.

use domain::time::Timestamp;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::batches::Route;
use crate::body::Body;
use crate::chance;
use crate::error::ApiError;
use crate::paging;
use crate::reply;
use crate::server::{Caller, Stop};
use crate::world::World;

const FILE_BYTES_MAX: u64 = 524_288_000;
/// The name of a file stands in the first bytes of the form.
const HEAD_BYTES_MAX: usize = 4_096;
/// The latest are kept.
const FILES_MAX: usize = 1_000;

#[derive(Clone)]
pub(crate) struct File {
    id: String,
    key: String,
    name: String,
    media_type: String,
    size_bytes: u64,
    created: Timestamp,
}

pub(crate) async fn answer(
    world: &World,
    caller: &Caller,
    request_id: &str,
    route: Route<'_>,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Response<Body>, Stop> {
    let (method, path, query) = route;
    let shown = match (method, path) {
        (&Method::POST, []) => store(world, caller, request_id, &upload(headers, body).await?),
        (&Method::GET, []) => list(world, caller, query)?,
        (&Method::GET, [id]) => find(world, caller, id)?.json(),
        (&Method::GET, [id, "content"]) => {
            find(world, caller, id)?;
            return Err(ApiError::invalid("Files that you uploaded can't be downloaded.").into());
        }
        (&Method::DELETE, [id]) => delete(world, caller, id)?,
        _ => return Err(ApiError::not_found("Not found").into()),
    };
    Ok(reply::json(world, request_id, &shown))
}

struct Upload {
    head: Vec<u8>,
    bytes: u64,
}

/// Reads the form without keeping it.
async fn upload(headers: &HeaderMap, mut body: Incoming) -> Result<Upload, Stop> {
    let form = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"multipart/form-data"));
    if !form {
        return Err(ApiError::invalid("file: Field required").into());
    }
    let mut upload = Upload { head: Vec::new(), bytes: 0 };
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Stop::Hangup)?.into_data() else { continue };
        let room = HEAD_BYTES_MAX - upload.head.len();
        upload.head.extend_from_slice(&data[..room.min(data.len())]);
        upload.bytes += data.len() as u64;
        if upload.bytes > FILE_BYTES_MAX {
            return Err(ApiError::too_large().into());
        }
    }
    Ok(upload)
}

fn store(world: &World, caller: &Caller, request_id: &str, upload: &Upload) -> Value {
    let head = String::from_utf8_lossy(&upload.head).into_owned();
    let between = |start: &str, end: &str| Some(head.split_once(start)?.1.split_once(end)?.0.trim().to_owned());
    let file = File {
        id: chance::id("file", chance::hash(world.seed, request_id.as_bytes())),
        key: caller.key.clone(),
        name: between("filename=\"", "\"").unwrap_or_else(|| "file".to_owned()),
        media_type: between("Content-Type:", "\r\n").unwrap_or_else(|| "application/octet-stream".to_owned()),
        size_bytes: upload.bytes,
        created: world.clock.now().timestamp,
    };
    let mut state = world.state();
    if state.files.len() == FILES_MAX {
        state.files.remove(0);
    }
    state.files.push(file.clone());
    file.json()
}

fn list(world: &World, caller: &Caller, query: &str) -> Result<Value, ApiError> {
    let state = world.state();
    let mine = state.files.iter().rev().filter(|file| file.key == caller.key);
    paging::page(mine.map(File::json).collect(), query)
}

fn find(world: &World, caller: &Caller, id: &str) -> Result<File, ApiError> {
    let state = world.state();
    let found = state.files.iter().find(|file| file.id == id && file.key == caller.key);
    found.cloned().ok_or_else(|| ApiError::not_found(format!("File not found: {id}")))
}

fn delete(world: &World, caller: &Caller, id: &str) -> Result<Value, ApiError> {
    let file = find(world, caller, id)?;
    world.state().files.retain(|other| other.id != file.id);
    Ok(json!({"id": file.id, "type": "file_deleted"}))
}

impl File {
    /// `size_bytes` is that of the form that brought it.
    fn json(&self) -> Value {
        json!({"type": "file", "id": self.id, "filename": self.name, "mime_type": self.media_type,
            "size_bytes": self.size_bytes, "created_at": self.created.to_string(), "downloadable": false})
    }
}
