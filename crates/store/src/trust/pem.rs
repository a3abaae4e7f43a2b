//! The text form of keys (RFC 7468).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// One block: its label and its bytes.
pub(super) type Block = (String, Vec<u8>);

/// The blocks of a text; what stands between them is ignored. None if one is malformed.
pub(super) fn parse(text: &str) -> Option<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = line
            .strip_prefix("-----BEGIN ")
            .and_then(|l| l.strip_suffix("-----"))
        else {
            continue;
        };
        let end = format!("-----END {label}-----");
        let mut body = String::new();
        loop {
            match lines.next()? {
                line if line == end => break,
                line => body.push_str(line),
            }
        }
        blocks.push((label.to_owned(), STANDARD.decode(body).ok()?));
    }
    Some(blocks)
}

/// A block as text, 64 characters to a line.
pub(super) fn encode(label: &str, bytes: &[u8]) -> String {
    let body = STANDARD.encode(bytes);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, next) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = next;
    }
    text + "-----END " + label + "-----\n"
}
