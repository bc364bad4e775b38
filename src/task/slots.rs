//! placeholder
/// x
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// t
    Taken,
    /// w
    Wait {
        /// r
        running: u32,
        /// a
        ahead: u32,
    },
}

/// x
#[derive(Debug, Default)]
pub struct Slots;
impl Slots {
    /// x
    pub fn take(&self, _: &crate::api::PeonTask, _: &str, _: u32) -> Slot {
        Slot::Taken
    }
}
