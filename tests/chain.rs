//! The whole chain between real servers, one scenario after the other, each from commit to every tier. All groups have one
//! partition, so that partition 0 of one group meets partition 0 of the other wherever they could be mixed up.
//!
//! Each scenario begins with a shop whose products and customers are cached everywhere, and ends with a comparison of
//! every entry with the database.

#[path = "chain/carts.rs"]
mod carts;
#[path = "chain/chain.rs"]
mod chain;
#[path = "chain/changes.rs"]
mod changes;
#[path = "chain/compare.rs"]
mod compare;
#[path = "chain/deferred.rs"]
mod deferred;
#[path = "chain/floors.rs"]
mod floors;
#[path = "chain/heard.rs"]
mod heard;
#[path = "chain/l2.rs"]
mod l2;
#[path = "chain/least.rs"]
mod least;
#[path = "chain/lost.rs"]
mod lost;
#[path = "chain/policies.rs"]
mod policies;
#[path = "chain/predicted.rs"]
mod predicted;
#[path = "chain/refused.rs"]
mod refused;
#[path = "chain/repeated.rs"]
mod repeated;
#[path = "chain/roles.rs"]
mod roles;
#[path = "chain/starts.rs"]
mod starts;
#[path = "chain/until.rs"]
mod until;

/// A test for each scenario, and how many there are: the last one to end stops the chain.
macro_rules! scenarios {
    ($($module:ident::$scenario:ident)*) => {
        const SCENARIOS: usize = [$(stringify!($scenario)),*].len();
        $(#[test]
        fn $scenario() {
            chain::play($module::$scenario);
        })*
    };
}

scenarios! {
    changes::a_change_reaches_every_tier
    changes::a_deleted_product_is_absent_until_it_returns
    changes::a_product_that_changes_its_id
    changes::two_groups_do_not_disturb_one_another
    carts::a_cart_follows_its_lines
    carts::a_line_that_moves_changes_both_carts
    carts::preferences_are_fields_of_the_profile
    policies::a_tier_behind_its_bound_is_passed_by_or_said_to_be_stale
    policies::a_page_is_purged_where_its_test_holds
    policies::a_key_moves_with_the_columns_it_is_made_of
    deferred::deferred_columns_wait_for_their_pass
    predicted::what_is_predicted_is_what_is_applied
    floors::a_truncate_kills_what_was_cached
    floors::a_record_that_cannot_be_read_kills_what_was_cached
    floors::what_lies_below_a_floor_is_swept
    repeated::records_that_come_twice_are_counted_and_passed_over
    starts::the_engine_starts_from_the_tiers
    starts::a_log_that_began_anew_is_a_lost_log
    starts::a_log_that_began_anew_beside_an_engine_is_a_lost_log
    lost::a_call_whose_answer_was_lost_had_landed
    lost::a_tier_that_forgot_is_brought_back
    lost::a_page_made_from_what_was_forgotten_is_purged
    lost::a_purge_that_was_not_done_is_done_at_the_next_start
    lost::a_tier_that_came_back_empty_is_unknown
    lost::a_tier_that_was_flushed_under_traffic_ends_equal
    lost::another_owner_is_left_the_partition
    refused::a_tier_without_memory_holds_no_other_up
    refused::a_tier_without_replicas_holds_no_other_up
    least::no_more_rights_than_the_manual_says
}
