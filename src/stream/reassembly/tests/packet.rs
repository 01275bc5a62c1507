//! Timestamps and urgent pointers by example.

use super::*;
use crate::decode::{Tcp, TcpFlags};

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const URG: u8 = 32;

/// A client whose first byte has sequence number 0, and a server whose first is 1000.
struct Talk {
    run: Run,
    second: i64,
}

/// What a segment has besides its place and bytes.
#[derive(Clone, Copy, Default)]
struct Head {
    flags: u8,
    ack: u32,
    stamps: Option<(u32, u32)>,
    urgent: u16,
}

fn ack(ack: u32) -> Head {
    Head { flags: ACK, ack, ..Head::default() }
}

impl Head {
    fn stamped(self, value: u32, echo: u32) -> Head {
        Head { stamps: Some((value, echo)), ..self }
    }

    fn urgent(self, urgent: u16) -> Head {
        Head { flags: self.flags | URG, urgent, ..self }
    }
}

impl Talk {
    /// The SYN-ACK; the client's clock stood at 100, the server's at 500, if they agree on timestamps.
    fn open(os: HostOs, urgent: Urgent, stamped: bool) -> Talk {
        let mut talk = Talk { run: Run { reassembly: Reassembly::new(os, os, urgent), ..Run::new() }, second: 0 };
        let head = Head { flags: SYN | ACK, ..ack(0) };
        talk.run.reassembly.begin(Side::Orig, 0);
        talk.say(Side::Resp, 999, if stamped { head.stamped(500, 100) } else { head }, b"");
        talk.client(0, ack(1000).stamped(100, 500), b"");
        talk
    }

    fn say(&mut self, side: Side, seq: u32, head: Head, bytes: &[u8]) {
        let options = head.stamps.map_or(Vec::new(), |(value, echo)| {
            [&[1, 1, 8, 10][..], &value.to_be_bytes(), &echo.to_be_bytes()].concat()
        });
        let tcp = Tcp {
            src_port: 1,
            dst_port: 2,
            seq,
            ack: head.ack,
            flags: TcpFlags(head.flags),
            window: 64_240,
            urgent: head.urgent,
            options: &options,
            payload: bytes,
            payload_len: bytes.len() as u32,
        };
        let now = Timestamp::ZERO.plus_s(self.second);
        self.run.with(|r, budget, counters, mut sink| r.packet(side, &tcp, now, budget, counters, &mut sink));
    }

    fn client(&mut self, seq: u32, head: Head, bytes: &[u8]) {
        self.say(Side::Orig, seq, head, bytes);
    }

    /// The server acknowledges.
    fn server(&mut self, head: Head) {
        self.say(Side::Resp, 1000, head, b"");
    }

    fn told(&mut self) -> (&str, bool) {
        let conflict = self.run.reassembly.take_conflict().is_some();
        (std::str::from_utf8(&self.run.out).unwrap(), conflict)
    }
}

/// The evasion: what the server discards by its timestamp is shown first, the true bytes after it.
fn shown_something_else(talk: &mut Talk) {
    talk.client(0, ack(1000).stamped(110, 500), b"SSH-");
    talk.client(4, ack(1000).stamped(90, 500), b"junk");
    talk.client(4, ack(1000).stamped(111, 500), b"2.0-");
    talk.server(ack(8).stamped(510, 110));
}

#[test]
fn a_segment_older_by_its_timestamp_is_not_read_and_the_difference_is_told() {
    let mut talk = Talk::open(HostOs::First, Urgent::Oob, true);
    shown_something_else(&mut talk);
    assert_eq!(talk.told(), ("SSH-2.0-", true));
    assert_eq!((talk.run.counters.stale, talk.run.budget.used()), (1, 0));
}

#[test]
fn without_agreement_a_timestamp_says_nothing() {
    let mut talk = Talk::open(HostOs::First, Urgent::Oob, false);
    shown_something_else(&mut talk);
    assert_eq!(talk.told(), ("SSH-junk", true));
    assert_eq!(talk.run.counters.stale, 0);
}

