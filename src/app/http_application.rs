//! What is served over HTTP: databases, orchestrators, proxies and the like, by the fields that only they send.
//!
//! One row of [`BY_FIELD`] each; the first row that fits counts. Read are heads that are inside the opening, and of a body
//! its first [`BODY_BYTES_MAX`]. Only a server's answer is believed: anyone may ask for anything.

use super::evidence::after;
use super::line::{Lines, find, is_one_of};

/// Versions stand in the first lines of what a root or version page answers.
const BODY_BYTES_MAX: usize = 1024;

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Application<'a> {
    pub name: &'static str,
    /// Empty where the answer's `Server` tells it, or nobody does.
    pub product: &'static str,
    pub version: Option<&'a [u8]>,
}

/// A request's line, and its final answer: status line, the fields behind it, the beginning of the body.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Exchange<'a> {
    pub request: &'a [u8],
    pub status: &'a [u8],
    pub answered: &'a [u8],
    pub body: &'a [u8],
}

/// Where the version stands.
enum Version {
    Untold,
    Value,
    /// Behind this, in quotation marks, in the body.
    Body(&'static [u8]),
}
use Version::{Body, Untold, Value};

/// A field of an answer, how its value begins, the application, its product, its version.
type Row = (&'static str, &'static str, &'static str, &'static str, Version);

static BY_FIELD: &[Row] = &[
    ("x-elastic-product", "elasticsearch", "elasticsearch", "Elasticsearch", Body(b"\"number\"")),
    ("x-influxdb-version", "", "influxdb", "InfluxDB", Value),
    ("server", "couchdb/", "couchdb", "", Untold),
    ("x-clickhouse-summary", "", "clickhouse", "ClickHouse", Untold),
    ("x-clickhouse-server-display-name", "", "clickhouse", "ClickHouse", Untold),
    ("x-consul-index", "", "consul", "Consul", Untold),
    ("x-consul-knownleader", "", "consul", "Consul", Untold),
    ("x-consul-effective-consistency", "", "consul", "Consul", Untold),
    ("x-etcd-cluster-id", "", "etcd", "etcd", Body(b"\"etcdserver\"")),
    ("docker-distribution-api-version", "registry/2", "docker-registry", "", Untold),
    ("server", "docker/", "docker", "", Untold),
    ("x-kubernetes-pf-flowschema-uid", "", "kubernetes", "Kubernetes", Body(b"\"gitVersion\"")),
    ("content-type", "application/openmetrics-text", "prometheus-exporter", "", Untold),
    ("content-type", "text/plain; version=0.0.4", "prometheus-exporter", "", Untold),
    ("content-type", "application/ipp", "ipp", "", Untold),
    ("kbn-version", "", "kibana", "Kibana", Value),
    ("kbn-name", "", "kibana", "Kibana", Untold),
    ("x-jenkins", "", "jenkins", "Jenkins", Value),
    ("x-owa-version", "", "exchange", "Microsoft Exchange", Value),
    ("ms-server-activesync", "", "exchange", "", Untold),
    ("microsoftsharepointteamservices", "", "sharepoint", "SharePoint", Value),
];

impl<'a> Exchange<'a> {
    pub(super) fn application(&self) -> Option<Application<'a>> {
        let named = |name| Some(Application { name, ..Application::default() });
        let mut words = self.request.split(|b| *b == b' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let status = self.status.get(9..12).unwrap_or_default();
        if status == b"101" {
            let protocol = field(self.answered, "upgrade").unwrap_or_default();
            return match protocol {
                _ if protocol.eq_ignore_ascii_case(b"websocket") => named("websocket"),
                b"h2c" => named("http2"),
                _ => None,
            };
        }
        // An origin server asked for another's address refuses, or ignores it: only a tunnel that opens is proof.
        if method == b"CONNECT" && status.starts_with(b"2") {
            return named("http-proxy");
        }
        let told = |name, prefix| field(self.answered, name).is_some_and(|value| find(value, prefix) == Some(0));
        if target.starts_with(b"/wsman") && told("server", "Microsoft-HTTPAPI/") {
            return named("winrm");
        }
        let fits = |(name, value): (&[u8], &'a [u8])| {
            let begins =
                |prefix: &str| value.get(..prefix.len()).is_some_and(|v| v.eq_ignore_ascii_case(prefix.as_bytes()));
            let row = BY_FIELD.iter().position(|row| is_one_of(name, &[row.0]) && begins(row.1))?;
            Some((row, value))
        };
        let fields = Lines::new(self.answered).take_while(|l| !l.is_empty()).filter_map(parts);
        let first = fields.filter_map(fits).min_by_key(|(row, _)| *row);
        if let Some(((_, _, name, product, version), value)) =
            first.and_then(|(row, value)| Some((BY_FIELD.get(row)?, value)))
        {
            let body = self.body.get(..BODY_BYTES_MAX).unwrap_or(self.body);
            let version = match version {
                Untold => None,
                Value => Some(value),
                Body(mark) => after(body, mark).and_then(|v| v.split(|b| *b == b'"').nth(1)),
            };
            return Some(Application { name, product, version });
        }
        // Before priority and fairness (1.18) only the audit's id tells, on the paths of the API.
        let of_api = [b"/api/".as_slice(), b"/apis/", b"/version", b"/healthz"].iter().any(|p| target.starts_with(p));
        if of_api && field(self.answered, "audit-id").is_some_and(|id| id.len() == 36) {
            return Some(Application { name: "kubernetes", product: "Kubernetes", version: None });
        }
        None
    }
}

/// Name and value of a field.
fn parts(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = line.split_at_checked(line.iter().position(|b| *b == b':')?)?;
    Some((name, value.get(1..)?.trim_ascii()))
}

fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut fields = Lines::new(head).take_while(|l| !l.is_empty()).filter_map(parts);
    fields.find(|(n, _)| is_one_of(n, &[name])).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(request: &'static str, answer: &'static str) -> Option<(&'static str, &'static str, &'static str)> {
        let (status, answered) = answer.split_once("\r\n").unwrap();
        let body = answered.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let [request, status, answered, body] = [request, status, answered, body].map(str::as_bytes);
        let found = Exchange { request, status, answered, body }.application()?;
        Some((found.name, found.product, std::str::from_utf8(found.version.unwrap_or_default()).unwrap()))
    }

