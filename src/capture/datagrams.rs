//! A UDP socket that mirrors and exporters send to. Each datagram becomes a frame: its sender and its kind in front
//! ([`Carrier`]), then its bytes. Needs no privilege for ports from 1024 on; nothing is ever sent.
//!
//! Bound: one datagram (64 KiB) at a time, the socket's own buffer before it. When that is full the kernel drops and
//! counts, and `/proc/net/udp` tells.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, Socket, Type};

use crate::model::{Carrier, LinkType, SourceCounts};

use super::CaptureCounters;
use super::batch::{Batch, SourceId};
use super::clock;
use super::error::CaptureError;
use super::listen::Listen;

/// Nothing that UDP carries is longer.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Wakes the caller for other sources after so many.
const TURN_MAX: usize = 256;

pub(super) struct Datagrams {
    socket: UdpSocket,
    carrier: Carrier,
    /// Room for the tags, then the datagram.
    buffer: Vec<u8>,
    pub counts: SourceCounts,
    /// Of the socket, as `/proc/net/udp` lists it; `None` where that cannot be read.
    inode: Option<u64>,
    /// Bytes of receive buffer that the kernel granted.
    pub granted: usize,
}

impl Datagrams {
    /// # Errors
    /// The port is taken, or below 1024 and forbidden; the address is not this machine's.
    pub fn open(listen: &Listen, carrier: Carrier, buffer_bytes: usize) -> Result<Self, CaptureError> {
        let socket =
            match listen.address() {
                Some(address) => bind(address, false),
                // One socket for both families; where IPv6 is switched off, IPv4 alone.
                None => bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), listen.port), true).or_else(|error| {
                    match error.kind() {
                        ErrorKind::AddrInUse | ErrorKind::PermissionDenied => Err(error),
                        _ => bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), listen.port), false),
                    }
                }),
            };
        let socket = socket.map_err(|error| refused(listen, &error))?;
        // What the kernel grants is at most net.core.rmem_max; it is asked back.
        let _ = socket.set_recv_buffer_size(buffer_bytes);
        let granted = socket.recv_buffer_size().unwrap_or(0);
        socket.set_nonblocking(true).map_err(|error| refused(listen, &error))?;
        let socket = UdpSocket::from(socket);
        let counts = SourceCounts { name: listen.to_string(), ..SourceCounts::default() };
        let buffer = vec![0; Carrier::TAGS_BYTES_MAX + DATAGRAM_BYTES_MAX];
        let inode = inode_of(&socket);
        Ok(Datagrams { socket, carrier, buffer, counts, inode, granted })
    }

    /// Moves what the socket holds into the batch, while that has room.
    pub fn drain(
        &mut self,
        source: SourceId,
        batch: &mut Batch,
        counters: &mut CaptureCounters,
    ) -> Result<(), CaptureError> {
        if self.counts.gone {
            return Ok(());
        }
        for _ in 0..TURN_MAX {
            // Room for the longest first: one taken from the socket cannot be given back.
            if !batch.has_room(self.buffer.len()) {
                return Ok(());
            }
            let Some(room) = self.buffer.get_mut(Carrier::TAGS_BYTES_MAX..) else { return Ok(()) };
            let (length, sender) = match self.socket.recv_from(room) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // An ICMP error about an earlier datagram, or a signal: the socket goes on.
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionRefused) => continue,
                Err(error) => {
                    self.counts.gone = true;
                    counters.faults += 1;
                    let mend = "start the probe again";
                    return Err(CaptureError::new(&self.counts.name, format!("receiving failed: {error}"), mend));
                }
            };
            let tags = self.carrier.tags(sender.ip().to_canonical());
            let start = Carrier::TAGS_BYTES_MAX - tags.len();
            if let Some(place) = self.buffer.get_mut(start..Carrier::TAGS_BYTES_MAX) {
                place.copy_from_slice(&tags);
            }
            let frame = self.buffer.get(start..Carrier::TAGS_BYTES_MAX + length).unwrap_or_default();
            batch.push(clock::now(), frame.len() as u32, LinkType::UPPER_PDU, source, frame);
            counters.frames += 1;
            counters.bytes += length as u64;
            self.counts.packets += 1;
            self.counts.bytes += length as u64;
        }
        Ok(())
    }

    /// Asks the kernel what it dropped.
    pub fn sample(&mut self) {
        let Some(inode) = self.inode else { return };
        for table in ["/proc/net/udp", "/proc/net/udp6"] {
            let text = std::fs::read_to_string(table).unwrap_or_default();
            if let Some(drops) = text.lines().find_map(|line| drops_of(line, inode)) {
                self.counts.kernel_drops = drops;
                return;
            }
        }
    }
}

