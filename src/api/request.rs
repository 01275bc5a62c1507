//! The questions, and their paths under `/v1/`.
//!
//! A GET takes its parameters from the query string, every other method from a JSON body of at most 1 MiB, an
//! inventory's of 32 MiB.
//! Unknown parameters are refused.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::inventory::InventoryFile;
use crate::model::{IncidentState, Rank, Severity};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    Vms {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vm: Option<String>,
    },
    Roles {},
    VmsHistory {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vm: Option<String>,
    },
    Services {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vm: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        only: Option<String>,
    },
    Peers {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vm: Option<String>,
    },
    Incidents {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vm: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        only: Option<IncidentState>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min_severity: Option<Severity>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rank: Option<Rank>,
    },
    /// Ranks by day.
    IncidentsByDay {},
    Incident {
        id: String,
    },
    IncidentsExport {},
    Ack {
        id: String,
        by: String,
        #[serde(default)]
        message: String,
    },
    Resolve {
        id: String,
        by: String,
        #[serde(default)]
        message: String,
    },
    Comment {
        id: String,
        by: String,
        message: String,
    },
    Why {
        vm: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
    },
    SanctionList {},
    SanctionAdd {
        vm: String,
        service: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        app: Option<String>,
        owner: String,
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ticket: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires: Option<String>,
        by: String,
    },
    /// All of them, or none where one is at fault.
    SanctionImport {
        /// The file's name, for errors.
        name: String,
        rows: Vec<SanctionRow>,
        by: String,
    },
    SanctionRemove {
        vm: String,
        service: String,
        by: String,
    },
    BaselineStatus {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vm: Option<String>,
    },
    BaselineExport {
        /// `json` (when none is given), `toml`, or a kind of rules: `nftables`, `nsx-csv`, `k8s-networkpolicy`,
        /// `aws-security-group`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        format: Option<String>,
    },
    BaselineImport {
        file: TextFile,
        /// What lies beside it: `.minisig` or `.sig`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<TextFile>,
        /// Keys of which one must have signed it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keys: Option<TextFile>,
        #[serde(default)]
        dry_run: bool,
        by: String,
    },
    BaselineDiff {
        file: TextFile,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        other: Option<TextFile>,
    },
    /// What came between two days, as far as what is known now tells.
    BaselineNews {
        from: String,
        to: String,
    },
    BaselineReset {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vm: Option<String>,
        by: String,
    },
    InventoryList {},
    /// All of them, or none where one is at fault.
    InventoryImport {
        /// Contents and names (for errors), not paths: the probe may not be able to read a path.
        files: Vec<InventoryFile>,
        /// What they are; none: what they show.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        format: Option<String>,
        by: String,
    },
    Status {},
}

/// A file's contents, and its name for faults: the probe may not be able to read a path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextFile {
    pub name: String,
    pub text: String,
}

/// One approval of a file, and the line it stands on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SanctionRow {
    pub line: u64,
    pub vm: String,
    pub service: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    pub owner: String,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// Method, path and verb of one request; `{id}` in a path is the parameter of that name.
#[derive(Debug)]
pub struct Route {
    pub method: &'static str,
    pub path: &'static str,
    pub verb: &'static str,
}

const fn route(method: &'static str, path: &'static str, verb: &'static str) -> Route {
    Route { method, path, verb }
}

pub const ROUTES: &[Route] = &[
    route("GET", "/v1/vms", "vms"),
    route("GET", "/v1/vms/history", "vms-history"),
    route("GET", "/v1/roles", "roles"),
    route("GET", "/v1/services", "services"),
    route("GET", "/v1/peers", "peers"),
    route("GET", "/v1/incidents", "incidents"),
    route("GET", "/v1/incidents/export", "incidents-export"),
    route("GET", "/v1/incidents/by-day", "incidents-by-day"),
    route("GET", "/v1/incidents/{id}", "incident"),
    route("POST", "/v1/incidents/{id}/ack", "ack"),
    route("POST", "/v1/incidents/{id}/resolve", "resolve"),
    route("POST", "/v1/incidents/{id}/comment", "comment"),
    route("GET", "/v1/why", "why"),
    route("GET", "/v1/sanctions", "sanction-list"),
    route("POST", "/v1/sanctions", "sanction-add"),
    route("POST", "/v1/sanctions/import", "sanction-import"),
    route("DELETE", "/v1/sanctions", "sanction-remove"),
    route("GET", "/v1/baseline", "baseline-status"),
    route("GET", "/v1/baseline/export", "baseline-export"),
    route("POST", "/v1/baseline/import", "baseline-import"),
    route("POST", "/v1/baseline/diff", "baseline-diff"),
    route("GET", "/v1/baseline/news", "baseline-news"),
    route("POST", "/v1/baseline/reset", "baseline-reset"),
    route("GET", "/v1/inventory", "inventory-list"),
    route("POST", "/v1/inventory", "inventory-import"),
    route("GET", "/v1/status", "status"),
];

