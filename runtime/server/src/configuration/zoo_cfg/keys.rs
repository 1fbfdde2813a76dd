//! Every key of a `zoo.cfg`, and what this server makes of it.
//!
//! Comes in: a key. Goes out: its row: a class, and words for people. Invariant: a key is in one row;
//! one that the reader asks for is honoured or mapped, all others are warned about or refused, so that
//! nothing is silently left out. `runtime/docs/zoo-cfg.md` holds the same table, which a test compares.

use std::fmt::Write as _;

/// What is made of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// It does here what it does in ZooKeeper.
    Honoured,
    /// It sets what comes nearest here.
    Mapped,
    /// It has no effect, and a warning says so.
    Warned,
    /// The server does not start with it: to leave it out silently would be dangerous.
    Refused,
}

/// Keys that the same is to be said of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// The keys. One that ends with `.N` stands for every number, one that ends with `*` for every
    /// ending.
    pub(super) keys: &'static [&'static str],
    pub(super) class: Class,
    /// Values that ask for what this server does anyway: nothing is said of them.
    pub(super) fine: &'static [&'static str],
    /// Values of a refused key that are only warned about.
    pub(super) warned: &'static [&'static str],
    /// What it does here, or why it does nothing and what to do about it.
    pub(super) says: &'static str,
}

type Words = &'static [&'static str];

const fn row(keys: Words, class: Class, (fine, warned): (Words, Words), says: &'static str) -> Row {
    Row { keys, class, fine, warned, says }
}

const fn honoured(keys: Words, says: &'static str) -> Row {
    row(keys, Class::Honoured, (&[], &[]), says)
}

const fn mapped(keys: Words, says: &'static str) -> Row {
    row(keys, Class::Mapped, (&[], &[]), says)
}

const fn warned(keys: Words, fine: Words, says: &'static str) -> Row {
    row(keys, Class::Warned, (fine, &[]), says)
}

const fn refused(keys: Words, fine: Words, says: &'static str) -> Row {
    row(keys, Class::Refused, (fine, &[]), says)
}

const OFF: Words = &["false"];
const ON: Words = &["true"];

/// This server's own keys, which ZooKeeper would take for system properties without meaning.
const OWN: &[Row] = &[
    honoured(
        &["quorate.cluster"],
        "name of the cluster, part of its certificates; `zookeeper` if not given",
    ),
    honoured(
        &["quorate.tls.authority", "quorate.tls.certificate", "quorate.tls.key"],
        "PEM files, relative to the folder of the zoo.cfg; `authority.pem`, `server.pem` and \
         `server-key.pem` in `dataDir/tls` if not given",
    ),
    honoured(
        &["quorate.join"],
        "`true`: an empty dataDir waits to be added to the running cluster of the server lines",
    ),
];

