//! The search of one flow for the user's applications, beside that of the roster: what the user defined wins.
//!
//! It ends with the server's first [`LOOK_BYTES_MAX`] bytes at the latest, its first datagrams, or when one side sends
//! [`SILENCE_BYTES_MAX`] bytes or [`DATAGRAMS_MAX`] datagrams without an answer. Until then the roster's word is held
//! back, so that a flow is not called one thing first and another thing later.

use std::sync::Arc;

use super::definition::{Compiled, Definitions, LOOK_BYTES_MAX, Walk};
use crate::model::{AppInfo, Side, Transport};

const DATAGRAMS_MAX: u8 = 8;
const SILENCE_BYTES_MAX: usize = 64 * 1024;

pub(super) struct Search {
    definitions: Arc<Definitions>,
    transport: Transport,
    alive: Vec<Candidate>,
    /// The server's first bytes.
    head: Vec<u8>,
    /// Bytes of each side that were looked at (TCP).
    walked: [usize; 2],
    silence: usize,
    datagrams: u8,
    /// The roster's word.
    held: Option<AppInfo>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Searching,
    /// It is this one; its version may still come.
    Found(usize),
    Over,
}

struct Candidate {
    at: usize,
    server: Walk,
    client: Walk,
}

impl Search {
    /// `None` where nothing that is defined may be on this port.
    pub fn new(definitions: &Arc<Definitions>, transport: Transport, port: u16) -> Option<Box<Self>> {
        let mut alive = Vec::new();
        for at in definitions.on(transport, port) {
            alive.extend(definitions.get(at).map(|compiled| Candidate::new(at, compiled)));
        }
        (!alive.is_empty()).then(|| {
            Box::new(Search {
                definitions: Arc::clone(definitions),
                transport,
                alive,
                head: Vec::new(),
                walked: [0; 2],
                silence: 0,
                datagrams: 0,
                held: None,
                state: State::Searching,
            })
        })
    }

    /// It has an open question, or something to tell.
    pub fn goes_on(&self) -> bool {
        self.state != State::Over || self.held.is_some()
    }

    pub fn searches(&self) -> bool {
        self.state == State::Searching
    }

    /// One of the user's: the roster is not asked any more.
    pub fn found(&self) -> bool {
        matches!(self.state, State::Found(_))
    }

    pub fn held(&self) -> usize {
        self.head.capacity()
    }

    /// The roster's word, until this search is over.
    pub fn hold(&mut self, app: AppInfo) {
        self.held = Some(app);
    }

    pub fn release(&mut self) -> Option<AppInfo> {
        self.held.take()
    }

    /// In-order bytes of a stream, or one datagram; what the user calls it.
    pub fn data(&mut self, side: Side, bytes: &[u8]) -> Option<AppInfo> {
        match (self.state, self.transport) {
            (State::Over, _) => None,
            (State::Found(at), _) => self.more(at, side, bytes),
            (State::Searching, Transport::Udp) => self.datagram(side, bytes),
            (State::Searching, _) => self.stream(side, bytes),
        }
    }

    /// Bytes of this side are missing.
    pub fn gap(&mut self, side: Side) {
        match side {
            Side::Resp => self.over(),
            Side::Orig => {
                self.alive.retain(|candidate| candidate.client == Walk::Matched);
                if self.alive.is_empty() {
                    self.over();
                }
            }
        }
    }

    pub fn over(&mut self) {
        self.state = State::Over;
        self.alive = Vec::new();
        self.head = Vec::new();
    }

