//! A standby follows its primary, and takes over when it is told to.

use std::time::Duration;

use lockstep_stack::{Secured, Service, Services, StackError, StackOptions};

use crate::processes::wait_until;
use crate::{psql, start};

const LIMIT: Duration = Duration::from_secs(30);

/// With TLS and a password, which the standby needs as much as any client.
#[test]
fn a_standby_takes_over() {
    let services = Services { postgres: true, ..Services::NONE };
    let postgres_password = Some("it's /secret".into());
    let secured = Some(Secured::default());
    let options =
        StackOptions { services, postgres_standby: true, postgres_password, secured, ..StackOptions::default() };
    let mut stack = start(options);
    let (primary, standby) = (stack.endpoints().database_url.clone(), stack.endpoints().standby_url.clone());
    assert_ne!(primary, standby);
    assert_eq!(psql(&primary, "CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)"), Ok(String::new()));
    let has_it = || psql(&standby, "SELECT id FROM kept").as_deref() == Ok("1");
    assert!(wait_until(LIMIT, has_it), "the standby does not follow");
    let refused = psql(&standby, "INSERT INTO kept VALUES (2)").expect_err("no writes yet");
    assert!(refused.contains("read-only"), "{refused}");

    stack.kill(Service::Postgres).expect("a killed primary");
    assert!(stack.serves(Service::Standby) && !stack.serves(Service::Postgres));
    stack.promote_standby().expect("a promoted standby");
    assert_eq!(psql(&standby, "INSERT INTO kept VALUES (2); SELECT count(*) FROM kept"), Ok("2".into()));
}

#[test]
fn only_a_standby_is_promoted() {
    let mut stack = start(StackOptions { services: Services::NONE, ..StackOptions::default() });
    assert!(matches!(stack.promote_standby(), Err(StackError::NotPart { service: Service::Standby })));
}