const BASIC: &[Row] = &[
    honoured(&["dataDir"], "folder of the log, the snapshots, `myid` and `tls`; required"),
    honoured(&["clientPort"], "TCP port of ZooKeeper clients; without one they are not served"),
    honoured(&["clientPortAddress"], "where that port listens; everywhere if not given"),
    honoured(
        &["secureClientPort"],
        "TCP port of ZooKeeper clients with TLS; see ssl.keyStore.location and ssl.clientAuth",
    ),
    honoured(&["secureClientPortAddress"], "where that port listens; everywhere if not given"),
    honoured(&["tickTime"], "milliseconds, the unit of the session timeouts; 3000 if not given"),
    honoured(
        &["minSessionTimeout", "maxSessionTimeout"],
        "milliseconds, 2 and 20 ticks if not given; moved into 100 to 86400000",
    ),
    honoured(&["maxClientCnxns"], "connections of one address; 60 if not given, 0: any number"),
    honoured(
        &["4lw.commands.whitelist"],
        "four-letter words that are answered, or `*`; `srvr,isro` if not given",
    ),
    honoured(
        &["jute.maxbuffer"],
        "bytes of a request, 1024 to 4194304; here it works in the file, not only as -D; data of one \
         znode is at most 1048575 bytes in any case",
    ),
    honoured(&["datadir.autocreate"], "`false`: a dataDir that is not there is an error"),
    mapped(&["maxCnxns"], "connections of one server; 10000 if not given, 0: 1000000"),
    mapped(&["preAllocSize"], "KB; the size of a file of the log, all of it filled ahead of use"),
    mapped(&["txnLogSizeLimitInKb"], "the same, and before `preAllocSize` where both are given"),
    mapped(&["snapSizeLimitInKb"], "log applied before the next snapshot, 1 MiB to 1 GiB"),
    mapped(&["standaloneEnabled"], "one server is a cluster of one either way"),
    warned(
        &["initLimit", "syncLimit"],
        &[],
        "required with several servers, as in ZooKeeper; then, a leader waits for its followers without \
         a limit, and elections take 300 to 600 ms whatever the tick",
    ),
    warned(
        &["dataLogDir"],
        &[],
        "the log and the snapshots lie together in dataDir: put dataDir on the disk meant for the log",
    ),
    warned(
        &["connectToLearnerMasterLimit"],
        &[],
        "a leader waits for its followers without a limit",
    ),
    warned(&["clientPortListenBacklog"], &[], "the operating system's backlog is used"),
    warned(&["observerMasterPort"], &["0"], "only the leader feeds other servers"),
    warned(
        &["localSessionsEnabled", "localSessionsUpgradingEnabled"],
        OFF,
        "every session is one of the whole cluster",
    ),
    refused(
        &["peerType"],
        &["participant"],
        "a server cannot begin as an observer: make it a member that does not vote with quorate.join=true \
         and `quorate member add`",
    ),
    warned(&["syncEnabled"], ON, "every server keeps log and snapshots"),
    warned(
        &["globalOutstandingLimit"],
        &[],
        "requests under way are bounded for each session and for the leader",
    ),
    warned(&["snapCount"], &[], "snapshots are taken by bytes of log: see snapSizeLimitInKb"),
    warned(
        &["commitLogCount", "snapshotSizeFactor"],
        &[],
        "8 MiB of log are kept behind a snapshot",
    ),
    warned(&["fsync.warningthresholdms"], &[], "slow syncs are not told of yet"),
    warned(
        &["maxResponseCacheSize", "maxGetChildrenResponseCacheSize"],
        &[],
        "answers are not cached",
    ),
    warned(
        &["autopurge.snapRetainCount", "autopurge.purgeInterval"],
        &[],
        "what a newer snapshot replaces is always removed",
    ),
    warned(&["extendedTypesEnabled"], ON, "znodes with a TTL are always allowed"),
    refused(&["emulate353TTLNodes"], OFF, "data of ZooKeeper 3.5.3 cannot be read here; remove it"),
    warned(
        &[
            "watchManagerName",
            "watcherCleanThreadsNum",
            "watcherCleanThreshold",
            "watcherCleanIntervalInSeconds",
            "maxInProcessingDeadWatchers",
            "bitHashCacheSize",
        ],
        &[],
        "there is one way of keeping watches",
    ),
    warned(
        &["fastleader.minNotificationInterval", "fastleader.maxNotificationInterval"],
        &[],
        "elections take 300 to 600 ms: another protocol holds them",
    ),
    row(
        &["serverCnxnFactory"],
        Class::Refused,
        (
            &[],
            &[
                "org.apache.zookeeper.server.NIOServerCnxnFactory",
                "org.apache.zookeeper.server.NettyServerCnxnFactory",
            ],
        ),
        "Java classes are not loaded here; remove it",
    ),
    warned(
        &["flushDelay", "maxWriteQueuePollTime", "maxBatchSize"],
        &[],
        "whatever came during one sync of the log shares the next",
    ),
    honoured(&["enforceQuota"], "`true`: what passes a hard limit of a subtree's quota is refused"),
    warned(&["digest.enabled"], ON, "digests are always made and compared"),
    warned(&["snapshot.compression.method"], &[""], "snapshots are not compressed"),
    warned(
        &["snapshot.trust.empty"],
        OFF,
        "a log without its snapshot is never started from, as without this key",
    ),
    refused(&["audit.enable"], OFF, "there is no audit log yet; remove it to go without"),
    refused(
        &["audit.impl.class"],
        &["org.apache.zookeeper.audit.Slf4jAuditLogger"],
        "Java classes are not loaded here; remove it",
    ),
    warned(
        &["largeRequestMaxBytes", "largeRequestThreshold"],
        &[],
        "bytes under way are bounded for all requests alike",
    ),
    warned(&["jute.maxbuffer.extrasize"], &[], "what servers add has its own bounds"),
    warned(
        &["closeSessionTxn.enabled", "serializeLastProcessedZxid.enabled"],
        ON,
        "log and snapshots are in a format of their own",
    ),
    warned(&["intBufferStartingSizeBytes"], &[], "buffers grow by themselves"),
    warned(
        &["db.autocreate"],
        ON,
        "a server whose data is gone is known by that and kept out, whatever is said here",
    ),
    warned(&["version"], &[], "the members are on record in the log"),
];

