//! Redis as anybody could read it: plain commands, every node asked by itself, replicas too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lockstep_process::config::{RedisServers, Url};
use lockstep_schemas::partition::slot_of;
use lockstep_schemas::position::Position;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Value, from_redis_value};

use crate::AuditError;
use crate::judge::{Copy, Fields, Form, Mark};
use crate::subject::Subject;

const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);
/// As Redis answers who asks a string for its fields.
const WRONG_TYPE: &str = "WRONGTYPE";

/// One node of a tier.
pub(crate) struct Node {
    /// `host:port`.
    pub name: String,
    pub is_replica: bool,
    /// The slots that it serves, first and last; none: all.
    slots: Vec<(u16, u16)>,
    connection: MultiplexedConnection,
    spent: Spent,
}

/// Commands that were sent to a tier, by all who share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spent(Arc<AtomicU64>);

impl Spent {
    fn add(&self, commands: usize) {
        self.0.fetch_add(commands as u64, Ordering::Relaxed);
    }

    /// All so far.
    pub fn so_far(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A node before it is connected to.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    name: String,
    is_replica: bool,
    slots: Vec<(u16, u16)>,
}

/// A copy, and the watermark that was read just before it.
pub(crate) struct Found {
    pub mark: Option<Mark>,
    pub copy: Copy,
}

/// A value of somebody else's.
pub(crate) struct Foreign {
    /// `None`: it is gone, or of another form.
    pub fields: Option<Fields>,
    pub is_there: bool,
    /// How long it lives; `None`: for ever.
    pub left: Option<Duration>,
}

/// Connects to every node of a tier that answers; to all primaries, or not at all.
pub(crate) async fn connect(
    servers: &RedisServers,
    with_replicas: bool,
    spent: &Spent,
) -> Result<Vec<Node>, AuditError> {
    let (first, found) = match servers {
        RedisServers::Node(url) => (url, of_one(url).await?),
        RedisServers::Cluster(urls) => of_cluster(urls).await?,
    };
    let is_cluster = matches!(servers, RedisServers::Cluster(_));
    let mut nodes = Vec::new();
    for Known { name, is_replica, slots } in found {
        if is_replica && !with_replicas {
            continue;
        }
        let node = open(&at(first.expose(), &name), &name).await;
        match node {
            Ok(mut connection) => {
                if is_replica && is_cluster {
                    ask::<()>(&mut connection, &name, &redis::cmd("READONLY")).await?;
                }
                nodes.push(Node { name, is_replica, slots, connection, spent: spent.clone() });
            }
            // One replica less is no reason to look at nothing.
            Err(error) if is_replica => tracing::warn!(node = %name, %error, "a replica can't be audited"),
            Err(error) => return Err(error),
        }
    }
    Ok(nodes)
}

impl Node {
    /// Whether a watermark lies here.
    pub fn has(&self, mark: &str) -> bool {
        let tag = mark.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or(mark, |(tag, _)| tag);
        let slot = slot_of(tag);
        !self.is_replica && (self.slots.is_empty() || self.slots.iter().any(|(from, to)| (*from..=*to).contains(&slot)))
    }

    /// The next keys from a cursor, whatever lies under them; the walk is over when it is 0 again.
    pub async fn scan(&mut self, cursor: u64, pattern: &str, count: usize) -> Result<(u64, Vec<String>), AuditError> {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(count);
        self.spent.add(1);
        let (next, keys): (u64, Vec<Vec<u8>>) = ask(&mut self.connection, &self.name, &scan).await?;
        // What is no text is nobody's key of ours.
        Ok((next, keys.into_iter().filter_map(|key| String::from_utf8(key).ok()).collect()))
    }

    /// About how many keys it has.
    pub async fn size(&mut self) -> Result<u64, AuditError> {
        self.spent.add(1);
        ask(&mut self.connection, &self.name, &redis::cmd("DBSIZE")).await
    }

    /// Commands that it has carried out since its start; none where it may not tell.
    pub async fn commands(&mut self) -> Option<u64> {
        let mut info = redis::cmd("INFO");
        info.arg("stats");
        self.spent.add(1);
        let text: String = ask(&mut self.connection, &self.name, &info).await.ok()?;
        text.lines().find_map(|line| line.strip_prefix("total_commands_processed:"))?.trim().parse().ok()
    }

