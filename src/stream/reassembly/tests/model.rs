//! Reassembly against a model that is too simple to be wrong: every byte of a short stream in an array, with the segment
//! that it is of.

use super::super::later_segment_counts;
use super::*;

const LEN: usize = 96;

#[derive(Clone, Debug)]
enum Step {
    /// From, length, what its bytes are.
    Segment(u32, u32, u8),
    Acknowledged(u32),
}

/// One direction towards a host: `None` where nothing came yet.
struct Model {
    os: HostOs,
    bytes: [Option<(usize, u8)>; LEN],
    segments: usize,
    next: u32,
    acked: u32,
    out: Vec<u8>,
    gaps: Vec<(usize, u32)>,
}

impl Model {
    fn new(os: HostOs) -> Self {
        Model { os, bytes: [None; LEN], segments: 0, next: 0, acked: 0, out: Vec::new(), gaps: Vec::new() }
    }

    fn owner(&self, at: u32) -> Option<usize> {
        self.bytes.get(at as usize).copied().flatten().map(|(owner, _)| owner)
    }

    /// The piece around a byte: as far as its neighbours, not handed on, are of the same segment.
    fn piece(&self, at: u32) -> (u32, u32) {
        let same = |other: &u32| self.owner(*other) == self.owner(at);
        let first = (self.next..at).rev().take_while(same).last().unwrap_or(at);
        let last = (at..LEN as u32).take_while(same).last().unwrap_or(at);
        (first, last + 1)
    }

    fn segment(&mut self, from: u32, len: u32, byte: u8) {
        let later = (from.max(self.next), from + len);
        let counts: Vec<u32> = (later.0..later.1)
            .filter(|at| self.owner(*at).is_none() || later_segment_counts(self.os, later, self.piece(*at)))
            .collect();
        self.segments += 1;
        for at in counts {
            self.bytes[at as usize] = Some((self.segments, byte));
        }
        self.hand_on();
    }

    fn acknowledged(&mut self, ack: u32) {
        self.acked = self.acked.max(ack);
        loop {
            self.hand_on();
            let first = (self.next..LEN as u32).find(|at| self.owner(*at).is_some());
            let Some(first) = first.filter(|first| *first > self.next && *first <= ack) else { return };
            self.gaps.push((self.out.len(), first - self.next));
            self.next = first;
        }
    }

    fn hand_on(&mut self) {
        while self.owner(self.next).is_some() && self.piece(self.next).1 <= self.acked {
            let (first, last) = self.piece(self.next);
            self.out.extend((first..last).filter_map(|at| self.bytes[at as usize]).map(|(_, byte)| byte));
            self.next = last;
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let segment = (0u32..LEN as u32, 1u32..24, any::<u8>())
        .prop_map(|(from, len, byte)| Step::Segment(from, len.min(LEN as u32 - from), byte));
    let step = prop_oneof![6 => segment, 1 => (0..=LEN as u32).prop_map(Step::Acknowledged)];
    prop::collection::vec(step, 1..60)
}

proptest! {
    /// For every system and any place in the sequence space: the bytes, gaps and their places are the model's.
    #[test]
    fn overlaps_read_as_in_a_plain_array_of_bytes(
        os in prop::sample::select(vec![
            HostOs::First, HostOs::Last, HostOs::Bsd, HostOs::Linux, HostOs::OldLinux, HostOs::Solaris, HostOs::Windows,
            HostOs::Vista, HostOs::Hpux11,
        ]),
        base in prop_oneof![Just(0u32), any::<u32>(), (u32::MAX - 90)..=u32::MAX],
        steps in steps(),
    ) {
        let mut model = Model::new(os);
        let mut run = Run { reassembly: Reassembly::new(HostOs::First, os, Urgent::Oob), ..Run::new() };
        run.reassembly.begin(Side::Orig, base);
        run.acknowledged(base);
        for step in steps.into_iter().chain([Step::Acknowledged(LEN as u32)]) {
            match step {
                Step::Segment(from, len, byte) => {
                    run.take(base.wrapping_add(from), &vec![byte; len as usize]);
                    model.segment(from, len, byte);
                }
                Step::Acknowledged(ack) => {
                    run.acknowledged(base.wrapping_add(ack));
                    model.acknowledged(ack);
                }
            }
            prop_assert_eq!(&run.out, &model.out);
            prop_assert_eq!(&run.gaps, &model.gaps);
        }
        prop_assert_eq!(run.budget.used(), 0);
    }
}