const THROTTLING: &[Row] = &[
    warned(
        &[
            "connection_throttle_tokens",
            "connection_throttle_fill_time",
            "connection_throttle_fill_count",
            "connection_throttle_freeze_time",
            "connection_throttle_drop_increase",
            "connection_throttle_drop_decrease",
            "connection_throttle_decrease_ratio",
            "connection_throttle_weight_enabled",
            "connection_throttle_global_session_weight",
            "connection_throttle_local_session_weight",
            "connection_throttle_renew_session_weight",
        ],
        &["0"],
        "new connections are bounded by maxCnxns and maxClientCnxns only",
    ),
    warned(
        &[
            "request_throttle_max_requests",
            "request_throttle_stall_time",
            "request_throttle_drop_stale",
            "request_stale_latency_check",
            "request_stale_connection_check",
            "request_throttler.shutdownTimeout",
            "throttled_op_wait_time",
        ],
        &["0"],
        "a client with many requests under way is not read from until some are answered",
    ),
    warned(
        &[
            "connectionMaxTokens",
            "connectionTokenFillTime",
            "connectionTokenFillCount",
            "connectionFreezeTime",
            "connectionDropIncrease",
            "connectionDropDecrease",
            "connectionDecreaseRatio",
            "requestThrottleLimit",
            "requestThrottleStallTime",
            "requestThrottleDropStale",
            "requestStaleLatencyCheck",
            "requestStaleConnectionCheck",
            "throttledOpWaitTime",
            "advancedFlowControlEnabled",
            "outstandingHandshake.limit",
            "maxTimeToWaitForEpoch",
            "maxConcurrentSnapSyncs",
            "maxConcurrentDiffSyncs",
        ],
        &[],
        "ZooKeeper's manual has this name, but ZooKeeper does not read it from a zoo.cfg either",
    ),
    warned(
        &[
            "netty.advancedFlowControl.enabled",
            "netty.server.outstandingHandshake.limit",
            "netty.server.earlyDropSecureConnectionHandshakes",
        ],
        OFF,
        "there is no Netty here",
    ),
    warned(&["enableEagerACLCheck"], ON, "ACLs are always checked before anything is proposed"),
];

