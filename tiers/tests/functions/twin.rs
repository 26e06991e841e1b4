//! The twin against the Lua: the same steps, the same answers, the same content.

use std::time::Duration;

use lockstep_process::clock::now_micros;
use lockstep_schemas::key::MARKER_SUFFIX;
use lockstep_schemas::policy::View;
use lockstep_tiers::call::Calls;
use lockstep_tiers::twin::{Hash, Node, TOUCHED, Twin};
use lockstep_tiers::{Action, Apply, Fill, Look, Outward, Place, Read, reply};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, Value};

use crate::bench::{Bench, plain};
use crate::play::{Answer, ENTITIES, Play, Step};

/// Sequences of one run, on each layout.
const SEQUENCES: u64 = 1_000;
const STEPS: usize = 30;
/// Lives are told apart by whole seconds: a sequence that took longer than this says nothing, and is played again.
const ELAPSED_MAX: Duration = Duration::from_millis(400);
const ATTEMPTS_MAX: usize = 20;
/// Every name, with its remaining life (-1: no end; -2: not there), and its fields; a marker's text is `pos`, of fixed width,
/// and `nonce`. The second name is that of the claims, a text.
const DUMP: &str = "local all = {}
for i, name in ipairs(KEYS) do
  if redis.call('TYPE', name).ok == 'string' then
    local text = redis.call('GET', name)
    all[i] = i == 2 and { 'touched', text } or { 'pos', text:sub(1, 30), 'nonce', text:sub(31) }
  else
    all[i] = redis.call('HGETALL', name)
  end
  table.insert(all[i], 1, tostring(redis.call('PTTL', name)))
end
return all";

/// What each name holds, and how long it has left.
type Content = Vec<(String, Option<(Hash, Option<u64>)>)>;

/// A server that runs the library, and where a twin would hold the same.
pub struct Pair {
    pub server: MultiplexedConnection,
    pub calls: Calls,
    pub place: Place,
    pub view: std::sync::Arc<View>,
}

/// One step, with what the twin answered and held after it.
struct Played {
    step: Step,
    answer: Answer,
    content: Content,
    now_ms: u64,
}

impl Pair {
    /// Plays the steps of a seed on both. `Err`: where they differ.
    pub async fn play(&self, seed: u64) -> Result<(), String> {
        for _ in 0..ATTEMPTS_MAX {
            let began = std::time::Instant::now();
            let outcome = self.attempt(seed).await;
            if began.elapsed() <= ELAPSED_MAX {
                return outcome;
            }
        }
        panic!("no sequence was played within {ELAPSED_MAX:?}");
    }

    async fn attempt(&self, seed: u64) -> Result<(), String> {
        let played = self.played(seed);
        let base = now_micros();
        let mut pipeline = Pipeline::new();
        pipeline.add_command(self.unlink_all()).ignore();
        for one in &played {
            self.add(&mut pipeline, one, base);
            pipeline.add_command(self.dump());
        }
        let answers: Vec<Value> = match pipeline.query_async(&mut self.server.clone()).await {
            Ok(answers) => answers,
            Err(error) => return Err(format!("seed {seed}: an error: {error}")),
        };
        assert_eq!(answers.len(), 2 * played.len(), "an answer and a dump of each step");
        let mut answers = answers.into_iter();
        for (n, one) in played.iter().enumerate() {
            let (answer, dump) = (answers.next().expect("an answer"), answers.next().expect("a dump"));
            let differs = |what: String| Err(format!("seed {seed}, step {n}: {:?}: {what}", one.step));
            match parsed(&one.step, answer) {
                Ok(answer) if answer == one.answer => {}
                other => return differs(format!("answers {other:?} instead of {:?}", one.answer)),
            }
            let found = content_of(dump, &self.names());
            if let Some(what) = difference(&found, one, base) {
                return differs(what);
            }
        }
        Ok(())
    }

    /// What the twin does in the steps of a seed.
    fn played(&self, seed: u64) -> Vec<Played> {
        let view = self.view.clone();
        let twin = Twin::new(self.calls.layout().clone(), self.calls.is_tagged());
        let mut play = Play::new(twin, self.place.clone(), move |entity| view.key.key(entity), seed);
        let one = |_| {
            let step = play.step();
            let answer = done(&mut play.twin, &self.place, &step);
            let node = &play.twin.node;
            Played { step, answer, content: self.content(node), now_ms: node.now_ms() }
        };
        (0..STEPS).map(one).collect()
    }

    fn names(&self) -> Vec<String> {
        let layout = self.calls.layout();
        let mut names = vec![layout.watermark(&self.place), layout.claims(&self.place)];
        for entity in ENTITIES {
            let entry = self.calls.entry(&self.place, &self.view.key.key(entity));
            names.extend([format!("{entry}:_lease"), entry]);
        }
        names
    }

    fn content(&self, node: &Node) -> Content {
        let held = |name: &str| node.content().find(|(held, _, _)| *held == name).map(|(_, h, left)| (h.clone(), left));
        self.names().into_iter().map(|name| (name.clone(), held(&name))).collect()
    }