    fn stream(&mut self, side: Side, bytes: &[u8]) -> Option<AppInfo> {
        match side {
            Side::Resp => {
                self.silence = 0;
                self.keep(bytes);
            }
            Side::Orig => self.silence = self.silence.saturating_add(bytes.len()),
        }
        let walked = self.walked.get(side as usize).copied().unwrap_or(LOOK_BYTES_MAX);
        let room = LOOK_BYTES_MAX.saturating_sub(walked);
        let (look, rest) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
        for candidate in &mut self.alive {
            candidate.step(&self.definitions, side, look, rest.first().copied());
        }
        if let Some(slot) = self.walked.get_mut(side as usize) {
            *slot = walked.saturating_add(look.len());
        }
        let full = walked.saturating_add(look.len()) >= LOOK_BYTES_MAX;
        // What has not matched within the bound will not.
        self.alive.retain(|c| {
            let open = |walk| matches!(walk, Walk::At(_));
            let late = full && open(if side == Side::Resp { c.server } else { c.client });
            !late && c.server != Walk::Failed && c.client != Walk::Failed
        });
        self.decide(self.silence > SILENCE_BYTES_MAX)
    }

    fn datagram(&mut self, side: Side, bytes: &[u8]) -> Option<AppInfo> {
        self.datagrams = self.datagrams.saturating_add(1);
        let (look, rest) = bytes.split_at_checked(LOOK_BYTES_MAX).unwrap_or((bytes, &[]));
        let mut lives = false;
        for candidate in &mut self.alive {
            // Each datagram is another message.
            candidate.begin(&self.definitions, side);
            candidate.step(&self.definitions, side, look, rest.first().copied());
            lives |= (candidate.server, candidate.client) == (Walk::Matched, Walk::Matched);
        }
        if side == Side::Resp {
            self.head.clear();
            self.keep(bytes);
        }
        // The server has spoken, and the roster has an answer: nothing better is waited for.
        let declined = side == Side::Resp && !lives && self.held.is_some();
        self.decide(declined || self.datagrams >= DATAGRAMS_MAX)
    }

    fn decide(&mut self, enough: bool) -> Option<AppInfo> {
        let proved = self.alive.iter().find(|c| (c.server, c.client) == (Walk::Matched, Walk::Matched));
        if let Some(at) = proved.map(|candidate| candidate.at) {
            let info = self.definitions.get(at).map(|compiled| compiled.describe(&self.head));
            self.held = None;
            self.alive = Vec::new();
            self.state = State::Found(at);
            if self.transport == Transport::Udp || self.head.len() >= LOOK_BYTES_MAX {
                self.over();
            }
            return info;
        }
        if enough || self.alive.is_empty() {
            self.over();
        }
        None
    }

    /// The rest of the server's first message may tell more.
    fn more(&mut self, at: usize, side: Side, bytes: &[u8]) -> Option<AppInfo> {
        let compiled = self.definitions.get(at);
        if side == Side::Orig {
            self.over();
            return None;
        }
        let before = compiled.map(|compiled| compiled.describe(&self.head));
        let room = LOOK_BYTES_MAX.saturating_sub(self.head.len());
        self.head.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        let now = compiled.map(|compiled| compiled.describe(&self.head));
        if self.head.len() >= LOOK_BYTES_MAX {
            self.over();
        }
        now.filter(|now| Some(now) != before.as_ref())
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LOOK_BYTES_MAX.saturating_sub(self.head.len());
        self.head.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }
}

impl Candidate {
    fn new(at: usize, compiled: &Compiled) -> Self {
        let client = compiled.client.as_ref().map_or(Walk::Matched, |client| client.begin());
        Candidate { at, server: compiled.server.begin(), client }
    }

    fn begin(&mut self, definitions: &Definitions, side: Side) {
        let Some(compiled) = definitions.get(self.at) else { return };
        let fresh = Candidate::new(self.at, compiled);
        match side {
            Side::Resp => self.server = fresh.server,
            Side::Orig => self.client = fresh.client,
        }
    }

