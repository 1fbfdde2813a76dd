//! Quotas: what is used is kept in a znode, and what is too much is refused. And the configuration,
//! which nobody may change here.

use crate::step::*;
use quorate_wire::zookeeper::{Reconfig, Request};

const LIMITS: &str = "/zookeeper/quota/quo/zookeeper_limits";
const STATS: &str = "/zookeeper/quota/quo/zookeeper_stats";

pub(super) fn steps() -> Vec<Step> {
    [counted(), held(), gone(), reconfig()].concat()
}

fn counted() -> Vec<Step> {
    vec![
        ann(create("/quo", "12", PERSISTENT)),
        ann(create("/quo/a", "345", PERSISTENT)),
        ann(create("/quo/a/b", "", PERSISTENT)),
        ann(create("/quotient", "678", PERSISTENT)),
        ann(create("/zookeeper/quota/quo", "", PERSISTENT)),
        ann(create(LIMITS, "count=100,bytes=1000", PERSISTENT)),
        ann(create(STATS, "count=0,bytes=0", PERSISTENT)),
        ann(get(STATS, false)),
        ann(create("/quo/c", "6789", PERSISTENT)),
        ann(get(STATS, true)),
        ann(create("/quo/e", "e", EPHEMERAL)),
        ann(create("/quo/s-", "s", SEQUENTIAL)),
        ann(create("/quotient/x", "6789", PERSISTENT)),
        ann(get(STATS, false)),
        ann(set("/quo/c", "1", ANY)),
        ann(set("/quo", "", ANY)),
        ann(get(STATS, false)),
        ann(delete("/quo/c", ANY)),
        ann(multi([m_create("/quo/m", PERSISTENT), m_set("/quo/m", ANY), m_delete("/quo/e", ANY)])),
        ann(get(STATS, false)),
        ann(multi([m_create("/quo/n", PERSISTENT), m_delete("/nobody", ANY)])),
        ann(get(STATS, false)),
    ]
}

fn held() -> Vec<Step> {
    vec![
        ann(set(LIMITS, "count=1,bytes=1", ANY)),
        ann(create("/quo/soft", "s", PERSISTENT)),
        ann(get(STATS, false)),
        ann(set(LIMITS, "count=-1,bytes=-1=;countHardLimit=7;byteHardLimit=20", ANY)),
        ann(create("/quo/h1", "", PERSISTENT)),
        ann(create("/quo/h2", "", PERSISTENT)),
        ann(create("/quo/h3", "", PERSISTENT)),
        ann(get(STATS, false)),
        ann(set("/quo/h1", "much more than twenty bytes", ANY)),
        ann(set("/quo/h1", "much more than twenty bytes", 77)),
        ann(set("/quo/h1", "few", 77)),
        ann(set("/quo/h1", "few", ANY)),
        ann(delete("/quo/soft", ANY)),
        ann(multi([m_create("/quo/p", PERSISTENT), m_delete("/quo/p", ANY)])),
        ann(get(STATS, false)),
    ]
}

fn gone() -> Vec<Step> {
    vec![
        ann(delete(LIMITS, ANY)),
        ann(create("/quo/free", "free", PERSISTENT)),
        ann(get(STATS, false)),
        ann(delete(STATS, ANY)),
        ann(delete("/zookeeper/quota/quo", ANY)),
        ann(create("/quo/freer", "free", PERSISTENT)),
    ]
}

fn reconfig() -> Vec<Step> {
    let (new_members, config_id) = (None, -1);
    let joining = Some("server.9=127.0.0.1:1:2:observer;3");
    vec![
        ann(Request::Reconfig(Reconfig { joining, leaving: None, new_members, config_id })),
        ann(Request::Reconfig(Reconfig {
            joining: None,
            leaving: Some("x"),
            new_members,
            config_id,
        })),
        ann(set("/zookeeper/config", "mine", ANY)),
    ]
}
