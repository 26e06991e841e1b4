//! The rules of `lockstep.lua`, one test for each, run by real servers. Both layouts pass the same tests: plain names on
//! one node, tagged names on a cluster.

#[path = "functions/apply.rs"]
mod apply;
#[path = "functions/bench.rs"]
mod bench;
#[path = "functions/claims.rs"]
mod claims;
#[path = "functions/cluster.rs"]
mod cluster;
#[path = "functions/fill.rs"]
mod fill;
#[path = "functions/library.rs"]
mod library;
#[path = "functions/mutants.rs"]
mod mutants;
#[path = "functions/own.rs"]
mod own;
#[path = "functions/play.rs"]
mod play;
#[path = "functions/read.rs"]
mod read;
#[path = "functions/sweep.rs"]
mod sweep;
#[path = "functions/through.rs"]
mod through;
#[path = "functions/twin.rs"]
mod twin;

/// A test for each function, and how many there are: the last one to end stops the servers.
macro_rules! rules {
    ($($module:ident::$rule:ident)*) => {
        const RULES: usize = [$(stringify!($rule)),*].len();
        $(#[test]
        fn $rule() {
            bench::on_both_layouts(stringify!($module), stringify!($rule), $module::$rule);
        })*
    };
}

rules! {
    read::a_miss_grants_one_lease
    read::a_lease_runs_out
    read::a_tier_without_a_watermark_is_at_least
    read::a_hit_tells_all
    read::a_hit_extends_life_where_the_view_slides
    read::an_entry_too_old_is_a_miss
    fill::a_fill_needs_its_lease
    fill::a_fill_writes_the_whole_entry
    fill::a_fill_sent_twice_is_void
    fill::a_fill_never_writes_into_what_is_there
    fill::a_field_twice_is_there_once
    fill::an_absence_is_filled_and_read
    fill::below_the_floor_is_refused
    fill::a_source_behind_the_lease_is_refused
    fill::another_timeline_is_refused
    fill::many_are_filled_in_one_call
    fill::an_entry_too_large_is_refused
    claims::many_are_claimed_in_one_call
    claims::what_is_claimed_is_filled_whole
    claims::a_claim_gives_way
    claims::a_settlement_sent_twice_brings_nothing_back
    claims::two_runs_respect_each_other
    claims::a_claim_goes_with_its_bookmark
    claims::what_is_of_another_history_is_not_settled
    claims::of_much_that_was_touched_the_older_half_goes
    claims::of_several_runs_one_is_alone_again
    claims::a_late_claim_revives_nothing
    claims::somebody_elses_value_gives_way
    claims::as_many_calls_as_it_takes
    apply::a_lost_call_writes_nothing
    apply::what_is_contained_is_kept
    apply::a_newer_change_refreshes
    apply::a_whole_one_replaces
    apply::a_whole_one_is_judged_like_others
    apply::wholes_are_the_servers_own
    apply::in_between_drops
    apply::absent_stays_absent
    apply::an_absence_never_becomes_a_row
    apply::a_lease_is_voided_and_taken_over
    apply::an_invalidation_drops
    apply::the_floor_kills
    apply::the_watermark_moves
    apply::actions_are_counted
    apply::a_full_call_is_taken
    apply::a_call_too_large_is_refused
    apply::an_unknown_action_is_an_error
    apply::a_change_too_large_for_a_call_invalidates
    apply::somebody_elses_value_makes_room
    own::the_position_is_lowered_only
    own::the_watermark_is_compared_first
    own::only_the_owner_moves_the_position
    twin::random_operations_agree
    library::a_flushed_library_is_loaded_again
    library::a_library_flushed_under_calls_is_loaded_again
    library::a_user_without_functions_is_served_by_scripts
    library::older_versions_are_pruned
    library::a_namespace_keeps_installations_apart
    library::a_place_is_one_slot
    through::l1_is_filled_through_l2_of_either_kind
    through::what_was_filled_too_long_ago_is_filled_anew
    sweep::what_lies_below_the_floor_is_swept
    sweep::somebody_elses_value_is_not_swept
}
