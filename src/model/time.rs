//! Packet time: nanoseconds since the Unix epoch, UTC. The only clock of the analysis.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Nanoseconds since 1970-01-01T00:00:00Z. Values outside 1970–2261 cannot be written by a capture file and
/// are clamped where they are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

pub const NS_PER_S: i64 = 1_000_000_000;

impl Timestamp {
    pub const ZERO: Timestamp = Timestamp(0);
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// Clamps to 0..=i64::MAX nanoseconds, so hostile capture headers cannot overflow later arithmetic.
    pub fn from_parts(seconds: u64, nanoseconds: u64) -> Self {
        let ns = u128::from(seconds) * NS_PER_S as u128 + u128::from(nanoseconds);
        Timestamp(i64::try_from(ns).unwrap_or(i64::MAX))
    }

    pub fn from_ns(ns: i64) -> Self {
        Timestamp(ns.max(0))
    }

    pub fn ns(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub fn second(self) -> i64 {
        self.0 / NS_PER_S
    }

    pub fn plus_s(self, seconds: i64) -> Self {
        Timestamp(self.0.saturating_add(seconds.saturating_mul(NS_PER_S)).max(0))
    }

    pub fn plus_ms(self, milliseconds: i64) -> Self {
        Timestamp(self.0.saturating_add(milliseconds.saturating_mul(1_000_000)).max(0))
    }

    /// `self - earlier` in nanoseconds; negative when `earlier` is later.
    pub fn since_ns(self, earlier: Timestamp) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// `self - earlier` in seconds; negative when `earlier` is later.
    pub fn since_s(self, earlier: Timestamp) -> f64 {
        self.since_ns(earlier) as f64 / NS_PER_S as f64
    }

    /// As Suricata writes it in EVE: `2026-01-01T00:00:00.000000+0000`.
    pub fn eve(self) -> String {
        format!("{}+0000", self.civil())
    }

    /// `2026-01-01 00:00:00`, for tables.
    pub fn short(self) -> String {
        let text = self.civil();
        text.get(..19).unwrap_or(&text).replace('T', " ")
    }

    fn civil(self) -> String {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(t) => jiff::tz::TimeZone::UTC.to_datetime(t).strftime("%Y-%m-%dT%H:%M:%S.%6f").to_string(),
            Err(_) => "1970-01-01T00:00:00.000000".to_owned(),
        }
    }
}

/// RFC 3339 with microseconds and `Z`: the form of all JSON of ours but EVE.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}Z", self.civil())
    }
}

impl FromStr for Timestamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed: jiff::Timestamp =
            text.parse().map_err(|e| format!("`{text}` is not a time like 2026-01-01T00:00:00Z: {e}"))?;
        Ok(Timestamp::from_ns(i64::try_from(parsed.as_nanosecond()).unwrap_or(i64::MAX)))
    }
}

/// Text in JSON, a bare integer in compact records.
impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() { s.collect_str(self) } else { s.serialize_i64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
        } else {
            i64::deserialize(d).map(Timestamp::from_ns)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eve_and_json_forms_differ_only_in_the_zone() {
        let t = Timestamp::from_parts(1_767_225_600, 1_500);
        assert_eq!(t.eve(), "2026-01-01T00:00:00.000001+0000");
        assert_eq!(t.to_string(), "2026-01-01T00:00:00.000001Z");
        assert_eq!(
            "2026-01-01T00:00:00.000001Z".parse::<Timestamp>().map(Timestamp::ns),
            Ok(1_767_225_600_000_001_000)
        );
    }

    #[test]
    fn hostile_seconds_are_clamped() {
        assert_eq!(Timestamp::from_parts(u64::MAX, u64::MAX), Timestamp::MAX);
    }
}
