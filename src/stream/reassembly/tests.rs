//! Reassembly by example and by property.

use proptest::prelude::*;

use super::*;

mod model;
mod packet;

/// One direction of a connection, and what came out of it.
struct Run {
    reassembly: Reassembly,
    budget: Budget,
    counters: StreamCounters,
    out: Vec<u8>,
    gaps: Vec<(usize, u32)>,
}

impl Run {
    fn new() -> Self {
        Run {
            reassembly: Reassembly::default(),
            budget: Budget::new(1 << 20),
            counters: StreamCounters::default(),
            out: Vec::new(),
            gaps: Vec::new(),
        }
    }

    fn towards(os: HostOs) -> Self {
        let mut run = Run { reassembly: Reassembly::new(HostOs::First, os, Urgent::Oob), ..Run::new() };
        run.reassembly.begin(Side::Orig, 0);
        run
    }

    fn starting_at(seq: u32) -> Self {
        let mut run = Run::new();
        run.reassembly.begin(Side::Orig, seq);
        run
    }

    fn with<T>(
        &mut self,
        act: impl FnOnce(&mut Reassembly, &mut Budget, &mut StreamCounters, &mut dyn FnMut(Side, Piece<'_>)) -> T,
    ) -> T {
        let Run { reassembly, budget, counters, out, gaps } = self;
        let result = act(reassembly, budget, counters, &mut |_, piece| match piece {
            Piece::Data(bytes) => out.extend_from_slice(bytes),
            Piece::Gap(len) => gaps.push((out.len(), len)),
        });
        let held: usize = [&reassembly.orig, &reassembly.resp]
            .iter()
            .flat_map(|d| d.held.iter().chain(&d.stale))
            .map(Held::cost)
            .sum();
        assert_eq!((held, held), (reassembly.cost, budget.used()), "the books are right");
        result
    }

    fn take(&mut self, seq: u32, bytes: &[u8]) {
        self.cut(seq, bytes, bytes.len() as u32);
    }

    fn cut(&mut self, seq: u32, bytes: &[u8], len: u32) {
        self.with(|r, budget, counters, mut sink| {
            r.segment(Side::Orig, TcpSegment { seq, len, bytes }, Timestamp::ZERO, budget, counters, &mut sink)
        });
    }

    fn acknowledged(&mut self, ack: u32) {
        self.with(|r, budget, counters, mut sink| {
            r.acknowledged(Side::Orig, ack, Timestamp::ZERO, budget, counters, &mut sink)
        });
    }

    fn tick(&mut self, second: i64) {
        self.with(|r, budget, counters, mut sink| r.tick(Timestamp::ZERO.plus_s(second), budget, counters, &mut sink));
    }
}

#[test]
fn bytes_in_order_pass_without_being_held() {
    let mut run = Run::starting_at(100);
    run.take(100, b"GET ");
    run.take(104, b"/");
    assert_eq!((run.out.as_slice(), run.counters), (b"GET /".as_slice(), StreamCounters::default()));
}

#[test]
fn out_of_order_segments_wait_for_the_hole_to_be_filled() {
    let mut run = Run::starting_at(100);
    run.take(104, b"EFGH");
    run.take(112, b"MN");
    assert_eq!(run.out, b"");
    run.take(100, b"ABCD");
    assert_eq!(run.out, b"ABCDEFGH");
    run.take(108, b"IJKL");
    assert_eq!(run.out, b"ABCDEFGHIJKLMN");
    assert_eq!((run.gaps.len(), run.budget.used(), run.counters.out_of_order), (0, 0, 2));
}

#[test]
fn sequence_numbers_wrap() {
    let mut run = Run::starting_at(u32::MAX - 2);
    run.take(4, b"HIJ");
    run.take(u32::MAX - 2, b"ABC");
    run.take(0, b"DEFG");
    assert_eq!(run.out, b"ABCDEFGHIJ");
}

#[test]
fn the_receivers_system_decides_which_copy_counts_and_a_different_one_is_told() {
    for (os, expected) in
        [(HostOs::First, b"..--good--"), (HostOs::Bsd, b"..--evil--"), (HostOs::Solaris, b"..--evil--")]
    {
        let mut run = Run::towards(os);
        run.take(4, b"good");
        run.take(2, b"--evil--");
        assert_eq!((run.counters.conflicts, run.reassembly.take_conflict()), (1, Some(Side::Orig)));
        run.take(0, b"..");
        assert_eq!(run.out, expected, "{os:?}");
        run.take(2, b"again");
        assert_eq!((run.counters.conflicts, run.reassembly.take_conflict()), (2, None), "told once");
    }
}

#[test]
fn an_equal_second_copy_is_no_conflict() {
    let mut run = Run::starting_at(0);
    run.take(4, b"good");
    run.take(2, b"--good--");
    run.take(0, b"..--go");
    run.take(0, b"..--good--");
    assert_eq!((run.out.as_slice(), run.counters.conflicts), (b"..--good--".as_slice(), 0));
    assert_eq!(run.reassembly.take_conflict(), None);
}

#[test]
fn an_in_order_segment_overwrites_what_is_held_only_where_the_receiver_does_so() {
    for (os, expected) in [(HostOs::First, b"....goodmore"), (HostOs::Linux, b"....evilmore")] {
        let mut run = Run::towards(os);
        run.take(4, b"good");
        run.take(0, b"....evilmore");
        assert_eq!((run.out.as_slice(), run.counters.conflicts), (expected.as_slice(), 1), "{os:?}");
    }
}

/// Two segments at one place, of which the receiver may have got either.
#[test]
fn what_is_not_acknowledged_can_be_replaced_and_what_is_cannot() {
    for (os, expected) in [(HostOs::Bsd, b"GOOD"), (HostOs::OldLinux, b"EVIL")] {
        let mut run = Run::towards(os);
        run.acknowledged(0);
        run.take(0, b"GOOD");
        run.take(0, b"EVIL");
        assert_eq!(run.out, b"");
        run.acknowledged(4);
        run.take(0, b"LATE");
        assert_eq!((run.out.as_slice(), run.counters.conflicts), (expected.as_slice(), 2), "{os:?}");
    }
}

#[test]
fn a_segment_that_was_never_acknowledged_gives_way_to_a_longer_one_on_linux() {
    let mut run = Run::towards(HostOs::Linux);
    run.acknowledged(0);
    run.take(0, b"GET /nothing-to-see");
    run.take(0, b"GET /../../etc/passwd");
    run.acknowledged(21);
    assert_eq!(run.out, b"GET /../../etc/passwd");
}

#[test]
fn what_was_acknowledged_before_it_was_seen_does_not_wait() {
    let mut run = Run::starting_at(0);
    run.acknowledged(8);
    run.take(0, b"GET ");
    assert_eq!((run.out.as_slice(), run.budget.used()), (b"GET ".as_slice(), 0));
}

#[test]
fn bytes_wait_two_seconds_for_their_acknowledgement_and_then_no_longer_until_one_comes() {
    let mut run = Run::starting_at(0);
    run.acknowledged(0);
    run.take(0, b"one");
    run.tick(1);
    assert_eq!(run.out, b"");
    run.tick(2);
    run.take(3, b"two");
    assert_eq!((run.out.as_slice(), run.gaps.len()), (b"onetwo".as_slice(), 0));
    run.acknowledged(6);
    run.take(6, b"three");
    assert_eq!((run.out.as_slice(), run.counters.unacknowledged), (b"onetwo".as_slice(), 1));
}

#[test]
fn bytes_without_room_to_wait_are_handed_on() {
    let mut run = Run::starting_at(0);
    run.acknowledged(0);
    for n in 0..100u32 {
        run.take(n * 1000, &[b'x'; 1000]);
        assert!(run.budget.used() <= HELD_BYTES_MAX);
    }
    run.acknowledged(100_000);
    assert_eq!((run.out.len(), run.gaps.len()), (100_000, 0));
    assert!(run.counters.unacknowledged > 0);
}

/// The race that a forged answer wins (QuantumInsert): the true one comes after it was acknowledged.
#[test]
fn another_copy_of_what_was_delivered_is_told_and_a_keep_alive_is_not() {
    let mut run = Run::starting_at(0);
    run.take(0, b"HTTP/1.1 302 Found");
    run.take(17, b"\0");
    run.take(0, b"HTTP/1.1 302");
    assert_eq!(run.reassembly.take_conflict(), None, "a keep-alive and a retransmission");
    run.take(0, b"HTTP/1.1 200 OK and more");
    assert_eq!((run.out.as_slice(), run.counters.conflicts), (b"HTTP/1.1 302 Foundd more".as_slice(), 1));
}

#[test]
fn what_is_only_watched_costs_its_tails_and_still_tells() {
    let mut run = Run::starting_at(0);
    assert!(!run.reassembly.only_watch(Timestamp::ZERO, &mut run.budget, &mut run.counters), "nothing to compare");
    run.take(0, &[b'x'; 1000]);
    assert!(run.reassembly.only_watch(Timestamp::ZERO, &mut run.budget, &mut run.counters));
    assert_eq!(run.budget.used(), WATCH_COST);
    run.reassembly.watch(Side::Orig, TcpSegment { seq: 990, len: 10, bytes: &[b'y'; 10] }, &mut run.counters);
    assert_eq!(run.reassembly.take_conflict(), Some(Side::Orig));
    assert!(!run.reassembly.watched(Timestamp::ZERO.plus_s(1)) && run.reassembly.watched(Timestamp::ZERO.plus_s(2)));
    run.reassembly.discard(&mut run.budget, &mut run.counters);
    assert_eq!(run.budget.used(), 0);
}

#[test]
fn retransmissions_are_counted_and_their_new_bytes_taken() {
    let mut run = Run::starting_at(0);
    run.take(0, b"abcd");
    run.take(0, b"abcd");
    run.take(2, b"cdef");
    assert_eq!(run.out, b"abcdef");
    assert_eq!((run.counters.retransmitted, run.counters.overlaps), (1, 1));
}

#[test]
fn a_hole_that_the_receiver_acknowledged_is_a_gap() {
    let mut run = Run::starting_at(0);
    run.take(10, b"after");
    run.acknowledged(9);
    assert_eq!(run.out, b"");
    run.acknowledged(10);
    assert_eq!((run.out.as_slice(), run.gaps.as_slice()), (b"".as_slice(), [(0, 10)].as_slice()));
    run.acknowledged(15);
    assert_eq!(run.out, b"after");
}

#[test]
fn a_hole_is_given_up_after_two_seconds_not_before() {
    let mut run = Run::starting_at(0);
    run.take(10, b"after");
    run.tick(1);
    assert_eq!(run.out, b"");
    run.tick(2);
    assert_eq!((run.out.as_slice(), run.gaps.as_slice()), (b"after".as_slice(), [(0, 10)].as_slice()));
}

#[test]
fn at_the_end_everything_held_is_handed_on_with_its_holes() {
    let mut run = Run::starting_at(0);
    run.acknowledged(0);
    run.take(0, b"one");
    run.take(5, b"two");
    run.take(10, b"three");
    run.with(|r, budget, counters, mut sink| r.finish(budget, counters, &mut sink));
    assert_eq!((run.out.as_slice(), run.gaps.as_slice()), (b"onetwothree".as_slice(), [(3, 2), (6, 2)].as_slice()));
    assert_eq!(run.budget.used(), 0);
}

#[test]
fn what_a_cut_frame_lacks_is_a_gap() {
    let mut run = Run::starting_at(0);
    run.cut(0, b"head", 1000);
    run.take(1000, b"next");
    assert_eq!((run.out.as_slice(), run.gaps.as_slice()), (b"headnext".as_slice(), [(4, 996)].as_slice()));
    run.cut(1008, b"", 10);
    run.take(1004, b"more");
    assert_eq!((run.out.as_slice(), run.gaps.last()), (b"headnextmore".as_slice(), Some(&(12, 10))));
}

#[test]
fn a_full_flow_gives_up_its_lowest_hole() {
    let mut run = Run::starting_at(0);
    for n in 0..200u32 {
        run.take(1000 + n * 1000, &[b'x'; 1000]);
        assert!(run.budget.used() <= HELD_BYTES_MAX);
    }
    assert_eq!(run.gaps, [(0, 1000)]);
    assert_eq!(run.out.len(), 200_000);
    assert_eq!(run.counters.gaps_flow_full, 1);
}

#[test]
fn a_spent_budget_gives_up_the_hole_of_the_flow_that_asks() {
    let mut run = Run::starting_at(0);
    run.budget = Budget::new(100);
    run.take(10, b"fits");
    run.take(20, b"does not");
    assert_eq!((run.out.as_slice(), run.gaps.as_slice()), (b"fits".as_slice(), [(0, 10)].as_slice()));
    assert_eq!((run.counters.gaps_shard_full, run.budget.used()), (1, 8 + PIECE_OVERHEAD));
}

#[test]
fn tiny_pieces_are_not_free() {
    let mut run = Run::starting_at(0);
    for n in 0..10_000u32 {
        run.take(10 + n * 2, b"x");
    }
    assert!(run.reassembly.orig.held.len() <= HELD_BYTES_MAX / PIECE_OVERHEAD);
    assert!(run.counters.gaps_flow_full > 0);
}

#[test]
fn discarding_gives_everything_back() {
    let mut run = Run::starting_at(0);
    run.take(10, b"after");
    run.with(|r, budget, counters, _| r.discard(budget, counters));
    assert_eq!((run.budget.used(), run.counters.discarded_bytes), (0, 5));
}

proptest! {
    /// Any segmentation, reordering and duplication of a stream comes out as the stream.
    #[test]
    fn any_order_of_segments_is_the_stream(
        start in prop_oneof![any::<u32>(), (u32::MAX - 3000)..=u32::MAX],
        pieces in prop::collection::vec((1usize..60, any::<u16>(), 0usize..30, 0usize..3), 1..80),
    ) {
        let total: usize = pieces.iter().map(|p| p.0).sum();
        let stream: Vec<u8> = (0..total).map(|n| ((n * 31) >> 3) as u8).collect();
        let mut sent = Vec::new();
        let mut at = 0;
        for (len, place, more, copies) in pieces {
            // Reaches over what follows by `more` bytes; sent once or several times, at its place or later.
            let end = (at + len + more).min(total);
            for copy in 0..=copies {
                sent.push((usize::from(place) % 2000 + copy * 500, at, end));
            }
            at += len;
        }
        sent.sort_unstable();
        let mut run = Run::starting_at(start);
        for (_, from, to) in sent {
            run.take(start.wrapping_add(from as u32), stream.get(from..to).unwrap_or_default());
        }
        prop_assert_eq!(run.out, stream);
        prop_assert!(run.gaps.is_empty() && run.budget.used() == 0 && run.counters.conflicts == 0);
    }

    /// Jumps by a quarter and by half of the sequence space, where ahead becomes behind: every call comes to its end.
    #[test]
    fn jumps_over_half_the_sequence_space_come_to_an_end(
        steps in prop::collection::vec((0u32..8, 0u32..4_000, 0usize..3000, 0u8..4, 0u32..8, 0u32..4_000), 1..150),
    ) {
        let bytes = [7u8; 3000];
        let mut run = Run::new();
        run.budget = Budget::new(50_000);
        for (n, (far, near, len, what, ack_far, ack_near)) in steps.into_iter().enumerate() {
            run.take((far << 29).wrapping_add(near), bytes.get(..len).unwrap_or_default());
            match what {
                0 => run.acknowledged((ack_far << 29).wrapping_add(ack_near)),
                1 => run.tick(n as i64),
                _ => {}
            }
        }
    }

    /// Whatever comes: no panic, bounded, and data and gaps together never go back.
    #[test]
    fn any_segments_stay_within_the_bound(
        segments in prop::collection::vec((any::<u32>(), 0usize..3000, 0u32..70_000, 0u8..8, any::<u32>()), 1..150),
    ) {
        let bytes = [7u8; 3000];
        let mut run = Run::new();
        run.budget = Budget::new(50_000);
        for (n, (seq, len, cut, what, ack)) in segments.into_iter().enumerate() {
            let seq = if what < 5 { seq % 100_000 } else { seq };
            run.cut(seq, bytes.get(..len).unwrap_or_default(), len as u32 + cut);
            match what {
                0 => run.acknowledged(ack),
                1 => run.tick(n as i64),
                _ => {}
            }
            prop_assert!(run.reassembly.cost <= 50_000 + PIECE_OVERHEAD * (run.reassembly.orig.held.len() + 1));
        }
    }
}