    fn dump(&self) -> Cmd {
        self.script(DUMP, &[])
    }

    fn unlink_all(&self) -> Cmd {
        let mut command = redis::cmd("UNLINK");
        command.arg(self.names());
        command
    }

    fn script(&self, text: &str, arguments: &[String]) -> Cmd {
        let names = self.names();
        let mut command = redis::cmd("EVAL");
        command.arg(text).arg(names.len()).arg(names).arg(arguments);
        command
    }

    /// A step as commands, of which the last one's answer counts.
    fn add(&self, pipeline: &mut Pipeline, one: &Played, base: i64) {
        let (calls, place) = (&self.calls, &self.place);
        let command = match &one.step {
            Step::Read { key, nonce, slide, age_max } => {
                calls.read(place, key, &Look { nonce, slide: *slide, age_max: *age_max, lease: None })
            }
            Step::Claim { keys, nonce, run } => calls.claim(place, keys, nonce, run),
            Step::Fill { fills } | Step::Settle { fills } => {
                let lent: Vec<_> = fills.iter().map(|(key, fill)| (key, fill.lent())).collect();
                let lent: Vec<_> = lent.iter().map(|(key, fill)| (*key, fill)).collect();
                match &one.step {
                    Step::Settle { .. } => calls.settle(place, &lent, base),
                    _ => calls.fill(place, &lent, base),
                }
            }
            Step::Apply(batch) => calls.apply(place, &batch.born_at(base).lent()),
            Step::Own { expect, owner, l3 } => calls.own(place, *expect, owner, *l3),
            Step::Sweep { entries } => calls.sweep(place, entries),
            Step::Evict { name: Some(name) } => {
                let mut command = redis::cmd("UNLINK");
                command.arg(name);
                command
            }
            Step::Evict { name: None } => redis::cmd("PING"),
            Step::Pass { ms } => self.script(PASS, &[ms.to_string()]),
            Step::FailOver { .. } => {
                pipeline.add_command(self.unlink_all()).ignore();
                for (name, held) in &one.content {
                    let Some((hash, left)) = held else { continue };
                    lay_down(pipeline, name, hash, *left, one.now_ms, base);
                }
                redis::cmd("PING")
            }
        };
        pipeline.add_command(command);
    }
}

/// The clock of a server can't be moved: instead, everything becomes older, and what has come to its end goes.
const PASS: &str = "for _, name in ipairs(KEYS) do
  local left, born = redis.call('PTTL', name), redis.pcall('HGET', name, '_born')
  if left >= 0 and left <= tonumber(ARGV[1]) then redis.call('UNLINK', name)
  elseif left >= 0 then
    redis.call('PEXPIRE', name, left - tonumber(ARGV[1]))
    if type(born) == 'string' then redis.call('HSET', name, '_born', string.format('%.0f', tonumber(born) - 1000 * tonumber(ARGV[1]))) end
  end
end
return 'OK'";

fn lay_down(pipeline: &mut Pipeline, name: &str, hash: &Hash, left: Option<u64>, now_ms: u64, base: i64) {
    if let (Some(pos), Some(nonce), true) = (hash.get("pos"), hash.get("nonce"), name.ends_with(MARKER_SUFFIX)) {
        pipeline.cmd("SET").arg(name).arg(format!("{pos}{nonce}")).ignore();
    } else if let Some(touched) = hash.get(TOUCHED) {
        pipeline.cmd("SET").arg(name).arg(touched).ignore();
    } else {
        let command = pipeline.cmd("HSET").arg(name);
        for (field, text) in hash {
            let text = if field == "_born" { (base - age(text, now_ms)).to_string() } else { text.clone() };
            command.arg(field).arg(text);
        }
        command.ignore();
    }
    if let Some(left) = left {
        pipeline.cmd("PEXPIRE").arg(name).arg(left).ignore();
    }
}

/// How long ago an entry of the twin was filled, in microseconds.
fn age(born: &str, now_ms: u64) -> i64 {
    i64::try_from(now_ms).expect("a time") * 1_000 - born.parse::<i64>().expect("a time")
}

/// The step, done to the twin.
fn done(twin: &mut Twin, place: &Place, step: &Step) -> Answer {
    match step {
        Step::Read { key, nonce, slide, age_max } => {
            Answer::Read(sorted(twin.read(place, key, &Look { nonce, slide: *slide, age_max: *age_max, lease: None })))
        }
        Step::Claim { keys, nonce, run } => Answer::Claim(twin.claim(place, keys, nonce, run)),
        Step::Fill { fills } => {
            let born = i64::try_from(twin.node.now_ms()).expect("a time") * 1_000;
            Answer::Fill(fills.iter().map(|(key, fill)| twin.fill(place, key, &fill.lent(), born)).collect())
        }
        Step::Settle { fills } => {
            let born = i64::try_from(twin.node.now_ms()).expect("a time") * 1_000;
            let settled = |(key, fill): &(_, crate::play::OwnFill)| twin.settle(place, key, &fill.lent(), born);
            Answer::Fill(fills.iter().map(settled).collect())
        }
        Step::Apply(batch) => Answer::Apply(twin.apply(place, &batch.lent())),
        Step::Own { expect, owner, l3 } => Answer::Own(twin.own(place, *expect, owner, *l3)),
        Step::Sweep { entries } => Answer::Sweep(twin.sweep(place, entries)),
        Step::Evict { name } => {
            if let Some(name) = name {
                twin.node.remove(name);
            }
            Answer::Nothing
        }
        Step::Pass { ms } => {
            twin.node.pass(*ms);
            Answer::Nothing
        }
        Step::FailOver { to } => {
            let now_ms = twin.node.now_ms();
            twin.node = to.clone();
            let behind = now_ms - twin.node.now_ms();
            twin.node.pass(behind);
            Answer::Nothing
        }
    }
}

