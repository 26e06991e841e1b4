//! `lockstep pause`, `resume` and `bypass`: the stop button. Each turn of a switch has a reason, ends by itself, and stays in
//! the topic as the trail of who did what.

use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use jiff::Timestamp;
use lockstep_process::Failure;
use lockstep_process::clock::now_micros;
use lockstep_process::config::{Config, KafkaConfig};
use lockstep_process::failure::FailureKind;
use lockstep_process::suggest;
use lockstep_schemas::policy::{Policy, TierName, View};
use lockstep_schemas::state_publisher::StatePublisher;
use lockstep_schemas::switches::{Switch, Switches, What};
use lockstep_schemas::{switched, topics};
use rdkafka::error::KafkaError;

use super::status::log_away;
use crate::cli::{BypassArgs, PauseArgs, ResumeArgs, SwitchArgs, Toggle};
use crate::output;

/// The longest pause: beyond it, the log may no longer reach back.
const PAUSE_SECONDS_MAX: u64 = 24 * 3_600;

pub(crate) async fn pause(config: &Config, policy: &Policy, args: &PauseArgs) -> Result<(), Failure> {
    if args.switch.duration.as_secs() > PAUSE_SECONDS_MAX {
        return Err(Failure::new(FailureKind::Usage, "a lane may be paused for a day at most")
            .remedy("its log is kept for a week; pause again before it ends"));
    }
    topics::insist_on_partitions(config.kafka()?, policy, config.partitions).await?;
    let what = lane(policy, config.partitions, &args.lane)?;
    turn(config, what, true, &args.switch).await
}

pub(crate) async fn resume(config: &Config, policy: &Policy, args: &ResumeArgs) -> Result<(), Failure> {
    let what = lane(policy, config.partitions, &args.lane)?;
    let switch = SwitchArgs { reason: args.reason.clone(), duration: std::time::Duration::ZERO };
    turn(config, what, false, &switch).await
}

pub(crate) async fn bypass(config: &Config, policy: &Policy, args: &BypassArgs) -> Result<(), Failure> {
    let view = view(policy, &args.view)?;
    if view.tier == TierName::L3 {
        return Err(Failure::new(
            FailureKind::Usage,
            format!("{} lies at the edge, which no switch reaches", view.name),
        )
        .remedy("bypass the views that the gateway makes its pages of, and purge them"));
    }
    turn(config, What::Bypass { view: view.name.to_string() }, args.state == Toggle::On, &args.switch).await
}

async fn turn(config: &Config, what: What, on: bool, args: &SwitchArgs) -> Result<(), Failure> {
    let kafka = config.kafka()?;
    if on && args.duration.is_zero() {
        let what = format!("a {what} of no time is none");
        return Err(Failure::new(FailureKind::Usage, what).remedy("say how long, e.g. --for 30m"));
    }
    // Of a topic that is not there nobody would ever hear.
    let switches = switches(kafka).await.map_err(|error| log_away(kafka, error))?;
    let at = now_micros();
    let still_on = |switch: &&Switch| is_of_one_group(&switch.what, &what) && switch.what != what;
    let others: Vec<String> = switches
        .on(at)
        .filter(still_on)
        .map(|switch| format!("{} until {}", switch.what, time(switch.until)))
        .collect();
    if !on && !switches.on(at).any(|switch| switch.what == what) {
        output::line(&format!("there is no {what}"));
        others.iter().for_each(|other| output::line(&format!("still on: {other}")));
        return Ok(());
    }
    let until = at.saturating_add(i64::try_from(args.duration.as_micros()).unwrap_or(i64::MAX));
    let switch = Switch { what, on, reason: args.reason.clone(), by: who(), at, until, versions: None };
    publish(kafka, &switch).await?;
    let key = &switch.what;
    output::line(&if on { format!("{key} until {}", time(until)) } else { format!("end of the {key}") });
    others.iter().for_each(|other| output::line(&format!("still on: {other}")));
    Ok(())
}

/// Whether two pauses hold lanes of one group: the end of one does not end the other.
fn is_of_one_group(one: &What, other: &What) -> bool {
    matches!((one, other), (What::Pause { group: one, .. }, What::Pause { group: other, .. }) if one == other)
}

