//! Columns that are called like secrets: what is published lies in Kafka for as long as its topic is kept, so that must
//! have been meant.

use lockstep_process::Failure;
use lockstep_process::config::DatabaseConfig;
use lockstep_schemas::policy::Policy;

use super::{Check, away, publication};
use crate::database::Database;

/// Where in a word a secret is still known for one.
#[derive(Clone, Copy)]
enum Within {
    /// Many words hold its letters: it must be the whole word, or its plural.
    Alone,
    /// No other word holds it, so a name that is written together is known by it: `userpassword`, `myapikey`.
    Anywhere,
    /// It begins other words (tokenizer, secretary, credentialing). So it must end its own, but for a tail: `accesstoken`,
    /// `tokenhash`.
    AtTheEnd,
}

use Within::{Alone, Anywhere, AtTheEnd};

/// Words, or words in a row, of a column's name.
const SECRETS: [(&str, Within); 19] = [
    ("password", Anywhere),
    ("passwd", Anywhere),
    ("passphrase", Anywhere),
    ("pwd", AtTheEnd),
    ("secret", AtTheEnd),
    ("token", AtTheEnd),
    ("credential", AtTheEnd),
    ("api_key", Anywhere),
    ("access_key", Anywhere),
    ("private_key", Anywhere),
    ("encryption_key", Anywhere),
    ("card_number", Anywhere),
    ("cvv", Anywhere),
    ("cvc", Alone),
    ("iban", Alone),
    ("ssn", Alone),
    ("social_security", Alone),
    ("otp", Alone),
    ("totp", Alone),
];

const TAILS: [&str; 6] = ["hash", "salt", "digest", "value", "key", "id"];
/// Words that only look as if they held one.
const ORDINARY: [&str; 4] = ["passwordless", "betoken", "betokens", "foretoken"];

/// Which secret a column is called like; `None`: like none.
pub fn looks_secret(column: &str) -> Option<&'static str> {
    let words = words(column);
    let found = SECRETS.into_iter().find(|(secret, within)| {
        let parts: Vec<&str> = secret.split('_').collect();
        words.windows(parts.len()).any(|run| run.iter().zip(&parts).all(|(word, part)| is_word(word, part)))
            || words.iter().any(|word| is_within(word, secret, *within))
    });
    found.map(|(secret, _)| secret)
}

fn is_word(word: &str, secret: &str) -> bool {
    word == secret || word.strip_suffix('s') == Some(secret)
}

/// Whether a word is a compound of a secret and something else, or of its parts.
fn is_within(word: &str, secret: &str, within: Within) -> bool {
    let joined = secret.replace('_', "");
    let word = if ORDINARY.contains(&word) { "" } else { word };
    match within {
        Alone => false,
        Anywhere => word.contains(&joined),
        AtTheEnd => {
            let word = word.strip_suffix('s').unwrap_or(word);
            let ends = |tail: &str| word.strip_suffix(tail).is_some_and(|before| before.ends_with(&joined));
            ends("") || TAILS.into_iter().any(ends)
        }
    }
}

/// The words of `snake_case`, `camelCase` and `Any Other`, in lower case. Digits end a word.
fn words(name: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let chars: Vec<char> = name.chars().collect();
    for (at, &c) in chars.iter().enumerate() {
        let after_small = at > 0 && chars[at - 1].is_lowercase();
        // `APIKey`: the K begins a word, though what stands before it is large too.
        let before_small =
            at > 0 && chars[at - 1].is_uppercase() && chars.get(at + 1).is_some_and(|c| c.is_lowercase());
        if !c.is_alphabetic() || (c.is_uppercase() && (after_small || before_small)) {
            words.push(std::mem::take(&mut word));
        }
        if c.is_alphabetic() {
            word.extend(c.to_lowercase());
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// Whether a column may be published.
pub fn may_publish(policy: &Policy, table: &str, column: &str) -> bool {
    looks_secret(column).is_none() || policy.allows_secret(table, column)
}

/// What the publication carries, where there is one.
pub(super) async fn check(database: &Database, config: &DatabaseConfig, policy: &Policy) -> Check {
    let what = format!("columns of publication {} that are called like secrets", config.publication);
    Check::new(what, find(database, config, policy).await)
}

async fn find(database: &Database, config: &DatabaseConfig, policy: &Policy) -> Result<String, Failure> {
    let published = publication::published(database, &config.publication).await.map_err(away)?;
    let mut allowed = 0;
    for table in policy.groups.values().flat_map(|group| &group.tables) {
        for column in published.get(&**table).into_iter().flatten() {
            refuse(policy, table, column)?;
            allowed += usize::from(looks_secret(column).is_some());
        }
    }
    Ok(if allowed == 0 { "none".to_owned() } else { format!("{allowed}, allowed by the policy") })
}

/// Refuses what is called like a secret, and not allowed.
pub(super) fn refuse(policy: &Policy, table: &str, column: &str) -> Result<(), Failure> {
    let Some(secret) = looks_secret(column) else { return Ok(()) };
    if policy.allows_secret(table, column) {
        return Ok(());
    }
    Err(Failure::configuration(format!(
        "column {column} of {table} is called like a secret ({secret}), and would be published"
    ))
    .remedy(format!(
        "leave it out of the publication's columns (`lockstep setup --print-sql` does), or say [tables.\"{}\"] \
         allow_secret = [\"{column}\"] in the policy",
        table.replace('"', "\\\"")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_words_and_compounds() {
        for (column, expected) in [
            ("password", Some("password")),
            ("password_hash", Some("password")),
            ("userPassword2", Some("password")),
            ("APIKey", Some("api_key")),
            ("api-key", Some("api_key")),
            ("refresh_tokens", Some("token")),
            ("Card Number", Some("card_number")),
            ("IBAN", Some("iban")),
            ("ssn", Some("ssn")),
            ("cvv2", Some("cvv")),
            ("stripePrivateKey", Some("private_key")),
            ("apikey", Some("api_key")),
            ("apikeys", Some("api_key")),
            ("myapikey_v2", Some("api_key")),
            ("userpassword", Some("password")),
            ("passwordhash", Some("password")),
            ("OLDPASSWORDS", Some("password")),
            ("dbpasswd", Some("passwd")),
            ("userpwd", Some("pwd")),
            ("accesstoken", Some("token")),
            ("refreshtokens", Some("token")),
            ("accesstokenhash", Some("token")),
            ("tokenid", Some("token")),
            ("clientsecret", Some("secret")),
            ("secretkey", Some("secret")),
            ("awscredentials", Some("credential")),
            ("privatekeypem", Some("private_key")),
            ("creditcardnumber", Some("card_number")),
            ("cardcvv", Some("cvv")),
            ("passwordless", None),
            ("passwordless_login", None),
            ("compass", None),
            ("passport", None),
            ("bypass_word", None),
            ("tokenized_text", None),
            ("tokenization", None),
            ("betokens", None),
            ("undersecretary", None),
            ("secretion", None),
            ("credentialing", None),
            ("monkey", None),
            ("keyboard", None),
            ("classname", None),
            ("caliban", None),
            ("footpath", None),
            ("tokenizer", None),
            ("secretary", None),
            ("card", None),
            ("number_of_cards", None),
            ("key", None),
            ("product_id", None),
            ("urban", None),
        ] {
            assert_eq!(looks_secret(column), expected, "{column}: {:?}", words(column));
        }
    }
}
