//! Asking a running probe through its control socket.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::request::Request;

/// An answer is at most this large: 100,000 services at 640 bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(30);

pub fn socket_path(state: &Path) -> PathBuf {
    state.join("control.sock")
}

/// A way to a socket whose path may be longer than a socket address holds (107 bytes): through its opened folder.
/// The folder must stay open while the path is used.
///
/// # Errors
/// The folder cannot be opened.
pub(super) fn through_folder(socket: &Path) -> io::Result<(File, PathBuf)> {
    let folder = File::open(socket.parent().unwrap_or(Path::new(".")))?;
    let name = socket.file_name().unwrap_or_default();
    let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    Ok((folder, path))
}

/// Asks the probe behind `socket`; `None` when no probe listens there.
///
/// # Errors
/// The probe's refusal, or what went wrong on the way.
pub fn ask(socket: &Path, request: &Request) -> Option<Result<Value, String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async {
        let Ok((_folder, path)) = through_folder(socket) else { return None };
        let stream = match UnixStream::connect(path).await {
            Ok(stream) => stream,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => return None,
            Err(e) => return Some(Err(unreachable(socket, &e))),
        };
        let asked = tokio::time::timeout(TIMEOUT, exchange(stream, request)).await;
        Some(asked.unwrap_or_else(|_| Err(format!("{}: the probe did not answer within 30 s", socket.display()))))
    })
}

async fn exchange(stream: UnixStream, request: &Request) -> Result<Value, String> {
    let (method, path, body) = request.to_http()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| format!("control socket: {e}"))?;
    let driver = tokio::spawn(connection);
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "eastwatch")
        .body(Full::new(Bytes::from(body)))
        .map_err(|e| e.to_string())?;
    let response = sender.send_request(request).await.map_err(|e| format!("control socket: {e}"))?;
    let good = response.status().is_success();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|e| format!("control socket: the answer was cut: {e}"))?;
    driver.abort();
    let value: Value = serde_json::from_slice(&body.to_bytes()).map_err(|e| format!("control socket: {e}"))?;
    if good {
        return Ok(value);
    }
    Err(value.get("error").and_then(Value::as_str).unwrap_or("the probe refused without a reason").to_owned())
}

fn unreachable(socket: &Path, error: &io::Error) -> String {
    let mend = match error.kind() {
        io::ErrorKind::PermissionDenied => "; run it as the probe's user or as root",
        _ => "",
    };
    format!("{}: {error}{mend}", socket.display())
}
