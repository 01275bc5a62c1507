//! The nouns of eastwatch. Pure data: no I/O, no clock, nothing of ours is imported here.
//!
//! Three of them travel: an [`Observation`] is a fact from the wire, a [`Finding`] is a judgement on facts,
//! an [`Incident`] is what a person hears about. The packet side produces the first and knows none of the
//! others; the fact side never sees a packet.

mod addr;
mod advert;
mod app;
mod app_names;
mod base64;
mod carrier;
mod finding;
mod flow;
mod ids;
mod incident;
mod interface;
mod link;
mod location;
mod mark;
mod mirror;
mod observation;
mod order;
mod quality;
mod rank;
mod segment;
mod service;
mod stack;
mod time;

pub use addr::{Mac, NetSet};
pub use advert::{AdvertBy, LinkAdvert};
pub use app::{AppInfo, AppProto};
pub use app_names::{APP_NAMES, AppName, app_names};
pub use base64::{from_base64, from_base64_prefix, to_base64, to_base64_unpadded};
pub use carrier::Carrier;
pub use finding::{Detector, DetectorId, Evidence, Finding, Severity};
pub use flow::{Endpoint, FlowKey, FlowRef, Side, Transport};
pub use ids::{IncidentId, RoleId, VmId, stable_hash};
pub use incident::{Incident, IncidentState, Sample, TimelineEntry};
pub use interface::{CaptureInterface, Interface};
pub use link::LinkType;
pub use location::{Location, Sighting};
pub use mark::Mark;
pub use mirror::{Direction, MirrorPath, OneWayTunnel, PathKind};
pub use observation::{
    AwaitedTemplate, Claim, ClaimKind, Expectation, Fact, FlowEnd, FlowFact, FlowTotals, Handover, HeardName,
    Membership, NameBy, Observation, Opening, Outcome, Record, RecordFormat, RefusedBy, SourceCounts, SourceSurvey,
};
pub use order::Order;
pub use quality::{CaptureQuality, Shown, SourceQuality};
pub use rank::{Rank, RankedBy, Ranking, Surprise};
pub use segment::{Domain, Layer, LayerKind, Segment};
pub use service::{ServiceClass, ServiceKey};
pub use stack::Stack;
pub use time::{NS_PER_S, Timestamp};