    /// For each subject its watermark, then the lease beside the entry, the entry, how long that lives, and the lease again
    /// where there was one.
    pub async fn read(&mut self, subjects: &[&Subject]) -> Result<Vec<Found>, AuditError> {
        if subjects.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipe = redis::pipe();
        // Somebody else's value under a name of ours is a finding, or no lease; no error.
        pipe.ignore_errors();
        for subject in subjects {
            pipe.cmd("HMGET").arg(&subject.mark).arg(&["pos", "floor", "at", "offset"]);
            pipe.cmd("GET").arg(subject.lease());
            pipe.cmd("HGETALL").arg(&subject.key).cmd("PTTL").arg(&subject.key);
        }
        let answers: Vec<Value> = self.pipe(&pipe).await?;
        let mut answers = answers.into_iter();
        let mut found = Vec::with_capacity(subjects.len());
        let mut leased = Vec::new();
        while let (Some(mark), Some(lease), Some(fields), Some(life)) =
            (answers.next(), answers.next(), answers.next(), answers.next())
        {
            let mark = self.form(texts_of(mark))?;
            let (fields, form) = match fields {
                Value::ServerError(error) if error.code() == WRONG_TYPE => (Fields::new(), Form::Instead("no hash")),
                fields => (self.form(fields_of(fields))?, Form::Fields),
            };
            let pttl_ms: i64 = self.form(from_redis_value(life).map_err(Into::into))?;
            let lease = from_redis_value::<Option<Vec<u8>>>(lease).ok().flatten();
            if let Some(lease) = lease.filter(|_| !fields.is_empty()) {
                leased.push((found.len(), lease));
            }
            let copy = Copy { fields, is_endless: pttl_ms == -1, is_leased: false, form };
            found.push(Found { mark: mark_of(&mark, 0), copy });
        }
        if !leased.is_empty() {
            let mut pipe = redis::pipe();
            pipe.ignore_errors();
            for (at, _) in &leased {
                pipe.cmd("GET").arg(subjects[*at].lease());
            }
            let again: Vec<Value> = self.pipe(&pipe).await?;
            for ((at, lease), again) in leased.into_iter().zip(again) {
                let again = from_redis_value::<Option<Vec<u8>>>(again).ok().flatten();
                found[at].copy.is_leased = again.as_ref() == Some(&lease);
            }
        }
        Ok(found)
    }

    /// Values of somebody else's.
    pub async fn values(&mut self, keys: &[String], are_hashes: bool) -> Result<Vec<Foreign>, AuditError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipe = redis::pipe();
        pipe.ignore_errors();
        for key in keys {
            pipe.cmd(if are_hashes { "HGETALL" } else { "GET" }).arg(key).cmd("PTTL").arg(key);
        }
        let mut answers = self.pipe::<Vec<Value>>(&pipe).await?.into_iter();
        let mut values = Vec::with_capacity(keys.len());
        while let (Some(value), Some(life)) = (answers.next(), answers.next()) {
            let pttl_ms: i64 = self.form(from_redis_value(life).map_err(Into::into))?;
            let fields = match value {
                Value::ServerError(error) if error.code() == WRONG_TYPE => None,
                Value::ServerError(error) => return self.form(Err(error.into())),
                value if are_hashes => Some(self.form(fields_of(value))?),
                value => fields_of_json(value),
            };
            let is_there = pttl_ms != -2;
            let fields = fields.filter(|fields| is_there && !(are_hashes && fields.is_empty()));
            let left = u64::try_from(pttl_ms).ok().map(Duration::from_millis);
            values.push(Foreign { fields, is_there, left });
        }
        Ok(values)
    }

    /// Watermarks, by name; where L3 has come to, where `at_edge`.
    pub async fn marks(&mut self, names: &[&str], at_edge: bool) -> Result<Vec<Option<Mark>>, AuditError> {
        let marks = self.marks_of_both(names).await?;
        Ok(marks.into_iter().map(|(own, of_edge)| if at_edge { of_edge } else { own }).collect())
    }

