//! Test cluster, demo and end-to-end cases.
fn main() {}
