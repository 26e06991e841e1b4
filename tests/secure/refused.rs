//! Each mistake has a line of its own, and an exit code.

use std::fs;

use crate::case::{CONFIGURED_WRONGLY, Case, PASSWORD, SECRET, check};
use crate::shop::{By, Shop};

const WRONG: &str = "tr0ub4dor/&4";
/// Another name for this machine, which the certificate does not have.
const OTHER_HOST: &str = "@0.0.0.0:";
const INGEST: &str = "run --role ingest";

pub fn each_mistake_is_told(shop: &Shop) {
    database(shop);
    kafka(shop);
}

fn database(shop: &Shop) {
    let right = shop.database_url();
    let other_authority = replaced(&right, shop.authority(), shop.strange_authority());
    let no_authority = format!("{right}.missing");
    let other_host = right.replace("@localhost:", OTHER_HOST);
    let in_the_clear = right.replace("verify-full", "disable");
    let lockstep = shop
        .lockstep()
        .set("LOCKSTEP_KAFKA_BROKERS", &shop.endpoints().kafka)
        .set("LOCKSTEP_DATABASE_PASSWORD", PASSWORD);
    let untrusted = "no encrypted connection that we trust";
    check(
        &lockstep,
        &[
            Case::new("a wrong password", INGEST)
                .set("LOCKSTEP_DATABASE_URL", &right)
                .set("LOCKSTEP_DATABASE_PASSWORD", WRONG)
                .fails(CONFIGURED_WRONGLY, &["refuses our user or password", "password authentication failed"]),
            Case::new("an authority that did not sign", INGEST)
                .set("LOCKSTEP_DATABASE_URL", &other_authority)
                .fails(CONFIGURED_WRONGLY, &[untrusted, "invalid peer certificate", "check sslmode and sslrootcert"]),
            Case::new("an authority that is not there", INGEST)
                .set("LOCKSTEP_DATABASE_URL", &no_authority)
                .fails(CONFIGURED_WRONGLY, &[untrusted, "No such file", "sslrootcert"]),
            Case::new("another host's certificate", INGEST)
                .set("LOCKSTEP_DATABASE_URL", &other_host)
                .fails(CONFIGURED_WRONGLY, &[untrusted, "not valid for", "names the host as the certificate does"]),
            Case::new("in the clear", INGEST)
                .set("LOCKSTEP_DATABASE_URL", &in_the_clear)
                .fails(CONFIGURED_WRONGLY, &["does not let us in", "no encryption", "sslmode"]),
            Case::new("a wrong password, to migrate", "migrate")
                .set("LOCKSTEP_DATABASE_URL", &right)
                .set("LOCKSTEP_DATABASE_PASSWORD", WRONG)
                .fails(CONFIGURED_WRONGLY, &["refuses our user or password"]),
        ],
    );
}

fn kafka(shop: &Shop) {
    let file = |sasl| shop.file(sasl, shop.authority(), By::File, By::Environment);
    let (scram, plain) = (file("scram-sha-512"), file("plain"));
    let other_authority = shop.file("plain", shop.strange_authority(), By::File, By::Environment);
    let no_authority = shop.file("plain", &shop.authority().with_file_name("missing.crt"), By::File, By::Environment);
    let secured = &shop.endpoints().kafka_secured;
    let other_host = format!("{}{}", &OTHER_HOST[1..], secured.trim_start_matches("127.0.0.1:"));
    let open = format!("[database]\nurl = \"{}\"\npassword_file = {:?}\n", shop.database_url(), shop.password_file());
    let anonymous = format!("{open}[kafka]\ntls = true\nca_file = {:?}\n", shop.authority());
    let refused: &[&str] = &["refuses our user or password", "Authentication failed", "LOCKSTEP_KAFKA_PASSWORD"];
    let untrusted: &[&str] = &["a certificate that we don't trust", "certificate verify failed", "[kafka] ca_file"];
    check(
        &shop.lockstep().set("LOCKSTEP_KAFKA_PASSWORD", PASSWORD),
        &[
            Case::new("a wrong password by SCRAM", INGEST)
                .file("lockstep.toml", &scram)
                .set("LOCKSTEP_KAFKA_PASSWORD", WRONG)
                .fails(CONFIGURED_WRONGLY, refused),
            Case::new("a wrong password by PLAIN", INGEST)
                .file("lockstep.toml", &plain)
                .set("LOCKSTEP_KAFKA_PASSWORD", WRONG)
                .fails(CONFIGURED_WRONGLY, refused),
            Case::new("an authority that did not sign", INGEST)
                .file("lockstep.toml", &other_authority)
                .fails(CONFIGURED_WRONGLY, untrusted),
            Case::new("an authority that is not there", INGEST)
                .file("lockstep.toml", &no_authority)
                .fails(CONFIGURED_WRONGLY, &["refuses its settings", "ssl.ca.location", "ca_file"]),
            Case::new("another host's certificate", INGEST)
                .file("lockstep.toml", &plain)
                .set("LOCKSTEP_KAFKA_BROKERS", &other_host)
                .fails(CONFIGURED_WRONGLY, untrusted),
            Case::new("a listener that does not encrypt", INGEST)
                .file("lockstep.toml", &plain)
                .set("LOCKSTEP_KAFKA_BROKERS", &shop.endpoints().kafka)
                .fails(CONFIGURED_WRONGLY, &["does not encrypt", "[kafka] tls"]),
            Case::new("in the clear", INGEST)
                .file("lockstep.toml", &open)
                .set("LOCKSTEP_KAFKA_BROKERS", secured)
                .fails(CONFIGURED_WRONGLY, &["who don't encrypt", "set [kafka] tls = true"]),
            Case::new("without a user", INGEST)
                .file("lockstep.toml", &anonymous)
                .set("LOCKSTEP_KAFKA_BROKERS", secured)
                .fails(CONFIGURED_WRONGLY, &["who have no user", "set [kafka] sasl"]),
        ],
    );
}

/// Both servers in one run, a line each; all that it said.
pub fn check_tells_each_mistake(shop: &Shop) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let file = shop.file("scram-sha-256", shop.authority(), By::Environment, By::Environment);
    fs::write(folder.path().join("lockstep.toml"), file).expect("a written file");
    let lockstep = shop.lockstep().within(folder.path()).set("LOCKSTEP_LOG", "trace");
    let lockstep = lockstep.set("LOCKSTEP_DATABASE_PASSWORD", WRONG).set("LOCKSTEP_KAFKA_PASSWORD", WRONG);
    let ended = lockstep.run(&["check"]);
    assert_eq!(ended.code, Some(CONFIGURED_WRONGLY), "{}", ended.stdout);
    let failed = |what: &str| {
        let mut lines = ended.stdout.lines().filter(|line| line.starts_with(&format!("FAIL  {what}")));
        lines.any(|line| line.contains("refuses our user or password"))
    };
    assert!(failed("database: ") && failed("Kafka at "), "{}", ended.stdout);
    assert!(!ended.to_string().contains(SECRET), "a password is shown");
    ended.to_string()
}

fn replaced(text: &str, path: &std::path::Path, other: &std::path::Path) -> String {
    text.replace(&path.display().to_string(), &other.display().to_string())
}
