//! `[health] listen`: says over TCP and HTTP whether the probe sees, because load balancers check the target of a mirror
//! by either, never by UDP. Every request is answered alike, with 200 or 503 and one line of JSON; nothing else is told.
//!
//! At most [`CLIENTS_MAX`] connections of [`CLIENT_TIMEOUT`] each, one request a connection; further ones wait in the
//! kernel's queue.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

const CLIENTS_MAX: usize = 32;
const CLIENT_TIMEOUT: Duration = Duration::from_secs(3);
/// The sources are looked at every second; a probe that did not for this long does not read.
const STALE_AFTER: Duration = Duration::from_secs(10);

/// The `[health]` section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthConfig {
    /// ADDRESS:PORT to answer health checks on; off where it is not set.
    pub listen: Option<SocketAddr>,
}

/// Whether the probe sees, as its pipeline last said.
#[derive(Debug)]
pub struct Sight {
    start: Instant,
    /// Milliseconds after the start.
    last_ms: AtomicU64,
    blind: AtomicBool,
}

impl Default for Sight {
    fn default() -> Self {
        Sight { start: Instant::now(), last_ms: AtomicU64::new(0), blind: AtomicBool::new(false) }
    }
}

impl Sight {
    /// The sources were read just now; `blind` where one of them is gone, or the disk of the state is full.
    pub fn is(&self, blind: bool) {
        self.last_ms.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
        self.blind.store(blind, Ordering::Relaxed);
    }

    fn answer(&self) -> (StatusCode, &'static str) {
        let age = self.start.elapsed().saturating_sub(Duration::from_millis(self.last_ms.load(Ordering::Relaxed)));
        match (age > STALE_AFTER, self.blind.load(Ordering::Relaxed)) {
            (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "{\"status\":\"stalled\"}\n"),
            (false, true) => (StatusCode::SERVICE_UNAVAILABLE, "{\"status\":\"blind\"}\n"),
            (false, false) => (StatusCode::OK, "{\"status\":\"ok\"}\n"),
        }
    }
}

/// Where health checks are answered.
pub struct Health {
    listener: TcpListener,
    sight: Arc<Sight>,
}

impl Health {
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The port is taken, or the address is not this machine's.
    pub fn bind(address: SocketAddr, sight: Arc<Sight>) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Health { listener: TcpListener::from_std(listener)?, sight })
    }

    /// Answers until the future is dropped.
    pub async fn serve(&self) {
        let clients = Arc::new(Semaphore::new(CLIENTS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&clients).acquire_owned().await else { return };
            let Ok((stream, _)) = self.listener.accept().await else {
                // Out of file descriptors: wait for some to be free rather than spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let sight = Arc::clone(&self.sight);
            tokio::spawn(async move {
                let service = service_fn(|_| async { Ok::<_, Infallible>(reply(sight.answer())) });
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service);
                // A check by TCP alone hangs up without a request: no error of ours.
                let _ = tokio::time::timeout(CLIENT_TIMEOUT, connection).await;
                drop(permit);
            });
        }
    }
}

fn reply((status, body): (StatusCode, &'static str)) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_that_sees_is_healthy_and_a_blind_or_stalled_one_is_not() {
        let mut sight = Sight::default();
        assert_eq!(sight.answer().0, StatusCode::OK);
        sight.is(true);
        assert_eq!(sight.answer(), (StatusCode::SERVICE_UNAVAILABLE, "{\"status\":\"blind\"}\n"));
        sight.is(false);
        assert_eq!(sight.answer().0, StatusCode::OK);
        let Some(long_ago) = Instant::now().checked_sub(STALE_AFTER * 2) else { return };
        sight.start = long_ago;
        assert_eq!(sight.answer(), (StatusCode::SERVICE_UNAVAILABLE, "{\"status\":\"stalled\"}\n"));
    }
}