impl Request {
    /// Reads a request from its HTTP form.
    ///
    /// # Errors
    /// What is wrong with it, for the answer's body.
    pub fn from_http(method: &str, path: &str, query: Option<&str>, body: &[u8]) -> Result<Self, String> {
        let (route, id) = ROUTES
            .iter()
            .filter(|r| r.method == method)
            .find_map(|r| r.captures(path).map(|id| (r, id)))
            .ok_or_else(|| format!("no such path: {method} {path}; GET /v1/status is one"))?;
        let mut fields = Map::new();
        if method == "GET" {
            for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
                fields.insert(name.into_owned(), Value::String(value.into_owned()));
            }
        } else if !body.is_empty() {
            fields = serde_json::from_slice(body).map_err(|e| format!("the body is not a JSON object: {e}"))?;
        }
        if let Some(id) = id {
            fields.insert("id".to_owned(), Value::String(id));
        }
        fields.insert("verb".to_owned(), Value::String(route.verb.to_owned()));
        serde_json::from_value(Value::Object(fields)).map_err(|e| format!("{method} {path}: {e}"))
    }

    /// Method, path with query, and body of this request.
    ///
    /// # Errors
    /// Never for a request that this version defines.
    pub fn to_http(&self) -> Result<(&'static str, String, Vec<u8>), String> {
        let Ok(Value::Object(mut fields)) = serde_json::to_value(self) else {
            return Err("a request is always an object".to_owned());
        };
        let verb = fields.remove("verb").unwrap_or_default();
        let route = ROUTES.iter().find(|r| Some(r.verb) == verb.as_str()).ok_or("a verb without a route")?;
        let mut path = route.path.to_owned();
        if path.contains("{id}") {
            let id = fields.remove("id").unwrap_or_default();
            path = path.replace("{id}", id.as_str().unwrap_or_default());
        }
        if route.method != "GET" {
            return Ok((route.method, path, serde_json::to_vec(&fields).map_err(|e| e.to_string())?));
        }
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in &fields {
            query.append_pair(name, value.as_str().unwrap_or_default());
        }
        let query = query.finish();
        if !query.is_empty() {
            path = format!("{path}?{query}");
        }
        Ok((route.method, path, Vec::new()))
    }
}

impl Route {
    /// The `{id}` of a matching path: `Some(None)` where the route has none.
    fn captures(&self, path: &str) -> Option<Option<String>> {
        let Some((before, after)) = self.path.split_once("{id}") else {
            return (path == self.path).then_some(None);
        };
        let id = path.strip_prefix(before)?.strip_suffix(after)?;
        (!id.is_empty() && !id.contains('/')).then(|| Some(id.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(request: &Request) -> Result<Request, String> {
        let (method, path, body) = request.to_http()?;
        let (path, query) = path.split_once('?').map_or((path.as_str(), None), |(p, q)| (p, Some(q)));
        Request::from_http(method, path, query, &body)
    }

    #[test]
    fn a_request_survives_http() {
        for request in [
            Request::Vms { vm: Some("web 01&x=y".into()) },
            Request::Incidents {
                vm: None,
                only: Some(IncidentState::Open),
                min_severity: Some(Severity::High),
                rank: Some(Rank::Page),
            },
            Request::IncidentsByDay {},
            Request::Incident { id: "inc-0123456789ab".into() },
            Request::Ack { id: "inc-0123456789ab".into(), by: "ann".into(), message: "on it".into() },
            Request::BaselineExport { format: Some("toml".into()) },
        ] {
            assert_eq!(round_trip(&request), Ok(request));
        }
    }

    #[test]
    fn unknown_paths_methods_and_parameters_are_refused() {
        assert!(Request::from_http("GET", "/v1/nothing", None, b"").is_err());
        assert!(Request::from_http("POST", "/v1/vms", None, b"").is_err());
        assert!(Request::from_http("GET", "/v1/vms", Some("wm=x"), b"").is_err());
        assert!(Request::from_http("POST", "/v1/baseline/reset", None, b"[1]").is_err());
        assert!(Request::from_http("GET", "/v1/incidents/a/b", None, b"").is_err());
    }
}