/// A turn of a switch, where everybody reads it.
pub(super) async fn publish(kafka: &KafkaConfig, switch: &Switch) -> Result<(), Failure> {
    let publisher = StatePublisher::open(kafka, "switch").map_err(|error| log_away(kafka, error))?;
    let key = switch.what.to_string();
    let published = publisher.publish(topics::SWITCHES, key.as_bytes(), &switch.to_json()).await;
    published.map_err(|error| log_away(kafka, error))
}

/// A lane or a group by its name, or the group of a view.
fn lane(policy: &Policy, partitions: u32, name: &str) -> Result<What, Failure> {
    let (group, partition) = match name.rsplit_once('.') {
        Some((group, partition)) => (group, partition.parse::<u32>().ok().filter(|one| *one < partitions)),
        None => (name, None),
    };
    let is_whole = !name.contains('.');
    if policy.groups.contains_key(group) && (is_whole || partition.is_some()) {
        return Ok(What::Pause { group: group.to_owned(), partition });
    }
    if let Some(view) = policy.views.get(name) {
        return Ok(What::Pause { group: view.group.to_string(), partition: None });
    }
    let known = policy.groups.keys().chain(policy.views.keys()).map(|name| &**name);
    let failure = Failure::new(FailureKind::Usage, format!("there is no lane `{name}`"));
    Err(match suggest::nearest(group, known) {
        Some(near) if near != group => failure.remedy(format!("did you mean `{near}`?")),
        _ => failure.remedy(format!("write a group, a view, or a lane: catalogue.0 to catalogue.{}", partitions - 1)),
    })
}

pub(super) fn view<'p>(policy: &'p Policy, name: &str) -> Result<&'p Arc<View>, Failure> {
    policy.view(name).map_err(|nearest| {
        let unknown = Failure::new(FailureKind::Usage, format!("there is no view `{name}`"));
        match nearest {
            Some(meant) => unknown.remedy(format!("did you mean `{meant}`?")),
            None => unknown,
        }
    })
}

/// All switches, as the topic has them now.
pub(super) async fn switches(kafka: &KafkaConfig) -> Result<Switches, KafkaError> {
    switched::read(kafka, "switch").await
}

/// A policy whose views have the names of the versions that are read now.
pub(super) async fn as_read(config: &Config, policy: &Policy) -> Result<Policy, Failure> {
    let kafka = config.kafka()?;
    let switches = switches(kafka).await.map_err(|error| log_away(kafka, error))?;
    let mut policy = policy.clone();
    for (view, versions) in switches.versions() {
        if let Some(view) = policy.views.get_mut(&**view) {
            *view = Arc::new(view.at(versions.read));
        }
    }
    Ok(policy)
}

/// Who turns the switch, as far as this machine knows.
pub(super) fn who() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    // Under systemd or cron there is no such variable.
    let uid = || std::fs::metadata("/proc/self").map_or_else(|_| "?".to_owned(), |own| format!("uid {}", own.uid()));
    let user = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_else(|_| uid());
    format!("{user}@{}", host.trim())
}

/// For people.
pub(crate) fn time(at: i64) -> String {
    Timestamp::from_microsecond(at).map_or_else(|_| "?".to_owned(), |at| format!("{at:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_schemas::policy::DEFAULT;

    #[test]
    fn a_lane_has_many_names() {
        let policy = Policy::parse(DEFAULT).expect("the default policy");
        let pause = |group: &str, partition| What::Pause { group: group.to_owned(), partition };
        let check = |name: &str, expected: Option<What>| assert_eq!(lane(&policy, 4, name).ok(), expected, "{name}");
        check("catalogue", Some(pause("catalogue", None)));
        check("catalogue.3", Some(pause("catalogue", Some(3))));
        check("catalogue.4", None);
        check("product_all", Some(pause("catalogue", None)));
        check("catalog", None);
        let why = lane(&policy, 4, "catalog").map(drop).expect_err("no lane").to_string();
        assert!(why.contains("did you mean `catalogue`?"), "{why}");
    }
}