/// What the server answered. Fields have no order.
fn parsed(step: &Step, value: Value) -> Result<Answer, String> {
    let answer = match step {
        Step::Read { nonce, .. } => reply::read(value, (*nonce).to_owned()).map(|read| Answer::Read(sorted(read))),
        Step::Claim { keys, .. } => reply::claim(value, keys.len()).map(Answer::Claim),
        Step::Fill { fills } | Step::Settle { fills } => reply::fill(value, fills.len()).map(Answer::Fill),
        Step::Apply(_) => reply::apply(value).map(Answer::Apply),
        Step::Own { .. } => reply::own(value).map(Answer::Own),
        Step::Sweep { .. } => reply::sweep(value).map(Answer::Sweep),
        Step::Evict { .. } | Step::Pass { .. } | Step::FailOver { .. } => Ok(Answer::Nothing),
    };
    answer.map_err(|error| error.to_string())
}

fn sorted(mut read: Read) -> Read {
    if let Read::Hit(hit) = &mut read {
        hit.fields.iter_mut().for_each(|fields| fields.sort());
    }
    read
}

fn content_of(dump: Value, names: &[String]) -> Vec<(String, i64, Hash)> {
    let held: Vec<Vec<String>> = redis::from_redis_value(dump).expect("a dump");
    let one = |(name, texts): (&String, Vec<String>)| {
        let fields = texts[1..].chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
        (name.clone(), texts[0].parse().expect("a life"), fields)
    };
    names.iter().zip(held).map(one).collect()
}

/// Where the server holds something else than the twin does.
fn difference(found: &[(String, i64, Hash)], one: &Played, base: i64) -> Option<String> {
    let slack = i64::try_from(ELAPSED_MAX.as_millis()).expect("a time");
    for ((name, life, fields), (_, expected)) in found.iter().zip(&one.content) {
        let (mut expected, left) = match expected {
            None => (Hash::new(), -2),
            Some((hash, None)) => (hash.clone(), -1),
            Some((hash, Some(left))) => (hash.clone(), i64::try_from(*left).expect("a life")),
        };
        if let Some(born) = expected.get_mut("_born") {
            *born = (base - age(born, one.now_ms)).to_string();
        }
        let lives = if left < 0 { *life == left } else { (left - slack..=left).contains(life) };
        if *fields != expected || !lives {
            return Some(format!("{name} is {fields:?} for {life} ms instead of {expected:?} for {left} ms"));
        }
    }
    None
}

/// Thousands of sequences, others at each run: LOCKSTEP_TEST_SEED plays a certain one.
pub async fn random_operations_agree(bench: &Bench) {
    let pair = bench.pair().await;
    if let Some(seed) = std::env::var("LOCKSTEP_TEST_SEED").ok().and_then(|text| text.parse().ok()) {
        return pair.play(seed).await.expect("the same");
    }
    let first = fastrand::u64(..u64::MAX - SEQUENCES);
    for seed in first..first + SEQUENCES {
        pair.play(seed).await.unwrap_or_else(|what| panic!("{what}"));
    }
}

/// The server that has a name, among several.
pub async fn server_of(urls: &[String], name: &str) -> MultiplexedConnection {
    for url in urls {
        let mut server = plain(url).await;
        if redis::cmd("EXISTS").arg(name).query_async::<i64>(&mut server).await.is_ok() {
            return server;
        }
    }
    panic!("no server has {name}");
}

impl crate::play::OwnFill {
    fn lent(&self) -> Fill<'_> {
        Fill {
            nonce: &self.nonce,
            low: self.low,
            high: self.high,
            source_at: self.source_at,
            timeline: self.timeline,
            ttl: self.ttl,
            fields: self.fields.as_ref(),
        }
    }
}

impl crate::play::OwnApply {
    /// The same by another clock: what is born in it is born now.
    fn born_at(&self, now: i64) -> Self {
        let mut batch = self.clone();
        for (_, action) in &mut batch.actions {
            if let Action::Refresh { born: Some(born), .. } = action {
                *born = now;
            }
        }
        batch
    }

    fn lent(&self) -> Apply<'_> {
        let outward = self.outward.map(|(owner, begun, done)| Outward { owner, begun, done });
        Apply {
            expect: self.expect,
            new: self.new,
            offset: self.offset,
            floor: self.floor,
            timeline: self.timeline,
            at: self.at,
            nonce: "engine",
            actions: &self.actions,
            outward,
        }
    }
}