#[test]
fn the_receivers_echo_tells_what_it_has_even_where_its_data_was_not_seen() {
    let mut talk = Talk::open(HostOs::First, Urgent::Oob, true);
    talk.server(ack(0).stamped(505, 300));
    talk.client(0, ack(1000).stamped(299, 500), b"junk");
    talk.client(0, ack(1000).stamped(300, 500), b"SSH-");
    talk.server(ack(4).stamped(506, 300));
    assert_eq!(talk.told(), ("SSH-", true));
}

/// A forged segment that never arrived does not make the true ones old.
#[test]
fn the_echo_puts_right_what_a_segment_claimed_that_did_not_arrive() {
    let mut talk = Talk::open(HostOs::Last, Urgent::Oob, true);
    talk.client(0, ack(1000).stamped(9_000, 500), b"");
    talk.server(ack(0).stamped(505, 100));
    talk.client(0, ack(1000).stamped(110, 500), b"SSH-");
    assert_eq!(talk.run.counters.stale, 0);
}

#[test]
fn a_mirror_that_shows_the_later_segment_first_loses_nothing() {
    let mut talk = Talk::open(HostOs::Bsd, Urgent::Oob, true);
    talk.server(ack(8).stamped(510, 110));
    talk.client(4, ack(1000).stamped(112, 500), b"2.0-");
    talk.client(0, ack(1000).stamped(110, 500), b"SSH-");
    assert_eq!((talk.run.counters.stale_believed, talk.told()), (1, ("SSH-2.0-", false)));
    assert!(talk.run.gaps.is_empty());
}

#[test]
fn a_stale_segment_is_taken_once_acknowledged_where_there_is_no_other_copy() {
    let mut talk = Talk::open(HostOs::Bsd, Urgent::Oob, true);
    talk.client(0, ack(1000).stamped(110, 500), b"SSH-");
    talk.client(2, ack(1000).stamped(90, 500), b"H-2.0-");
    talk.client(8, ack(1000).stamped(111, 500), b"x");
    talk.server(ack(7).stamped(510, 110));
    assert_eq!(talk.told(), ("SSH-", false));
    talk.server(ack(9).stamped(510, 110));
    assert_eq!((talk.run.gaps.len(), talk.told()), (0, ("SSH-2.0-x", false)));
}

#[test]
fn a_stale_segment_that_is_never_acknowledged_is_forgotten_after_two_seconds() {
    let mut talk = Talk::open(HostOs::Bsd, Urgent::Oob, true);
    talk.client(0, ack(1000).stamped(90, 500), b"junk");
    talk.run.tick(1);
    assert!(talk.run.reassembly.holds());
    talk.run.tick(2);
    assert_eq!((talk.run.budget.used(), talk.told()), (0, ("", false)));
    talk.server(ack(4).stamped(510, 100));
    assert_eq!(talk.told().0, "");
}

#[test]
fn stale_segments_have_a_bound() {
    let mut talk = Talk::open(HostOs::Bsd, Urgent::Oob, true);
    for n in 0..20 {
        talk.client(4 + 8 * n, ack(1000).stamped(90, 500), b"junk");
    }
    assert_eq!(talk.run.reassembly.orig.stale.len(), stale::STALE_MAX);
    assert_eq!(talk.run.counters.stale_refused, 20 - stale::STALE_MAX as u64);
    talk.run.with(|r, budget, counters, _| r.discard(budget, counters));
    assert_eq!(talk.run.budget.used(), 0);
}

#[test]
fn after_24_days_of_silence_a_timestamp_says_nothing() {
    for (days, stale) in [(23, 1), (25, 0)] {
        let mut talk = Talk::open(HostOs::Bsd, Urgent::Oob, true);
        talk.second = days * 86_400;
        talk.client(0, ack(1000).stamped(90, 500), b"SSH-");
        assert_eq!(talk.run.counters.stale, stale, "{days} days");
    }
}

#[test]
fn linux_lets_pass_what_is_older_by_one() {
    for (os, stale) in [(HostOs::Linux, 0), (HostOs::Bsd, 1)] {
        let mut talk = Talk::open(os, Urgent::Oob, true);
        talk.client(0, ack(1000).stamped(99, 500), b"SSH-");
        assert_eq!(talk.run.counters.stale, stale, "{os:?}");
    }
}

