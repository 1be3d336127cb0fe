pub(super) fn hex(text: &str) -> Vec<u8> {
    Vec::new()
}
