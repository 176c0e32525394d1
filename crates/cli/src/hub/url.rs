//! The little of addresses that requests and redirects need.

/// Scheme, host and port of an http(s) address, in small letters: two addresses with equal ones are of one server.
pub fn server(address: &str) -> Option<String> {
    let (scheme, rest) = address.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    let scheme = scheme.to_ascii_lowercase();
    (["http", "https"].contains(&scheme.as_str()) && !host.is_empty())
        .then(|| format!("{scheme}://{}", host.to_ascii_lowercase()))
}

/// The address that a `Location` of `base` means.
pub fn redirected(base: &str, location: &str) -> Option<String> {
    if location.is_empty() {
        return None;
    }
    if location.contains("://") && server(location).is_some() {
        return Some(location.to_owned());
    }
    let server = server(base)?;
    if let Some(rest) = location.strip_prefix("//") {
        return Some(format!("{}://{rest}", server.split("://").next()?));
    }
    if location.starts_with('/') {
        return Some(format!("{server}{location}"));
    }
    let path = base.split(['?', '#']).next()?;
    let folder = path.rfind('/').filter(|&at| at >= server.len()).map_or(path, |at| &path[..at]);
    Some(format!("{folder}/{location}"))
}

/// Text as a part of a path; `kept` are characters that stay beside letters, digits and `-_.~`.
pub fn encoded(text: &str, kept: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let c = char::from(byte);
        if byte.is_ascii_alphanumeric() || "-_.~".contains(c) || kept.contains(c) {
            out.push(c);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(server("HTTP://Host:1/a").as_deref(), Some("http://host:1"));
        assert_eq!([server("ftp://a"), server("a/b"), server("http:///x")], [None, None, None]);
        for (location, want) in [
            ("https://cdn/x?y=http://z", "https://cdn/x?y=http://z"),
            ("//cdn/x", "http://cdn/x"),
            ("/x?to=https://a", "http://host:1/x?to=https://a"),
            ("x", "http://host:1/a/x"),
        ] {
            assert_eq!(redirected("http://host:1/a/b?q=/c", location).as_deref(), Some(want), "{location}");
        }
        assert_eq!(redirected("http://host", ""), None);
        assert_eq!(redirected("http://host", "x").as_deref(), Some("http://host/x"));
        assert_eq!(encoded("refs/pr 1", ""), "refs%2Fpr%201");
        assert_eq!(encoded("q/é.gguf", "/"), "q/%C3%A9.gguf");
    }
}