#[test]
fn a_stale_acknowledgement_hands_nothing_on_but_a_reset_is_exempt() {
    let mut talk = Talk::open(HostOs::Bsd, Urgent::Oob, true);
    talk.client(0, ack(1000).stamped(110, 500), b"SSH-");
    talk.server(ack(4).stamped(400, 110));
    assert_eq!(talk.told().0, "");
    talk.server(Head { flags: ACK | RST, ..ack(4) }.stamped(400, 110));
    assert_eq!(talk.told().0, "SSH-");
}

#[test]
fn an_urgent_byte_in_a_banner_is_left_out_in_both_directions_unless_it_is_read_in_line() {
    for (urgent, expected, left_out) in [(Urgent::Oob, "SSH-2.0-", 1), (Urgent::Inline, "SSH-2.X0-", 0)] {
        for (side, seq, other) in [(Side::Orig, 0, 1000), (Side::Resp, 1000, 0)] {
            let mut talk = Talk::open(HostOs::Linux, urgent, false);
            talk.say(side, seq, ack(other).urgent(7), b"SSH-2.X0-");
            talk.say(side.other(), other, ack(seq + 9), b"");
            assert_eq!((talk.run.counters.urgent, talk.told()), (left_out, (expected, false)), "{urgent:?} {side:?}");
        }
    }
}

#[test]
fn an_urgent_byte_stays_so_when_it_is_sent_again_or_out_of_order() {
    let mut talk = Talk::open(HostOs::Bsd, Urgent::Oob, false);
    talk.client(4, ack(1000).urgent(3), b"2.X0-");
    talk.client(4, ack(1000), b"2.X0-");
    talk.client(0, ack(1000), b"SSH-");
    talk.server(ack(9));
    assert_eq!(talk.told(), ("SSH-2.0-", false));
    assert!(talk.run.reassembly.orig.urgent.is_empty());
}

#[test]
fn several_urgent_bytes_are_left_out_and_the_first_and_last_of_a_segment_too() {
    let mut talk = Talk::open(HostOs::Bsd, Urgent::Oob, false);
    talk.client(0, ack(1000).urgent(1), b"XSX");
    talk.client(0, ack(1000).urgent(3), b"XSX");
    talk.client(3, ack(1000), b"SH-");
    talk.server(ack(6));
    assert_eq!((talk.run.counters.urgent, talk.told().0), (2, "SSH-"));
}

#[test]
fn a_pointer_beyond_its_segment_and_one_of_zero_are_believed_by_linux_only() {
    for (os, expected) in [(HostOs::Linux, "bef"), (HostOs::Bsd, "abcdef"), (HostOs::Windows, "abcdef")] {
        let mut talk = Talk::open(os, Urgent::Oob, false);
        talk.client(0, ack(1000).urgent(4), b"a");
        talk.client(0, ack(1000).urgent(0), b"a");
        talk.client(1, ack(1000).urgent(2), b"b");
        talk.client(2, ack(1000), b"cdef");
        talk.server(ack(6));
        assert_eq!(talk.told().0, expected, "{os:?}");
    }
}

#[test]
fn urgent_pointers_have_a_bound() {
    let mut talk = Talk::open(HostOs::Linux, Urgent::Oob, false);
    for n in 0..20 {
        talk.client(0, ack(1000).urgent(100 + n), b"");
    }
    assert_eq!(talk.run.reassembly.orig.urgent.len(), urgent::POINTERS_MAX);
    assert_eq!(talk.run.counters.urgent_forgotten, 20 - urgent::POINTERS_MAX as u64);
}

/// A step of the wild talk: side, far and near sequence number, the same of the acknowledgement, flags, timestamps,
/// urgent pointer, length, what happens besides.
type Step = (bool, (u32, u32), (u32, u32), u8, (u32, u32), u16, usize, u8);

