//! Servers that encrypt, show a certificate and ask for a password: `lockstep check` and ingest get through where all is
//! right, say in one line what is wrong where it is not, and never show a password. Every role does with the rights that
//! `lockstep setup` prints.

#[path = "secure/accepted.rs"]
mod accepted;
#[path = "operation/case.rs"]
#[allow(dead_code, reason = "each of the test binaries uses its part")]
mod case;
mod harness;
#[path = "secure/least.rs"]
mod least;
#[path = "operation/shop.rs"]
mod pages;
#[path = "secure/refused.rs"]
mod refused;
#[path = "secure/shop.rs"]
mod shop;
#[path = "secure/topic.rs"]
mod topic;

use crate::shop::Shop;

#[test]
fn servers_that_ask_who_we_are() {
    let shop = Shop::start();
    let mut said = accepted::each_mechanism_gets_through(&shop);
    refused::each_mistake_is_told(&shop);
    said.push(refused::check_tells_each_mistake(&shop));
    shop.nobody_has_said_a_password(&said);
}

/// With rights of its own for each role.
#[test]
fn what_setup_prints_is_enough() {
    least::every_role_has_what_it_needs(&Shop::of_users(least::users()));
}
