//! The control socket: HTTP/1.1 over `STATE/control.sock`, mode 0600.
//!
//! At most [`CLIENTS_MAX`] clients at once, [`BODY_BYTES_MAX`] a request and [`CLIENT_TIMEOUT`] a client; beyond that a
//! client waits, is refused, or is hung up on. A stale socket is removed only by who holds the state's lock.

use std::convert::Infallible;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};

use super::answer::Asked;
use super::client::through_folder;
use super::request::Request;

const CLIENTS_MAX: usize = 8;
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Of an inventory: its files with every character escaped.
const INVENTORY_BYTES_MAX: usize = 2 * crate::inventory::FILE_BYTES_MAX;
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

/// A bound socket; removed when dropped.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Binds `path`, replacing what an earlier run left. The caller holds the state's lock. Must be called inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// Permissions, or a missing folder.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let (_folder, reached) = through_folder(path)?;
        let listener = UnixListener::bind(reached)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(Server { listener, path: path.to_owned() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Serves until the future is dropped. Each request goes to the brain through `ask` and waits for its answer.
pub async fn serve<M: From<Asked> + Send + 'static>(server: &Server, ask: SyncSender<M>) {
    let clients = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&clients).acquire_owned().await else { return };
        match server.listener.accept().await {
            Ok((stream, _)) => {
                let ask = ask.clone();
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(CLIENT_TIMEOUT, client(stream, ask)).await;
                    drop(permit);
                });
            }
            // Out of file descriptors: wait for some to be free rather than spin.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn client<M: From<Asked> + Send + 'static>(stream: UnixStream, ask: SyncSender<M>) {
    let service = service_fn(move |request| {
        let ask = ask.clone();
        async move { Ok::<_, Infallible>(respond(request, ask).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CLIENT_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!("control socket: {error}");
    }
}

async fn respond<M: From<Asked> + Send + 'static>(
    request: hyper::Request<Incoming>,
    ask: SyncSender<M>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let bytes_max = if ["/v1/inventory", "/v1/baseline/import", "/v1/baseline/diff"].contains(&head.uri.path()) {
        INVENTORY_BYTES_MAX
    } else {
        BODY_BYTES_MAX
    };
    let body = match Limited::new(body, bytes_max).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => {
            let told = format!("the body is larger than {} MiB or was cut", bytes_max >> 20);
            return reply(StatusCode::PAYLOAD_TOO_LARGE, &error(&told));
        }
    };
    let request = match Request::from_http(head.method.as_str(), head.uri.path(), head.uri.query(), &body) {
        Ok(request) => request,
        Err(text) => return reply(StatusCode::BAD_REQUEST, &error(&text)),
    };
    let (sender, receiver) = oneshot::channel();
    // The channel to the brain may be full for a moment; a blocking send belongs on a thread that may block.
    let asked = M::from(Asked { request, reply: sender });
    let sent = tokio::task::spawn_blocking(move || ask.send(asked).is_ok()).await.unwrap_or(false);
    if !sent {
        return reply(StatusCode::SERVICE_UNAVAILABLE, &error("the probe is stopping"));
    }
    match receiver.await {
        Ok(Ok(value)) => reply(StatusCode::OK, &value),
        Ok(Err(text)) => reply(StatusCode::CONFLICT, &error(&text)),
        Err(_) => reply(StatusCode::SERVICE_UNAVAILABLE, &error("the probe is stopping")),
    }
}

fn error(text: &str) -> serde_json::Value {
    serde_json::json!({ "error": text })
}

fn reply(status: StatusCode, value: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    headers.insert("eastwatch-schema", hyper::header::HeaderValue::from_static("1"));
    response
}