    fn step(&mut self, definitions: &Definitions, side: Side, bytes: &[u8], after: Option<u8>) {
        let Some(compiled) = definitions.get(self.at) else { return };
        match (side, &compiled.client) {
            (Side::Resp, _) => self.server = compiled.server.walk(self.server, bytes, after),
            (Side::Orig, Some(client)) => self.client = client.walk(self.client, bytes, after),
            (Side::Orig, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::definition::tests::{definition, regex};
    use super::super::definition::{Definition, Over, Pattern};
    use super::super::{AppCounters, AppState, Ends};
    use super::*;

    fn ends(transport: Transport, port: u16) -> Ends {
        Ends { orig: (IpAddr::from([10, 0, 0, 1]), 40_000), resp: (IpAddr::from([10, 0, 0, 2]), port), transport }
    }

    /// What is told of a flow, and at its end; whether anything listens after its last bytes.
    fn told(apps: &[Definition], transport: Transport, port: u16, pieces: &[(Side, &[u8])]) -> (Vec<String>, bool) {
        let all = Definitions::compile(apps).unwrap();
        let mut state = AppState::new(transport, false).with(&all, port);
        let (mut counters, mut names) = (AppCounters::default(), Vec::new());
        let name =
            |app: &AppInfo| format!("{}{}", app.proto, app.version.as_ref().map_or(String::new(), |v| format!(" {v}")));
        for (side, bytes) in pieces {
            names.extend(state.data(*side, bytes, &ends(transport, port), &mut counters).app.iter().map(name));
        }
        let listening = state.listening();
        names.extend(state.last_word().iter().map(name));
        (names, listening)
    }

    fn acme() -> Definition {
        definition("acme", regex("ACME/(?P<version>[0-9.]+)"))
    }

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22\r\n\r\n";

    #[test]
    fn the_servers_bytes_prove_what_the_user_defined() {
        let pieces: &[(Side, &[u8])] = &[(Side::Orig, b"\x01hello"), (Side::Resp, b"ACME/2.1 ready")];
        assert_eq!(told(&[acme()], Transport::Tcp, 7001, pieces).0, ["acme 2.1"]);
        // In single bytes too, and the version as it grows.
        let bytes: Vec<(Side, &[u8])> = b"ACME/2.10 ready".chunks(1).map(|b| (Side::Resp, b)).collect();
        let names = told(&[acme()], Transport::Tcp, 7001, &bytes).0;
        assert_eq!((names.first().unwrap().as_str(), names.last().unwrap().as_str()), ("acme 2", "acme 2.10"));
        let ends = [&bytes[..], &[(Side::Orig, b"x")]].concat();
        assert!(!told(&[acme()], Transport::Tcp, 7001, &ends).1);
    }

    #[test]
    fn near_misses_name_nothing() {
        let tcp = |apps: &[Definition], pieces: &[(Side, &[u8])]| told(apps, Transport::Tcp, 7001, pieces).0;
        let none = [""; 0];
        // The client's word, the middle of a stream, another byte, too late.
        assert_eq!(tcp(&[acme()], &[(Side::Orig, b"ACME/2.1"), (Side::Resp, b"\x01\x02")]), none);
        assert_eq!(tcp(&[acme()], &[(Side::Resp, b"\x7f ACME/2.1")]), none);
        assert_eq!(tcp(&[acme()], &[(Side::Resp, b"ACMF/2.1")]), none);
        let late = definition("late", regex("(?s).*ACME"));
        let filler = [0x7f; 300];
        assert_eq!(tcp(std::slice::from_ref(&late), &[(Side::Resp, &filler), (Side::Resp, b"ACME")]), none);
        assert_eq!(tcp(&[late], &[(Side::Resp, &filler[..252]), (Side::Resp, b"ACME")]), ["late"]);
        // Another port than those it is narrowed to, and a client that does not fit.
        let mut narrowed = acme();
        narrowed.ports = vec![7002];
        assert_eq!(tcp(&[narrowed], &[(Side::Resp, b"ACME/2.1")]), none);
        let mut both = acme();
        both.client = Some(Pattern::Text("HI".to_owned()));
        assert_eq!(tcp(&[both.clone()], &[(Side::Orig, b"HO"), (Side::Resp, b"ACME/2.1")]), none);
        assert_eq!(tcp(&[both], &[(Side::Resp, b"ACME/2.1 "), (Side::Orig, b"HI")]), ["acme 2.1"]);
    }

    #[test]
    fn a_flow_in_mid_connection_is_not_read() {
        let all = Definitions::compile(&[acme()]).unwrap();
        let mut state = AppState::new(Transport::Tcp, true).with(&all, 7001);
        let mut counters = AppCounters::default();
        assert!(state.data(Side::Resp, b"ACME/2.1", &ends(Transport::Tcp, 7001), &mut counters).app.is_none());
    }

    #[test]
    fn the_users_definition_wins_and_is_the_only_word() {
        let own = definition("acme-web", regex("HTTP/1\\.1 200 OK\r\nServer: Acme"));
        let answer = b"HTTP/1.1 200 OK\r\nServer: Acme\r\n\r\n";
        let pieces: &[(Side, &[u8])] = &[(Side::Orig, GET), (Side::Resp, answer)];
        assert_eq!(told(std::slice::from_ref(&own), Transport::Tcp, 80, pieces), (vec!["acme-web".to_owned()], true));
        // The quiet twin: any other web server is what it was, told when the definition can no longer be it.
        assert_eq!(told(&[own], Transport::Tcp, 80, &[(Side::Orig, GET), (Side::Resp, OK)]).0, ["http 1.22"]);
    }

    #[test]
    fn what_the_roster_said_is_not_lost_where_the_server_is_never_seen() {
        assert_eq!(told(&[acme()], Transport::Tcp, 80, &[(Side::Orig, GET)]), (vec!["http".to_owned()], true));
        let body = [b'x'; 40_000];
        let upload: &[(Side, &[u8])] = &[(Side::Orig, GET), (Side::Orig, &body), (Side::Orig, &body)];
        assert_eq!(told(&[acme()], Transport::Tcp, 80, upload).0, ["http"]);
        let all = Definitions::compile(&[acme()]).unwrap();
        let mut state = AppState::new(Transport::Tcp, false).with(&all, 80);
        let mut counters = AppCounters::default();
        state.data(Side::Orig, GET, &ends(Transport::Tcp, 80), &mut counters);
        state.gap(Side::Resp, &mut counters);
        assert_eq!(state.last_word().map(|app| app.proto.to_string()), Some("http".to_owned()));
    }

    #[test]
    fn bytes_of_nobody_end_this_search_too() {
        let nobody = b"\x7f\xff\xff\xff\xff\xff\xff\xff\xff";
        let (names, listening) = told(&[acme()], Transport::Tcp, 7001, &[(Side::Orig, nobody), (Side::Resp, nobody)]);
        assert!(names.is_empty() && !listening);
        let flood: Vec<(Side, &[u8])> = vec![(Side::Orig, &[0x7f; 1400][..]); 60];
        assert!(!told(&[acme()], Transport::Tcp, 7001, &flood).1);
    }

    #[test]
    fn datagrams_are_each_a_message() {
        let mut log = definition("acme-log", regex("LOG[0-9]+$"));
        (log.transport, log.client) = (Over::Udp, Some(Pattern::Text("PUT".to_owned())));
        let udp = |pieces: &[(Side, &[u8])]| told(std::slice::from_ref(&log), Transport::Udp, 9, pieces);
        let nonsense = (Side::Resp, b"\xf7\xf7nothing".as_slice());
        let put = (Side::Orig, b"PUT a".as_slice());
        assert_eq!(udp(&[put, nonsense, (Side::Resp, b"LOG12")]), (vec!["acme-log".to_owned()], false));
        assert!(udp(&[put, (Side::Resp, b"LOG12x")]).0.is_empty());
        assert!(udp(&[(Side::Orig, b"GET a"), (Side::Resp, b"LOG12")]).0.is_empty());
        assert!(udp(&[(Side::Orig, b"PUT a"), (Side::Orig, b"LOG12")]).0.is_empty());
        // Not looked for for ever.
        let mut many = vec![nonsense; usize::from(DATAGRAMS_MAX)];
        many.extend([put, (Side::Resp, b"LOG12")]);
        assert!(udp(&many).0.is_empty());
    }
}
