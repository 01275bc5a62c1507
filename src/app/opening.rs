//! The first bytes of both directions of a flow.
//!
//! At most [`OPENING_BYTES_MAX`] a direction; what comes later is not kept.

use crate::model::{Side, Transport};

/// Large enough for a TLS certificate chain of usual size; a flow holds it only while it is being recognised.
pub const OPENING_BYTES_MAX: usize = 8192;

/// A header of RTP.
pub const BEFORE_BYTES: usize = 12;

/// For TCP: contiguous bytes from the start of the stream (or from the first byte seen, mid-stream). For UDP: the
/// latest datagram of each direction.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    pub transport: Transport,
    pub orig: &'a [u8],
    pub resp: &'a [u8],
    pub orig_port: u16,
    pub resp_port: u16,
    /// For UDP: how the datagram before the latest began, of each side; zeros where there was none.
    pub before: [[u8; BEFORE_BYTES]; 2],
    /// The flow was picked up in mid-connection: the first bytes are not the protocol's first bytes.
    pub midstream: bool,
    /// Which side sent payload first.
    pub first: Side,
}

impl<'a> Opening<'a> {
    pub fn side(&self, side: Side) -> &'a [u8] {
        match side {
            Side::Orig => self.orig,
            Side::Resp => self.resp,
        }
    }

    pub fn before(&self, side: Side) -> &[u8; BEFORE_BYTES] {
        let [orig, resp] = &self.before;
        match side {
            Side::Orig => orig,
            Side::Resp => resp,
        }
    }

    /// The sides with their bytes, the first sender first: for protocols whose messages tell client from server.
    pub fn sides(&self) -> [(Side, &'a [u8]); 2] {
        [(self.first, self.side(self.first)), (self.first.other(), self.side(self.first.other()))]
    }
}