proptest! {
    /// Forged numbers of every kind: each call comes to its end, and what is kept stays within its bounds.
    #[test]
    fn any_packets_come_to_an_end_within_the_bounds(
        stamped: bool,
        os in prop_oneof![Just(HostOs::Bsd), Just(HostOs::Linux), Just(HostOs::Solaris)],
        steps in prop::collection::vec(
            (any::<bool>(), (0u32..8, 0u32..4_000), (0u32..8, 0u32..4_000), 0u8..64, (0u32..4, any::<u32>()), any::<u16>(),
                0usize..2_000, 0u8..12),
            1..150,
        ),
    ) {
        let bytes: Vec<u8> = (0..2_000u32).map(|n| ((n * 31) >> 3) as u8).collect();
        let mut talk = Talk::open(os, Urgent::Oob, stamped);
        talk.run.budget = Budget::new(60_000);
        for step in steps {
            let (resp, seq, acked, flags, (value, echo), urgent, len, what): Step = step;
            let place = |(far, near): (u32, u32)| (far << 29).wrapping_add(near);
            let side = if resp { Side::Resp } else { Side::Orig };
            // Mostly near: few that are far are enough to make ahead of behind.
            let (seq, acked) = if what < 8 { ((0, seq.1), (0, acked.1)) } else { (seq, acked) };
            let stamps = (what % 3 > 0).then_some((value * 0x5000_0000, echo));
            let head = Head { flags: flags & !(SYN | RST), ack: place(acked), stamps, urgent: urgent % 3_000 };
            talk.say(side, place(seq), head, bytes.get(..len).unwrap_or_default());
            if what == 11 {
                talk.second += 1;
                talk.run.tick(talk.second);
            }
            let Reassembly { orig, resp, cost, .. } = &talk.run.reassembly;
            prop_assert!(*cost <= HELD_BYTES_MAX + PIECE_OVERHEAD * (orig.held.len() + resp.held.len() + 1));
            for direction in [orig, resp] {
                prop_assert!(direction.stale.len() <= stale::STALE_MAX);
                prop_assert!(direction.urgent.len() <= urgent::POINTERS_MAX && direction.tail.len() <= TAIL_BYTES);
                prop_assert!(direction.held.windows(2).all(|w| ahead(w[1].seq, w[0].segment().end()) >= 0));
            }
        }
        talk.run.with(|r, budget, counters, _| r.discard(budget, counters));
        prop_assert_eq!(talk.run.budget.used(), 0);
    }

    /// Whatever stale segments are put between them, a sender's own bytes come out as they were sent.
    #[test]
    fn stale_segments_never_change_a_stream_that_was_seen_whole(
        os in prop_oneof![Just(HostOs::First), Just(HostOs::Last), Just(HostOs::Linux), Just(HostOs::Solaris)],
        pieces in prop::collection::vec((1usize..40, 0u32..3, any::<bool>(), 0u32..200, 1usize..60, any::<bool>()), 1..40),
    ) {
        let total: usize = pieces.iter().map(|p| p.0).sum();
        let stream: Vec<u8> = (0..total).map(|n| b'a' + (n % 23) as u8).collect();
        let mut talk = Talk::open(os, Urgent::Oob, true);
        let (mut at, mut clock) = (0usize, 100);
        for (len, ticks, forged, place, junk, acks) in pieces {
            if forged {
                let stale = clock - 50;
                talk.client(place, ack(1000).stamped(stale, 500), vec![b'~'; junk].as_slice());
            }
            clock += ticks;
            let bytes = stream.get(at..at + len).unwrap_or_default();
            talk.client(at as u32, ack(1000).stamped(clock, 500), bytes);
            at += len;
            if acks {
                talk.server(ack(at as u32).stamped(510, clock));
            }
        }
        talk.server(ack(total as u32).stamped(510, clock));
        prop_assert_eq!(&talk.run.out, &stream);
        prop_assert!(talk.run.gaps.is_empty());
    }
}

/// Found by the test above: of exactly half of all numbers neither is ahead of the other.
#[test]
fn a_stale_segment_half_of_all_numbers_away_is_not_kept() {
    let mut talk = Talk::open(HostOs::Bsd, Urgent::Oob, true);
    talk.client(0, ack(1000).stamped(500, 500), b"one");
    talk.client((1 << 31) + 3, ack(1000).stamped(100, 500), b"far");
    assert!(talk.run.reassembly.orig.stale.is_empty());
    talk.server(ack(3).stamped(510, 500));
    assert_eq!(talk.run.out, b"one");
}
