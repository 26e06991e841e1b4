//! The row that a key of the demo's policy is a copy of.

/// A row, by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// By product_id.
    Product(String),
    /// By user_id.
    User(String),
    /// By user_id.
    Cart(String),
}

/// A key without what a cluster puts around it.
pub fn plain(key: &str) -> &str {
    if key.starts_with('{') { key.split_once("}:").map_or(key, |(_, name)| name) } else { key }
}

/// The row that a key is a copy of. None: it is no copy of a row (a watermark, a lease, a session).
pub fn subject(key: &str) -> Option<Subject> {
    let name = plain(key);
    if name.ends_with(":_w") || name.ends_with(":_lease") {
        return None;
    }
    let product = name.strip_prefix("product:all:").or_else(|| name.strip_prefix("product:hot:"));
    let product = product.map(|id| Subject::Product(id.to_owned()));
    let user = || name.strip_prefix("user:").map(|id| Subject::User(id.to_owned()));
    product.or_else(user).or_else(|| name.strip_prefix("cart:").map(|id| Subject::Cart(id.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_copy_of_a_row_or_of_none() {
        for (key, expected) in [
            ("product:all:22041", Some(Subject::Product("22041".to_owned()))),
            ("{catalogue.07ab}:product:hot:X-0001", Some(Subject::Product("X-0001".to_owned()))),
            ("{customers.01}:user:7", Some(Subject::User("7".to_owned()))),
            ("{catalogue.07ab}:_w", None),
            ("product:all:22041:_lease", None),
            ("{customers.01}:cart:7", Some(Subject::Cart("7".to_owned()))),
            ("{customers.01}:session:7", None),
        ] {
            assert_eq!(subject(key), expected, "{key}");
        }
    }
}