fn bind(address: SocketAddr, both_families: bool) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if both_families {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Why a listener cannot be opened.
pub(super) fn refused(listen: &Listen, error: &std::io::Error) -> CaptureError {
    let place = format!("--listen {listen}");
    let port = listen.port;
    match error.kind() {
        ErrorKind::AddrInUse => {
            let mend = format!("choose another port, or end who has it (`ss -lntup 'sport = :{port}'`)");
            CaptureError::new(place, "the port is taken", mend)
        }
        ErrorKind::PermissionDenied => CaptureError::new(
            place,
            "ports below 1024 are reserved",
            "choose a higher port, or grant CAP_NET_BIND_SERVICE",
        ),
        ErrorKind::AddrNotAvailable => {
            CaptureError::new(place, "the address is not one of this machine's", "see `ip address`")
        }
        _ => CaptureError::new(place, format!("cannot listen: {error}"), "see `ip address`"),
    }
}

fn inode_of(socket: &UdpSocket) -> Option<u64> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).ok()?;
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The last column of the line of this socket: `sl local remote st queues tr retrnsmt uid timeout inode ref pointer drops`.
fn drops_of(line: &str, inode: u64) -> Option<u64> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let own = columns.get(9)?.parse::<u64>().ok()? == inode;
    if own { columns.get(12)?.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_drops_are_read_of_the_own_socket_only() {
        let line = "  512: 00000000:12B5 00000000:0000 07 00000000:00034A00 00:00000000 00000000     0        0 4711 2 0000000000000000 1234";
        assert_eq!(drops_of(line, 4_711), Some(1_234));
        assert_eq!(drops_of(line, 4_712), None);
        assert_eq!(drops_of("  sl  local_address rem_address   st", 4_711), None);
    }

    #[test]
    fn datagrams_become_frames_with_their_sender() {
        let listen: Listen = "vxlan:127.0.0.1:47891".parse().unwrap();
        let mut datagrams = Datagrams::open(&listen, Carrier::Vxlan, 1 << 20).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(b"first", "127.0.0.1:47891").unwrap();
        sender.send_to(&vec![7; 65_507], "127.0.0.1:47891").unwrap();
        let (mut batch, mut counters) = (Batch::new(), CaptureCounters::default());
        datagrams.drain(SourceId(3), &mut batch, &mut counters).unwrap();
        let frames: Vec<_> = batch.frames.iter().map(|f| Carrier::read(batch.get(f)).unwrap()).collect();
        assert_eq!(frames[0], (Carrier::Vxlan, "127.0.0.1".parse().unwrap(), &b"first"[..]));
        assert_eq!(frames[1].2.len(), 65_507);
        assert_eq!((counters.frames, datagrams.counts.packets, batch.frames[0].source), (2, 2, SourceId(3)));
        let error = Datagrams::open(&listen, Carrier::Vxlan, 0).err().unwrap().to_string();
        assert!(error.contains("the port is taken") && error.contains("47891"), "{error}");
    }

    #[test]
    fn what_the_full_buffer_dropped_is_counted() {
        let listen: Listen = "ipfix:127.0.0.1:47892".parse().unwrap();
        let mut datagrams = Datagrams::open(&listen, Carrier::Cflow, 4_096).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..200 {
            sender.send_to(&[7; 1_000], "127.0.0.1:47892").unwrap();
        }
        datagrams.sample();
        let (mut batch, mut counters) = (Batch::new(), CaptureCounters::default());
        datagrams.drain(SourceId(0), &mut batch, &mut counters).unwrap();
        assert!(datagrams.counts.kernel_drops > 0);
        assert_eq!(datagrams.counts.kernel_drops + counters.frames, 200);
    }
}