const CLUSTER: &[Row] = &[
    honoured(
        &["server.N"],
        "`host:quorum port[:election port][:participant][;[client address:]client port]`: the quorum \
         port is where peers connect (UDP), the election port where quorate's own clients do (UDP)",
    ),
    honoured(&["dynamicConfigFile"], "a file with the server lines; read, never written"),
    honoured(
        &["quorumListenOnAllIPs"],
        "`true`: peers and native clients reach this server on all addresses, not on its host's only",
    ),
    refused(
        &["group.N", "weight.N"],
        &[],
        "all voters weigh the same here, and without this key other majorities decide; remove it if \
         that will do",
    ),
    honoured(
        &["reconfigEnabled"],
        "`true`: who may write `/zookeeper/config` changes the members by reconfig, as by `quorate member`",
    ),
    row(&["electionAlg"], Class::Refused, (&[], &["3"]), "ZooKeeper knows only 3; remove it"),
    warned(
        &["leader.maxTimeToWaitForEpoch", "cnxTimeout", "quorumCnxnTimeoutMs"],
        &["-1"],
        "elections take 300 to 600 ms: another protocol holds them",
    ),
    warned(
        &["leader.maxConcurrentSnapSyncs", "leader.maxConcurrentDiffSyncs", "forceSnapshotSync"],
        OFF,
        "followers get what they lack as the leader has it to give, by its own limits",
    ),
    warned(&["leaderServes"], &["yes"], "the leader serves clients too"),
    warned(
        &["tcpKeepAlive"],
        OFF,
        "servers are connected by QUIC, which finds out by itself whether the other is there",
    ),
    warned(
        &["clientTcpKeepAlive"],
        OFF,
        "sessions end by their own timeout; connections are not probed",
    ),
    warned(&["electionPortBindRetry"], &[], "a port in use ends the start at once"),
    warned(
        &[
            "observer.reconnectDelayMs",
            "observer.election.DelayMs",
            "observerMaster.sizeLimit",
            "leaderConnectDelayDuringRetryMs",
        ],
        &[],
        "servers connect again by their own rule",
    ),
    warned(
        &[
            "multiAddress.enabled",
            "multiAddress.reachabilityCheckTimeoutMs",
            "multiAddress.reachabilityCheckEnabled",
        ],
        OFF,
        "a server has one address here",
    ),
    refused(
        &["oraclePath"],
        &[],
        "no file decides here who leads when one of two servers is gone; run three servers and remove it",
    ),
    warned(
        &[
            "learner.closeSocketAsync",
            "leader.closeSocketAsync",
            "learner.asyncSending",
            "forward_learner_requests_to_commit_processor_disabled",
            "follower.skipLearnerRequestToNextProcessor",
            "follower.nodelay",
            "leader.nodelay",
            "leader.ackLoggingFrequency",
        ],
        &[],
        "it tunes threads and sockets that are not here",
    ),
    warned(
        &[
            "jvm.pause.monitor",
            "jvm.pause.warn-threshold.ms",
            "jvm.pause.info-threshold.ms",
            "jvm.pause.sleep.time.ms",
        ],
        OFF,
        "there is no Java virtual machine here",
    ),
];

