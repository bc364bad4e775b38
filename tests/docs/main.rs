//! The documentation: links and anchors lead somewhere, commands parse, pictures are drawn from their text.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end this way")]

mod alerts;
mod commands;
mod evidence;
mod links;
mod pages;
mod routing;

use std::process::Command;

#[test]
fn the_picture_is_drawn_from_its_text() {
    let root = pages::root();
    let drawn = Command::new(root.join("scripts/picture.sh"))
        .arg(root.join("docs/overview.txt"))
        .output()
        .unwrap();
    assert!(
        drawn.status.success(),
        "{}",
        String::from_utf8_lossy(&drawn.stderr)
    );
    let picture = std::fs::read(root.join("docs/overview.svg")).unwrap();
    assert!(drawn.stdout == picture, "run make picture");
}
