//! Placeholder.
pub fn writes(_app: &str) -> bool {
    true
}
