//! Sizes of sites (detection.md 10.1): S, M, L, and what each has.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// 20 VMs on 1 host.
    S,
    /// 200 on 8.
    M,
    /// 1,000 on 40.
    L,
}

impl Size {
    pub fn vms(self) -> usize {
        match self {
            Size::S => 20,
            Size::M => 200,
            Size::L => 1_000,
        }
    }

    pub fn hosts(self) -> u16 {
        match self {
            Size::S => 1,
            Size::M => 8,
            Size::L => 40,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Size::S => "S",
            Size::M => "M",
            Size::L => "L",
        }
    }

    pub fn read(text: &str) -> Option<Size> {
        [Size::S, Size::M, Size::L].into_iter().find(|size| size.name().eq_ignore_ascii_case(text.trim()))
    }
}
