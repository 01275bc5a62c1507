//! Miners and their pools: Stratum (of Bitcoin and its kin), Monero's login, Ethereum's getwork: JSON lines.
//!
//! Read is the first line of each side. A login is a wallet: not kept.

use super::evidence::{Evidence, Role, after, weigh};
use super::line::Lines;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Short};

pub(super) struct Mining;

const LINE_BYTES_MAX: usize = 2048;
/// What only a miner calls. Monero's plain "login" is one where the pool answers with a job.
const CALLS: [&[u8]; 6] = [b"mining.", b"login", b"eth_submitLogin", b"eth_getWork", b"eth_login", b"keepalived"];
/// What only a pool says: its notices, its jobs, the subscription's answer.
const ANSWERS: [&[u8]; 4] = [b"\"mining.", b"\"job\"", b"\"job_id\"", b"\"result\""];

impl Protocol for Mining {
    fn name(&self) -> &'static str {
        "mining"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| match bytes {
            [b'{', ..] => message(bytes),
            _ => No,
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(server) = info.server else { return Described::Whole };
        let client = opening.side(server.other());
        let method = value(client, b"\"method\"").unwrap_or_default();
        let family = match method {
            [b'm', ..] => "stratum",
            [b'e', ..] => "ethereum",
            _ => "monero",
        };
        info.detail("application", family);
        // Monero's login names the miner; Stratum's subscription has it as the first parameter.
        let agent = value(client, b"\"agent\"").or_else(|| {
            let first = after(client, b"\"params\"").filter(|_| method == b"mining.subscribe")?;
            first
                .split(|b| *b == b'"')
                .nth(1)
                .filter(|agent| first.iter().take(4).any(|b| *b == b'[') && !agent.is_empty())
        });
        info.detail("user_agent", agent.unwrap_or_default());
        Described::Whole
    }
}

fn message(bytes: &[u8]) -> Evidence {
    let line = Lines::new(bytes).next();
    let text = line.unwrap_or(bytes);
    if text.len() > LINE_BYTES_MAX || text.iter().any(|b| *b < b' ' && !matches!(b, b'\t' | b'\r')) {
        return No;
    }
    if line.is_none() {
        return Short;
    }
    let method = value(text, b"\"method\"");
    if let Some(method) = method.filter(|m| CALLS.iter().any(|c| m.starts_with(c)))
        && method != b"mining.notify"
        && method != b"mining.set_difficulty"
    {
        // A login without a wallet and its password is another protocol's.
        return Hint(Role::Client).only_if(method != b"login" || after(text, b"\"pass\"").is_some());
    }
    Hint(Role::Server).only_if(ANSWERS.iter().any(|mark| after(text, mark).is_some()))
}

/// The string that follows a key.
fn value<'a>(text: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let rest = after(text, key)?.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    rest.split(|b| *b == b'"').next()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    const SUBSCRIBE: &[u8] = b"{\"id\": 1, \"method\": \"mining.subscribe\", \"params\": [\"cpuminer/2.5.1\"]}\n";
    const SUBSCRIBED: &[u8] = b"{\"id\":1,\"result\":[[[\"mining.notify\",\"ae\"]],\"08000002\",4],\"error\":null}\n";
    const LOGIN: &[u8] = b"{\"id\":1,\"jsonrpc\":\"2.0\",\"method\":\"login\",\"params\":{\"login\":\"48edfHu7\",\"pass\":\"x\",\"agent\":\"XMRig/6.20.0 (Linux x86_64)\"}}\n";
    const JOB: &[u8] = b"{\"id\":1,\"jsonrpc\":\"2.0\",\"error\":null,\"result\":{\"id\":\"a\",\"job\":{\"blob\":\"0e0e\",\"job_id\":\"1\"}}}\n";

    pub(crate) fn examples() -> Vec<Example> {
        vec![
            Example::tcp("mining", SUBSCRIBE, SUBSCRIBED, Some(Side::Resp)),
            Example::tcp("mining", LOGIN, JOB, Some(Side::Resp)),
        ]
    }

    #[test]
    fn the_miner_is_named_and_no_wallet_is_kept() {
        assert_eq!(examples()[0].described(&Mining).get("user_agent"), Some("cpuminer/2.5.1"));
        let info = examples()[1].described(&Mining);
        assert_eq!(info.get("user_agent"), Some("XMRig/6.20.0 (Linux x86_64)"));
        assert_eq!(info.get("application"), Some("monero"));
        assert!(!format!("{info:?}").contains("48edf"));
    }

    #[test]
    fn other_json_and_one_side_alone_are_no_proof() {
        assert_eq!(ask(&Mining, Transport::Tcp, SUBSCRIBE, b""), Probe::Unsure);
        let other = b"{\"id\":1,\"jsonrpc\":\"2.0\",\"method\":\"login\",\"params\":{\"user\":\"joe\"}}\n";
        assert_eq!(ask(&Mining, Transport::Tcp, other, JOB), Probe::NotForUs);
        assert_eq!(ask(&Mining, Transport::Tcp, b"{\"method\":\"getinfo\"}\n", JOB), Probe::NotForUs);
        assert_eq!(ask(&Mining, Transport::Tcp, SUBSCRIBE, b"HTTP/1.1 400\r\n"), Probe::NotForUs);
    }
}