    /// Watermarks, by name: the tier's own, and L3's beside it.
    pub async fn marks_of_both(&mut self, names: &[&str]) -> Result<Vec<(Option<Mark>, Option<Mark>)>, AuditError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipe = redis::pipe();
        pipe.ignore_errors();
        for name in names {
            pipe.cmd("HMGET").arg(name).arg(&["pos", "floor", "at", "offset", "l3", "l3_offset"]);
        }
        let answers: Vec<Value> = self.pipe(&pipe).await?;
        let marks = answers.into_iter().map(|answer| {
            let texts = self.form(texts_of(answer))?;
            Ok((mark_of(&texts, 0), mark_of(&texts, 4)))
        });
        marks.collect()
    }

    async fn pipe<T: redis::FromRedisValue>(&mut self, pipe: &redis::Pipeline) -> Result<T, AuditError> {
        self.spent.add(pipe.cmd_iter().count());
        let answer = pipe.query_async(&mut self.connection).await;
        self.form(answer)
    }

    fn form<T>(&self, answer: Result<T, RedisError>) -> Result<T, AuditError> {
        answer.map_err(|error| AuditError::Redis { node: self.name.clone(), error: error.into() })
    }
}

/// `pos, floor, at, offset, l3, l3_offset` as a watermark whose position stands at `position`. The edge knows no floor.
fn mark_of(texts: &[Option<String>], position: usize) -> Option<Mark> {
    let at = |at: usize| texts.get(at).and_then(Option::as_deref);
    let floor = if position == 0 { at(1).and_then(|text| text.parse().ok()) } else { None };
    Some(Mark {
        position: at(position)?.parse().ok()?,
        floor: floor.unwrap_or(Position::LEAST),
        at: at(2).and_then(|text| text.parse().ok()).unwrap_or(0),
        offset: at(if position == 0 { 3 } else { position + 1 }).and_then(|text| text.parse().ok()).unwrap_or(0),
    })
}

/// Some fields of a hash; nothing where there is none, or no text.
fn texts_of(value: Value) -> Result<Vec<Option<String>>, RedisError> {
    match value {
        Value::ServerError(error) if error.code() != WRONG_TYPE => Err(error.into()),
        value => Ok(from_redis_value(value).unwrap_or_default()),
    }
}

/// The fields of a hash. What is no text differs from every text of the database's.
fn fields_of(value: Value) -> Result<Fields, RedisError> {
    let pairs: BTreeMap<Vec<u8>, Vec<u8>> = from_redis_value(value)?;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap_or_else(|bad| format!("{:?}", bad.as_bytes()));
    Ok(pairs.into_iter().map(|(name, value)| (text(name), text(value))).collect())
}

/// The members of a JSON object as texts; null is absent.
fn fields_of_json(value: Value) -> Option<Fields> {
    let text: Vec<u8> = from_redis_value(value).ok()?;
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&text).ok()?;
    let text = |value: serde_json::Value| match value {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text),
        other => Some(other.to_string()),
    };
    Some(object.into_iter().filter_map(|(name, value)| Some((name, text(value)?))).collect())
}

async fn open(url: &str, name: &str) -> Result<MultiplexedConnection, AuditError> {
    let failed = |error: RedisError| AuditError::Redis { node: name.to_owned(), error: error.into() };
    let config = AsyncConnectionConfig::new();
    let config = config.set_connection_timeout(Some(ANSWER_WAIT_MAX)).set_response_timeout(Some(ANSWER_WAIT_MAX));
    let client = Client::open(url).map_err(failed)?;
    client.get_multiplexed_async_connection_with_config(&config).await.map_err(failed)
}

async fn ask<T: redis::FromRedisValue>(
    connection: &mut MultiplexedConnection,
    name: &str,
    command: &redis::Cmd,
) -> Result<T, AuditError> {
    let failed = |error: RedisError| AuditError::Redis { node: name.to_owned(), error: error.into() };
    command.query_async(connection).await.map_err(failed)
}

/// One server, and the replicas that it tells of.
async fn of_one(url: &Url) -> Result<Vec<Known>, AuditError> {
    let name = address(url.expose());
    let mut connection = open(url.expose(), &name).await?;
    let mut info = redis::cmd("INFO");
    info.arg("replication");
    // Who may not ask audits the one node.
    let text: String = ask(&mut connection, &name, &info).await.unwrap_or_default();
    let known = |name, is_replica| Known { name, is_replica, slots: Vec::new() };
    let mut nodes = vec![known(name, false)];
    nodes.extend(replicas_of(&text).into_iter().map(|name| known(name, true)));
    Ok(nodes)
}

