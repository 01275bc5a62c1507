//! What every protocol of the roster is asked: to know its own example, to leave the others' alone, and to survive
//! any cut and any bytes.

use proptest::prelude::*;

use super::*;

/// The two directions of one opening.
pub(in crate::app) struct Talk {
    transport: Transport,
    orig: Vec<u8>,
    resp: Vec<u8>,
    midstream: bool,
    first: Side,
}

impl Talk {
    pub(in crate::app) fn opening(&self) -> Opening<'_> {
        Opening {
            transport: self.transport,
            orig: &self.orig,
            resp: &self.resp,
            orig_port: 40_000,
            resp_port: 50_000,
            before: Default::default(),
            midstream: self.midstream,
            first: if self.orig.is_empty() && !self.resp.is_empty() { Side::Resp } else { self.first },
        }
    }

    pub(in crate::app) fn served_first(mut self) -> Talk {
        self.first = Side::Resp;
        self
    }
}

pub(in crate::app) fn tcp(orig: &[u8], resp: &[u8]) -> Talk {
    Talk { transport: Transport::Tcp, orig: orig.into(), resp: resp.into(), midstream: false, first: Side::Orig }
}

pub(in crate::app) fn udp(orig: &[u8], resp: &[u8]) -> Talk {
    Talk { transport: Transport::Udp, ..tcp(orig, resp) }
}

pub(in crate::app) fn midstream(orig: &[u8], resp: &[u8]) -> Talk {
    Talk { midstream: true, ..tcp(orig, resp) }
}

pub(in crate::app) fn probed(protocol: &dyn Protocol, talk: Talk) -> Probe {
    protocol.probe(&talk.opening())
}

/// What is told of an opening that is certain.
pub(in crate::app) fn described(protocol: &dyn Protocol, talk: Talk) -> (AppInfo, Described) {
    let Probe::Certain(server) = protocol.probe(&talk.opening()) else {
        panic!("{} does not know its own example", protocol.name());
    };
    let mut info = AppInfo::new(protocol.name(), server);
    let whole = protocol.describe(&talk.opening(), &mut info);
    (info, whole)
}

/// Cut anywhere, either direction, an example is never another thing, and its whole is certain.
pub(in crate::app) fn every_cut(protocol: &dyn Protocol, talk: Talk) {
    let mut certain_before = false;
    for end in 0..=talk.orig.len() + talk.resp.len() {
        let (orig, resp) = (end.min(talk.orig.len()), end.saturating_sub(talk.orig.len()));
        let (orig, resp) = match talk.first {
            Side::Orig => (&talk.orig[..orig], &talk.resp[..resp]),
            Side::Resp => {
                let resp = end.min(talk.resp.len());
                (&talk.orig[..end - resp], &talk.resp[..resp])
            }
        };
        let cut = Talk { orig: orig.into(), resp: resp.into(), ..talk };
        match protocol.probe(&cut.opening()) {
            Probe::Certain(server) => {
                certain_before = true;
                protocol.describe(&cut.opening(), &mut AppInfo::new(protocol.name(), server));
            }
            // A datagram is whole or it is none.
            Probe::NotForUs => assert!(talk.transport == Transport::Udp, "{} refuses {end} bytes", protocol.name()),
            Probe::Unsure => assert!(!certain_before, "{} is no longer certain at {end}", protocol.name()),
        }
    }
    assert!(certain_before, "{}", protocol.name());
}

fn examples() -> Vec<(&'static str, Talk)> {
    use super::*;
    vec![
        ("http", tcp(http::tests::REQUEST, http::tests::RESPONSE)),
        ("tls", tcp(&tls::tests::client(), &tls::tests::server())),
        ("quic", udp(&quic::tests::initial(1), b"")),
        ("ssh", tcp(&ssh::tests::client(), &ssh::tests::server()).served_first()),
        ("ftp", tcp(ftp::tests::CLIENT, ftp::tests::SERVER).served_first()),
        ("smtp", tcp(smtp::tests::CLIENT, smtp::tests::SERVER).served_first()),
        ("pop3", tcp(pop3::tests::CLIENT, pop3::tests::SERVER).served_first()),
        ("imap", tcp(imap::tests::CLIENT, imap::tests::SERVER).served_first()),
        ("telnet", tcp(telnet::tests::CLIENT, telnet::tests::SERVER).served_first()),
        ("rdp", tcp(rdp::tests::REQUEST, rdp::tests::CONFIRM)),
        ("rfb", tcp(rfb::tests::CLIENT, rfb::tests::SERVER).served_first()),
        ("ldap", tcp(ldap::tests::BIND, ldap::tests::BOUND)),
        ("ldap", udp(&ldap::tests::rootdse(), b"")),
        ("krb5", tcp(&krb5::tests::over_tcp(&krb5::tests::as_req()), b"")),
        ("krb5", udp(&krb5::tests::as_req(), &krb5::tests::error())),
        ("sip", udp(sip::tests::INVITE, sip::tests::RINGING)),
        ("sip", tcp(sip::tests::INVITE, sip::tests::RINGING)),
        ("ike", udp(&ike::tests::sa_init(), b"")),
        ("socks", tcp(socks::tests::CLIENT, socks::tests::SERVER)),
    ]
}