const TRUST: &[Row] = &[
    honoured(
        &["DigestAuthenticationProvider.superDigest"],
        "`user:hash` whose password makes an administrator",
    ),
    refused(
        &["DigestAuthenticationProvider.enabled"],
        ON,
        "the scheme digest cannot be turned off; remove it if it may stay on",
    ),
    refused(
        &["DigestAuthenticationProvider.digestAlg"],
        &["SHA1", "SHA-1"],
        "digests are made with SHA1 only: ACLs made with another would fit nobody",
    ),
    warned(&["IPAuthenticationProvider.usexforwardedfor"], OFF, "there is no HTTP port"),
    honoured(
        &["X509AuthenticationProvider.superUser"],
        "subject of a client's certificate, as RFC 2253 writes it, whose owner is an administrator",
    ),
    warned(
        &["superUser", "superUser.*", "SASLAuthenticationProvider.superPassword"],
        &[],
        "the scheme sasl is not there yet, so nobody is an administrator by it; see \
         DigestAuthenticationProvider.superDigest",
    ),
    refused(
        &["ssl.authProvider"],
        &["x509"],
        "a client's certificate proves an identity of the scheme x509, and Java classes are not loaded \
         here; remove it",
    ),
    refused(
        &["authProvider.*"],
        &[
            "org.apache.zookeeper.server.auth.DigestAuthenticationProvider",
            "org.apache.zookeeper.server.auth.IPAuthenticationProvider",
            "org.apache.zookeeper.server.auth.X509AuthenticationProvider",
        ],
        "Java classes are not loaded here, and of ZooKeeper's schemes there are digest, ip and x509; \
         remove it if no client needs another",
    ),
    warned(
        &["ensembleAuthName"],
        &[],
        "clients that show the name of an ensemble are answered that it proves nothing",
    ),
    refused(
        &["sessionRequireClientSASLAuth", "enforce.auth.enabled"],
        OFF,
        "clients without a proof of identity are served: it cannot be asked for yet; remove it if the \
         port is in a network that you trust",
    ),
    warned(&["enforce.auth.schemes", "allowSaslFailedClients"], OFF, "SASL is not there yet"),
    warned(
        &[
            "letAnySaslUserDoX",
            "requireKerberosConfig",
            "sasl.serverconfig",
            "sasl.client*",
            "kinit",
            "server.principal",
            "server.realm",
            "kerberos.removeHostFromPrincipal",
            "kerberos.removeRealmFromPrincipal",
            "kerberos.canonicalizeHostNames",
            "security.auth_to_local",
        ],
        OFF,
        "SASL is not there yet",
    ),
    refused(
        &[
            "quorum.auth.enableSasl",
            "quorum.auth.serverRequireSasl",
            "quorum.auth.learnerRequireSasl",
        ],
        OFF,
        "servers know each other by mutual TLS, always; remove it",
    ),
    warned(
        &[
            "quorum.auth.kerberos.servicePrincipal",
            "quorum.auth.learner.saslLoginContext",
            "quorum.auth.server.saslLoginContext",
            "quorum.cnxn.threads.size",
        ],
        &[],
        "servers know each other by mutual TLS, always",
    ),
    warned(&["sslQuorum"], ON, "servers use mutual TLS among themselves, always"),
    warned(&["portUnification"], OFF, "servers use TLS among themselves, always"),
    honoured(
        &["client.portUnification"],
        "`true`: clientPort takes clients with TLS and without, by their first byte",
    ),
    warned(
        &["sslQuorumReloadCertFiles", "client.certReload"],
        OFF,
        "certificates are read at the start",
    ),
    warned(
        &[
            "ssl.quorum.keyStore.location",
            "ssl.quorum.keyStore.password",
            "ssl.quorum.keyStore.passwordPath",
            "ssl.quorum.keyStore.type",
            "ssl.quorum.trustStore.location",
            "ssl.quorum.trustStore.password",
            "ssl.quorum.trustStore.passwordPath",
            "ssl.quorum.trustStore.type",
        ],
        &[],
        "certificates of servers here name cluster and server: see quorate.tls.authority",
    ),
    honoured(
        &["ssl.keyStore.location"],
        "PEM file with the key and the certificates that ZooKeeper clients are shown; those of \
         quorate.tls.* if not given. JKS and PKCS12 are refused with the command that makes PEM of them",
    ),
    honoured(
        &["ssl.trustStore.location"],
        "PEM file with the authorities that sign for ZooKeeper clients; quorate.tls.authority if not given",
    ),
    honoured(
        &["ssl.keyStore.type", "ssl.trustStore.type"],
        "`PEM`; by the ending of the file if not given",
    ),
    honoured(
        &["ssl.clientAuth"],
        "`need`: ZooKeeper clients with TLS show a certificate; `want`: they may; `none`: they are not \
         asked; `need` if not given",
    ),
    warned(
        &[
            "ssl.keyStore.password",
            "ssl.keyStore.passwordPath",
            "ssl.trustStore.password",
            "ssl.trustStore.passwordPath",
        ],
        &[],
        "PEM files are read without a password; a key that has one is refused with the command that \
         takes it off",
    ),
    warned(
        &["ssl.protocol"],
        &["TLSv1.2", "TLSv1.3"],
        "ZooKeeper clients may speak TLS 1.2 and 1.3",
    ),
    warned(
        &["ssl.enabledProtocols"],
        &["TLSv1.3,TLSv1.2", "TLSv1.2,TLSv1.3"],
        "ZooKeeper clients may speak TLS 1.2 and 1.3",
    ),
    warned(&["ssl.ciphersuites"], &[], "the suites are those that are safe today"),
    warned(
        &[
            "ssl.hostnameVerification",
            "ssl.clientHostnameVerification",
            "ssl.allowReverseDnsLookup",
        ],
        OFF,
        "a client's certificate is not compared with the address that it comes from",
    ),
    warned(&["ssl.handshakeDetectionTimeoutMillis"], &[], "a connection has 10 s to come in"),
    warned(&["ssl.sslProvider"], &[], "TLS is another library's here"),
    warned(
        &["ssl.quorum.protocol", "ssl.quorum.enabledProtocols"],
        &["TLSv1.3"],
        "servers use TLS 1.3 only",
    ),
    warned(&["ssl.quorum.ciphersuites"], &[], "the suites are those of TLS 1.3"),
    warned(
        &["ssl.quorum.hostnameVerification", "ssl.quorum.clientHostnameVerification"],
        ON,
        "a certificate is checked for the server that it names, always",
    ),
    warned(
        &["ssl.quorum.clientAuth"],
        &["need"],
        "servers show certificates to each other, always",
    ),
    warned(
        &[
            "ssl.quorum.allowReverseDnsLookup",
            "ssl.quorum.handshakeDetectionTimeoutMillis",
            "ssl.quorum.sslProvider",
            "fips-mode",
        ],
        OFF,
        "TLS is another library's here, and names are never looked up by address",
    ),
    refused(
        &["ssl.context.supplier.class", "ssl.quorum.context.supplier.class"],
        &[],
        "Java classes are not loaded here; remove it",
    ),
    refused(
        &["ssl.crl", "ssl.ocsp", "ssl.quorum.crl", "ssl.quorum.ocsp"],
        OFF,
        "whether a certificate was revoked is not checked yet; remove it to go without",
    ),
    warned(&["skipACL"], &["no"], "ACLs are checked, always"),
];

