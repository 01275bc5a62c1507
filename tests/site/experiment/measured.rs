//! What was measured: counts by row, one entry a seed, and of what was wrong a few examples to look at.

use std::collections::BTreeMap;

use super::rows::Row;
use crate::site::sizes::Size;

/// Examples kept of what was wrong, of each row.
const EXAMPLES_MAX: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sample {
    /// So many of so many.
    Share(u64, u64),
    /// So many events in so much exposure (the row says of what).
    Rate(u64, f64),
    /// One figure, e.g. the largest delay.
    Most(f64),
}

/// Row, size, learning phase.
pub type Cell = (Row, Size, &'static str);

#[derive(Clone, Debug)]
pub struct Measured {
    size: Size,
    pub samples: BTreeMap<Cell, Vec<Sample>>,
    pub examples: BTreeMap<Cell, Vec<String>>,
    pub talks: u64,
}

impl Measured {
    pub fn new(size: Size) -> Self {
        Measured { size, samples: BTreeMap::new(), examples: BTreeMap::new(), talks: 0 }
    }

    pub fn size(&self) -> Size {
        self.size
    }

    pub fn add(&mut self, row: Row, phase: &'static str, sample: Sample) {
        self.samples.entry((row, self.size, phase)).or_default().push(sample);
    }

    pub fn example(&mut self, row: Row, phase: &'static str, text: String) {
        let kept = self.examples.entry((row, self.size, phase)).or_default();
        if kept.len() < EXAMPLES_MAX {
            kept.push(text);
        }
    }

    /// Takes in what another seed measured.
    pub fn merge(&mut self, other: Measured) {
        self.talks += other.talks;
        for (cell, samples) in other.samples {
            self.samples.entry(cell).or_default().extend(samples);
        }
        for (cell, examples) in other.examples {
            let kept = self.examples.entry(cell).or_default();
            kept.extend(examples);
            kept.truncate(EXAMPLES_MAX);
        }
    }
}