async fn of_cluster(urls: &[Url]) -> Result<(&Url, Vec<Known>), AuditError> {
    let mut last = AuditError::Answer("no node of the cluster is configured");
    for url in urls {
        let name = address(url.expose());
        let asked = async {
            let mut connection = open(url.expose(), &name).await?;
            let mut nodes = redis::cmd("CLUSTER");
            nodes.arg("NODES");
            ask::<String>(&mut connection, &name, &nodes).await
        };
        match asked.await {
            Ok(text) => return Ok((url, nodes_of(&text))),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The nodes that serve, from the text of CLUSTER NODES, each with whether it is a replica:
/// `<id> <ip>:<port>@<bus port>[,host] <flags> <primary> <ping> <pong> <epoch> <link> <slots...>`.
fn nodes_of(text: &str) -> Vec<Known> {
    let node = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (address, flags) = (words.get(1)?.split('@').next()?, words.get(2)?);
        let has = |flag: &str| flags.split(',').any(|known| known == flag);
        let serves = has("slave") || (has("master") && words.len() > 8);
        let range = |word: &&str| {
            let (from, to) = word.split_once('-').unwrap_or((word, word));
            Some((from.parse().ok()?, to.parse().ok()?))
        };
        let slots = words.iter().skip(8).filter_map(range).collect();
        (serves && !has("fail") && !has("noaddr")).then(|| Known {
            name: address.to_owned(),
            is_replica: has("slave"),
            slots,
        })
    };
    text.lines().filter_map(node).collect()
}

/// The replicas that a primary tells of: `slave0:ip=10.0.0.2,port=6379,state=online,...`.
fn replicas_of(info: &str) -> Vec<String> {
    let replica = |line: &str| {
        let (name, words) = line.trim().split_once(':')?;
        let number = name.strip_prefix("slave")?;
        number.parse::<u32>().ok()?;
        let word = |key: &str| words.split(',').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        (word("state") == Some("online")).then_some(())?;
        Some(format!("{}:{}", word("ip")?, word("port")?))
    };
    info.lines().filter_map(replica).collect()
}

/// `host:port` of a URL.
fn address(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['/', '?']).next().unwrap_or(rest);
    rest.rsplit_once('@').map_or(rest, |(_, host)| host).to_owned()
}

/// The same URL with another server in it.
fn at(url: &str, server: &str) -> String {
    url.replacen(&address(url), server, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_those_that_serve() {
        let text = "\
a 127.0.0.1:7001@17001 myself,master - 0 0 1 connected 0-5460
b 127.0.0.1:7002@17002,host master - 0 0 2 connected 5461-10922
c 127.0.0.1:7003@17003 master,fail - 0 0 3 disconnected 10923-16383
d 127.0.0.1:7004@17004 slave a 0 0 1 connected
e 127.0.0.1:7005@17005 master - 0 0 4 connected
";
        let nodes = nodes_of(text);
        let names: Vec<(&str, bool)> = nodes.iter().map(|node| (&*node.name, node.is_replica)).collect();
        assert_eq!(nodes[0].slots, [(0, 5460)]);
        assert_eq!(names, [("127.0.0.1:7001", false), ("127.0.0.1:7002", false), ("127.0.0.1:7004", true)]);
        let info = "role:master\r\nconnected_slaves:2\r\nslave0:ip=10.0.0.2,port=6380,state=online,offset=1\r\n\
                    slave1:ip=10.0.0.3,port=6380,state=wait_bgsave,offset=0\r\n";
        assert_eq!(replicas_of(info), ["10.0.0.2:6380"]);
    }

    #[test]
    fn another_node_is_reached_as_the_first() {
        let url = "rediss://user:p%40ss@a.example:6379/0";
        assert_eq!(at(url, "10.0.0.2:6380"), "rediss://user:p%40ss@10.0.0.2:6380/0");
        assert_eq!(address("redis://127.0.0.1:6379/"), "127.0.0.1:6379");
    }
}