const REST: &[Row] = &[
    warned(
        &[
            "admin.enableServer",
            "admin.serverAddress",
            "admin.serverPort",
            "admin.commandURL",
            "admin.idleTimeout",
            "admin.httpVersion",
            "admin.portUnification",
            "admin.forceHttps",
            "admin.needClientAuth",
            "admin.rateLimiterIntervalInMS",
            "admin.snapshot.enabled",
            "admin.restore.enabled",
        ],
        OFF,
        "there is no HTTP port yet; `quorate status` and the four-letter words tell how a server is",
    ),
    row(
        &["metricsProvider.className"],
        Class::Refused,
        (
            &["org.apache.zookeeper.metrics.impl.DefaultMetricsProvider"],
            &["org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"],
        ),
        "figures are told by the four-letter word mntr only; no Java class is loaded",
    ),
    warned(&["metricsProvider.*"], &[], "figures are told by the four-letter word mntr only"),
    warned(
        &["messageTracker.BufferSize", "messageTracker.Enabled"],
        OFF,
        "messages between servers are not kept to be looked at",
    ),
    warned(
        &[
            "pathStats.enabled",
            "pathStats.slotCapacity",
            "pathStats.slotDuration",
            "pathStats.maxDepth",
            "pathStats.sampleRate",
            "pathStats.initialDelay",
            "pathStats.delay",
            "pathStats.topPathMax",
        ],
        OFF,
        "requests are not counted by path",
    ),
    warned(
        &["nio.sessionlessCnxnTimeout"],
        &["10000"],
        "a connection has 10 s to say what it wants",
    ),
    warned(
        &[
            "nio.numSelectorThreads",
            "nio.numWorkerThreads",
            "nio.directBufferBytes",
            "nio.shutdownTimeout",
            "commitProcessor.numWorkerThreads",
            "commitProcessor.maxReadBatchSize",
            "commitProcessor.maxCommitBatchSize",
            "commitProcessor.shutdownTimeout",
        ],
        &[],
        "it tunes threads and sockets that are not here",
    ),
    warned(
        &["znode.container.checkIntervalMs"],
        &["60000"],
        "an empty container is removed after a minute",
    ),
    warned(
        &["znode.container.maxPerMinute", "znode.container.maxNeverUsedIntervalMs"],
        &[],
        "containers are removed as soon as they may be; one that was never used stays",
    ),
    honoured(
        &["readonlymode.enabled"],
        "`true`: a server that is cut off from a quorum serves reads to clients that are content with them; \
         here it works in the file, not only as -D",
    ),
    warned(&["forceSync"], &["yes"], "what is acknowledged is on the disk, always"),
    warned(&["jmx.log4j.disable", "jmx.log4j.mbean"], &[], "there is no Java virtual machine here"),
    warned(
        &["testingonly.initialZxid", "test.allowDiscontinuousProposals", "controllerPort"],
        &[],
        "it is for tests of ZooKeeper itself",
    ),
    warned(
        &[
            "hostProvider.dnsSrvRefreshIntervalSeconds",
            "shuffleDnsResponse",
            "request.timeout",
            "disableAutoWatchReset",
            "clientCnxnSocket",
            "client.secure",
        ],
        &[],
        "it is a setting of clients",
    ),
];

