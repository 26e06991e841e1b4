//! The tiers' servers in Redis.

use serde::Deserialize;

use super::{ConfigArgs, Url};
use crate::Failure;

/// Schemes of URLs of Redis.
const REDIS: [&str; 2] = ["redis", "rediss"];

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TiersSection {
    l2: Option<OneOrMany>,
    l1: Option<Vec<String>>,
}

/// One URL is one node, a list is a cluster.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// A tier's servers.
#[derive(Clone, Debug)]
pub enum RedisServers {
    /// One node; keys have plain names.
    Node(Url),
    /// A cluster, by some of its nodes; keys have tagged names.
    Cluster(Vec<Url>),
}

impl TiersSection {
    /// L2's servers and L1's, arguments before the file.
    pub fn servers(self, args: &ConfigArgs) -> Result<(Option<RedisServers>, Option<Vec<Url>>), Failure> {
        let l1 = args.l1_urls.clone().or(self.l1);
        let l1 = l1.map(|urls| urls.iter().map(|text| Url::parse("an L1 URL", text, &REDIS)).collect()).transpose()?;
        let l2 = l2(args, self.l2)?;
        refuse_shared(l2.as_ref(), l1.as_deref())?;
        Ok((l2, l1))
    }
}

/// L2: one node, or a cluster. Arguments win over the file, whichever they name.
fn l2(args: &ConfigArgs, file: Option<OneOrMany>) -> Result<Option<RedisServers>, Failure> {
    let given = match (&args.l2_url, &args.l2_urls) {
        (Some(_), Some(_)) => {
            return Err(Failure::configuration("L2 is given as one node and as a cluster")
                .remedy("set LOCKSTEP_L2_URL (--l2-url) or LOCKSTEP_L2_URLS (--l2-urls), not both"));
        }
        (Some(url), None) => Some(OneOrMany::One(url.clone())),
        (None, Some(urls)) => Some(OneOrMany::Many(urls.clone())),
        (None, None) => file,
    };
    let parse = |text: &String| Url::parse("an L2 URL", text, &REDIS);
    Ok(match given {
        None => None,
        Some(OneOrMany::One(url)) => Some(RedisServers::Node(parse(&url)?)),
        Some(OneOrMany::Many(urls)) if urls.is_empty() => {
            return Err(Failure::configuration("L2 is a cluster without nodes").remedy("name some of its nodes"));
        }
        Some(OneOrMany::Many(urls)) => Some(RedisServers::Cluster(urls.iter().map(parse).collect::<Result<_, _>>()?)),
    })
}

/// Watermarks are called alike on all tiers: one cluster can't be both.
fn refuse_shared(l2: Option<&RedisServers>, l1: Option<&[Url]>) -> Result<(), Failure> {
    let of_l2 = match l2 {
        Some(RedisServers::Cluster(urls)) => urls.as_slice(),
        Some(RedisServers::Node(url)) => std::slice::from_ref(url),
        None => &[],
    };
    let shared = of_l2.iter().map(ToString::to_string).find(|url| {
        let mut of_l1 = l1.unwrap_or_default().iter();
        of_l1.any(|other| other.to_string().trim_end_matches('/') == url.trim_end_matches('/'))
    });
    match shared {
        None => Ok(()),
        Some(url) => Err(Failure::configuration(format!("{url} is a node of L1 and of L2"))
            .remedy("give each tier servers of its own: both keep their watermarks under the same names")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, parse_file};
    use super::*;

    #[test]
    fn l2_is_one_node_or_a_cluster() {
        let kind = |url: Option<&str>, urls: Option<&[&str]>, file: &str| {
            let args = ConfigArgs {
                l2_url: url.map(str::to_owned),
                l2_urls: urls.map(|urls| urls.iter().map(|url| (*url).to_owned()).collect()),
                ..ConfigArgs::default()
            };
            l2(&args, parse_file(file).expect("a file").tiers.l2).map(|servers| match servers {
                None => 0,
                Some(RedisServers::Node(_)) => 1,
                Some(RedisServers::Cluster(urls)) => 10 + urls.len(),
            })
        };
        let (one, many) = ("[tiers]\nl2 = 'redis://a'\n", "[tiers]\nl2 = ['redis://a', 'redis://b']\n");
        assert_eq!(kind(None, None, "").ok(), Some(0));
        assert_eq!((kind(None, None, one).ok(), kind(None, None, many).ok()), (Some(1), Some(12)));
        assert_eq!(kind(Some("redis://c"), None, many).ok(), Some(1), "the argument wins");
        assert_eq!(kind(None, Some(&["redis://c"]), one).ok(), Some(11), "a cluster by one of its nodes");
        assert!(kind(Some("redis://c"), Some(&["redis://d"]), "").is_err());
        assert!(kind(None, None, "[tiers]\nl2 = []\n").is_err() && kind(Some("http://c"), None, "").is_err());
    }

    #[test]
    fn a_server_is_of_one_tier() {
        let load = |l2: &str| {
            let urls = |text: &str| Some(text.split(',').map(str::to_owned).collect());
            let args = ConfigArgs {
                l1_urls: urls("redis://u:x@a:1/,redis://b:1"),
                l2_urls: urls(l2),
                ..ConfigArgs::default()
            };
            Config::load(&args)
        };
        assert!(load("redis://a:2").is_ok());
        let refused = load("redis://c:1,redis://a:1").expect_err("shared").to_string();
        assert!(refused.contains("redis://a:1 is a node of L1 and of L2"), "{refused}");
    }
}