    #[test]
    fn a_field_of_its_own_names_the_application() {
        let elastic =
            "HTTP/1.1 200 OK\r\nX-elastic-product: Elasticsearch\r\n\r\n{\"version\" : {\n \"number\" : \"8.9.0\",";
        assert_eq!(found("GET / HTTP/1.1", elastic), Some(("elasticsearch", "Elasticsearch", "8.9.0")));
        let influx = "HTTP/1.1 204 No Content\r\nX-Influxdb-Version: 1.8.10\r\n\r\n";
        assert_eq!(found("GET /ping HTTP/1.1", influx), Some(("influxdb", "InfluxDB", "1.8.10")));
        let docker = "HTTP/1.1 200 OK\r\nApi-Version: 1.43\r\nServer: Docker/24.0.7 (linux)\r\n\r\n";
        assert_eq!(found("GET /version HTTP/1.1", docker), Some(("docker", "", "")));
        let metrics = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\r\n# HELP";
        assert_eq!(found("GET /metrics HTTP/1.1", metrics), Some(("prometheus-exporter", "", "")));
        let kubernetes = "HTTP/1.1 403 Forbidden\r\nAudit-Id: 9e5c0a3b-0000-4000-8000-000000000000\r\n\r\n";
        assert_eq!(found("GET /api/v1/pods HTTP/1.1", kubernetes), Some(("kubernetes", "Kubernetes", "")));
        assert_eq!(found("GET /shop HTTP/1.1", kubernetes), None);
    }

    #[test]
    fn a_server_is_what_it_answers_and_not_what_it_is_asked() {
        let plain = "HTTP/1.1 404 Not Found\r\nServer: nginx\r\nContent-Type: text/plain\r\n\r\nX-Influxdb-Version: 1";
        for asked in
            ["GET /metrics HTTP/1.1", "POST /wsman HTTP/1.1", "CONNECT a:1 HTTP/1.1", "GET /_cat/nodes HTTP/1.1"]
        {
            assert_eq!(found(asked, plain), None, "{asked}");
        }
        let winrm = "HTTP/1.1 401\r\nServer: Microsoft-HTTPAPI/2.0\r\n\r\n";
        assert_eq!(found("POST /wsman?PSVersion=5.1 HTTP/1.1", winrm), Some(("winrm", "", "")));
        assert_eq!(found("GET / HTTP/1.1", winrm), None);
    }

    #[test]
    fn a_tunnel_that_opened_is_a_proxys_and_an_upgrade_is_what_was_agreed() {
        assert_eq!(found("CONNECT a:1 HTTP/1.1", "HTTP/1.1 200 OK\r\n\r\n"), Some(("http-proxy", "", "")));
        let upgraded = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(found("GET /chat HTTP/1.1", upgraded), Some(("websocket", "", "")));
        assert_eq!(found("GET /chat HTTP/1.1", "HTTP/1.1 400 Bad\r\n\r\n"), None);
    }
}