/// All rows, by chapter.
pub(super) const CHAPTERS: [(&str, &[Row]); 6] = [
    ("quorate's own", OWN),
    ("Basics", BASIC),
    ("Throttling", THROTTLING),
    ("Cluster", CLUSTER),
    ("Identities, TLS", TRUST),
    ("Monitoring, threads, tests", REST),
];

/// Keys whose value must be `true` or `false`, in any case, or ZooKeeper does not start.
pub(super) const BOOLEANS: [&str; 14] = [
    "localSessionsEnabled",
    "localSessionsUpgradingEnabled",
    "syncEnabled",
    "quorumListenOnAllIPs",
    "sslQuorum",
    "portUnification",
    "client.portUnification",
    "sslQuorumReloadCertFiles",
    "reconfigEnabled",
    "standaloneEnabled",
    "jvm.pause.monitor",
    "quorum.auth.enableSasl",
    "quorum.auth.serverRequireSasl",
    "quorum.auth.learnerRequireSasl",
];

/// Every row.
pub(super) fn rows() -> impl Iterator<Item = &'static Row> {
    CHAPTERS.iter().flat_map(|(_, rows)| rows.iter())
}

/// The row of a key: one that names it, or else one of all its endings.
pub(super) fn row_of(key: &str) -> Option<&'static Row> {
    let named = rows().find(|row| row.keys.contains(&key));
    named.or_else(|| rows().find(|row| row.keys.iter().any(|pattern| fits(pattern, key))))
}

fn fits(pattern: &str, key: &str) -> bool {
    let ending = |begin: &str| key.strip_prefix(begin).filter(|ending| !ending.is_empty());
    if let Some(begin) = pattern.strip_suffix('*') {
        return ending(begin).is_some();
    }
    let number = pattern.strip_suffix('N').and_then(ending);
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The table as a document for people.
#[must_use]
pub fn table() -> String {
    let mut text = String::new();
    for (chapter, rows) in CHAPTERS {
        let _ =
            writeln!(text, "## {chapter}\n\n| key | class | what it does here |\n|---|---|---|");
        for row in rows {
            let quoted = |words: Words| {
                words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
            };
            let class = match row.class {
                Class::Honoured => "honoured",
                Class::Mapped => "mapped",
                Class::Warned => "warned about",
                Class::Refused => "refused",
            };
            let mut words = String::new();
            if !row.fine.is_empty() {
                let _ = write!(words, " ({} is fine)", quoted(row.fine).replace("``", "empty"));
            }
            if !row.warned.is_empty() {
                let _ = write!(words, " ({}: warned about)", quoted(row.warned));
            }
            let _ = writeln!(
                text,
                "| {} | {class} | {}{words} |",
                quoted(row.keys),
                row.says.replace('|', "\\|")
            );
        }
        text.push('\n');
    }
    text
}

/// How many keys are of each class.
#[must_use]
pub fn count_of(class: Class) -> usize {
    rows().filter(|row| row.class == class).map(|row| row.keys.len()).sum()
}