fn ends() -> Ends {
    let ip = |last| std::net::IpAddr::from([10, 0, 0, last]);
    Ends { orig: (ip(1), 40_000), resp: (ip(2), 50_000), transport: Transport::Tcp }
}

#[test]
fn every_example_is_recognised_as_exactly_its_protocol() {
    for (name, talk) in examples() {
        for protocol in ROSTER.iter().filter(|p| p.runs_over(talk.transport)) {
            let certain = matches!(protocol.probe(&talk.opening()), Probe::Certain(_));
            assert_eq!(certain, protocol.name() == name, "{} asked about {name}", protocol.name());
        }
    }
}

#[test]
fn the_roster_and_the_list_of_names_are_the_same() {
    let mut roster: Vec<&str> = ROSTER.iter().map(|protocol| protocol.name()).collect();
    // Never proved by its own payload: told by what announced it.
    roster.push("ftp-data");
    roster.sort_unstable();
    let known: Vec<&str> = crate::model::APP_NAMES.iter().map(|known| known.name).collect();
    assert_eq!(roster, known);
}

#[test]
fn every_example_of_datagrams_is_shown_to_its_protocol() {
    for (name, talk) in examples().into_iter().filter(|(_, talk)| talk.transport == Transport::Udp) {
        let heard =
            AppState::new(Transport::Udp, false).data(Side::Orig, &talk.orig, &ends(), &mut AppCounters::default());
        assert_eq!(heard.app.map(|a| a.proto.to_string()), Some(name.to_owned()));
    }
}

#[test]
fn no_beginning_of_an_example_is_taken_for_another_protocol() {
    for (name, talk) in examples() {
        for end in 0..talk.orig.len().max(talk.resp.len()) {
            let (orig, resp) = (talk.orig.get(..end).unwrap_or(&talk.orig), talk.resp.get(..end).unwrap_or(&talk.resp));
            let cut = Talk { orig: orig.into(), resp: resp.into(), ..talk };
            for protocol in ROSTER.iter().filter(|p| p.runs_over(talk.transport) && p.name() != name) {
                assert!(!matches!(protocol.probe(&cut.opening()), Probe::Certain(_)), "{} for {name}", protocol.name());
            }
        }
    }
}

#[test]
fn one_protocols_answer_to_another_is_never_a_proof_of_a_third() {
    for (asked, one) in examples() {
        for (answered, two) in examples().into_iter().filter(|(_, two)| two.transport == one.transport) {
            let mixed = Talk { orig: one.orig.clone(), resp: two.resp, ..two };
            for protocol in ROSTER.iter().filter(|p| p.runs_over(mixed.transport)) {
                if let Probe::Certain(_) = protocol.probe(&mixed.opening()) {
                    assert!(
                        [asked, answered].contains(&protocol.name()),
                        "{} for {asked} and {answered}",
                        protocol.name()
                    );
                }
            }
        }
    }
}

#[test]
fn random_openings_are_never_certain() {
    // A proof of few bits would show here: 20,000 openings of 64 bytes.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut bytes = || {
        std::array::from_fn::<u8, 64, _>(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
    };
    for _ in 0..20_000 {
        let (orig, resp) = (bytes(), bytes());
        for talk in [tcp(&orig, &resp), udp(&orig, &resp), midstream(&orig, &resp)] {
            for protocol in ROSTER.iter().filter(|p| p.runs_over(talk.transport)) {
                assert!(!matches!(protocol.probe(&talk.opening()), Probe::Certain(_)), "{} {orig:?}", protocol.name());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// An example with bytes changed, cut and read in pieces: nothing panics, and what is kept stays bounded.
    #[test]
    fn damaged_examples_are_survived(
        which in 0usize..19,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        step in 1usize..700,
    ) {
        let (_, mut talk) = examples().swap_remove(which);
        for (at, byte) in &flips {
            for side in [&mut talk.orig, &mut talk.resp] {
                if !side.is_empty() {
                    let at = at.index(side.len());
                    side[at] = *byte;
                }
            }
        }
        let mut counters = AppCounters::default();
        let mut state = AppState::new(talk.transport, talk.midstream);
        for (side, bytes) in [(Side::Orig, &talk.orig), (Side::Resp, &talk.resp)] {
            for piece in bytes.chunks(step) {
                state.data(side, piece, &ends(), &mut counters);
                prop_assert!(state.held() <= 4 * OPENING_BYTES_MAX);
            }
        }
        let opening = talk.opening();
        for protocol in ROSTER {
            protocol.describe(&opening, &mut AppInfo::new(protocol.name(), None));
        }
    }

    #[test]
    fn any_bytes_are_survived(
        orig in prop::collection::vec(any::<u8>(), 0..200),
        resp in prop::collection::vec(any::<u8>(), 0..200),
        datagrams in any::<bool>(),
    ) {
        let talk = if datagrams { udp(&orig, &resp) } else { tcp(&orig, &resp) };
        for protocol in ROSTER {
            protocol.probe(&talk.opening());
            protocol.describe(&talk.opening(), &mut AppInfo::new(protocol.name(), Some(Side::Orig)));
            if let Some(mut follow) = protocol.follow() {
                follow.data(Side::Orig, &orig, &ends(), &mut FollowOut::default());
                follow.data(Side::Resp, &resp, &ends(), &mut FollowOut::default());
            }
        }
    }
}
