//! What a `zoo.cfg` may hold, what is made of it, and what is said about what it may not hold.

use super::*;
use crate::zookeeper::{ShownCertificates, ZooKeeperTls};
use std::fmt::Write as _;

const SAMPLE: &str = "\
# The number of milliseconds of each tick
tickTime=2000
initLimit=10
syncLimit=5
dataDir=/var/lib/zookeeper
clientPort=2181
";
const LINES: &str =
    "server.1=zoo1:2888:3888\nserver.2=zoo2:2888:3888\nserver.3=10.0.0.3:2888:3888\n";

/// Files by path; hosts by name.
#[derive(Default)]
struct Fake {
    files: BTreeMap<PathBuf, String>,
}

impl Fake {
    fn with(files: &[(&str, &str)]) -> Fake {
        let files = files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned()));
        Fake { files: files.collect() }
    }

    /// A folder with `myid` and certificates.
    fn of_server(server: u64) -> Fake {
        let at = |name: &str| PathBuf::from("/var/lib/zookeeper").join(name);
        let names = ["tls/authority.pem", "tls/server.pem", "tls/server-key.pem"];
        let mut fake = Fake::default();
        fake.files.extend(names.map(|name| (at(name), String::new())));
        fake.files.insert(at("myid"), format!("{server}\n"));
        fake
    }
}

impl Surroundings for Fake {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let found = self.files.get(path).map(|text| text.clone().into_bytes());
        found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn exists(&self, path: &Path) -> bool {
        self.files.keys().any(|known| known.starts_with(path))
    }

    fn resolve(&self, host: &str) -> Option<IpAddr> {
        match host {
            "zoo1" => Some(IpAddr::from([10, 0, 0, 1])),
            "localhost" => Some(IpAddr::from([127, 0, 0, 1])),
            _ => host.parse().ok(),
        }
    }
}

fn parse(text: &str, fake: &Fake) -> Result<ZooCfg, String> {
    let parsed = ZooCfg::parse(text.as_bytes(), Path::new("/etc/zoo.cfg"), fake);
    parsed.map_err(|error| error.to_string())
}

/// The sample with these lines more, on a server alone.
fn alone(lines: &str) -> Result<ZooCfg, String> {
    parse(&format!("{SAMPLE}{lines}"), &Fake::default())
}

/// Warnings for these lines, without those for the sample itself.
#[track_caller]
fn warnings(lines: &str) -> Vec<String> {
    let read = alone(lines).unwrap_or_else(|error| panic!("{lines}: {error}"));
    let of_sample = ["`initLimit` has", "`syncLimit` has"];
    let is_other = |warning: &String| !of_sample.iter().any(|known| warning.contains(known));
    read.warnings.into_iter().filter(is_other).collect()
}

#[test]
fn the_sample_file_is_a_cluster_of_one() {
    let read = alone("").unwrap();
    let config = read.config;
    assert_eq!((config.server, config.cluster.as_str()), (ServerId(1), "zookeeper"));
    assert_eq!(config.data_dir, Path::new("/var/lib/zookeeper"));
    let door = config.zookeeper.clone().unwrap();
    assert_eq!(door, ZooKeeperConfig::at("0.0.0.0:2181".parse().unwrap()));
    let limits = (config.limits.session_timeout_ms_min, config.limits.session_timeout_ms_max);
    assert_eq!(limits, (4_000, 40_000));
    assert_eq!(config.native_listen, "127.0.0.1:2181".parse().unwrap());
    assert_eq!(config.peer_listen, "127.0.0.1:12181".parse().unwrap());
    assert_eq!(config.members.len(), 1);
    assert!(read.wants_own_certificates);
    let warned = read.warnings.iter().map(|warning| &warning[..30]).collect::<Vec<_>>();
    assert_eq!(warned, ["/etc/zoo.cfg:3: `initLimit` ha", "/etc/zoo.cfg:4: `syncLimit` ha"]);
}

#[test]
fn three_server_lines_and_myid_are_a_cluster() {
    let text = format!("{SAMPLE}{LINES}");
    let config = parse(&text, &Fake::of_server(3)).unwrap().config;
    assert_eq!(config.server, ServerId(3));
    let members = config.members.iter();
    let members =
        members.map(|member| (member.peer_address.as_str(), member.native_address.as_str()));
    let wanted = [
        ("zoo1:2888", "zoo1:3888"),
        ("zoo2:2888", "zoo2:3888"),
        ("10.0.0.3:2888", "10.0.0.3:3888"),
    ];
    assert_eq!(members.collect::<Vec<_>>(), wanted);
    assert_eq!(config.peer_listen, "10.0.0.3:2888".parse().unwrap());
    assert_eq!(config.native_listen, "10.0.0.3:3888".parse().unwrap());
    assert_eq!(config.tls.key, Path::new("/var/lib/zookeeper/tls/server-key.pem"));
    let first = parse(&text, &Fake::of_server(1)).unwrap().config;
    assert_eq!(first.peer_listen, "10.0.0.1:2888".parse().unwrap());
    let everywhere = format!("{text}quorumListenOnAllIPs=TRUE\n");
    let everywhere = parse(&everywhere, &Fake::of_server(1)).unwrap().config;
    assert_eq!(everywhere.peer_listen, "0.0.0.0:2888".parse().unwrap());
    let second = parse(&text, &Fake::of_server(2)).unwrap();
    assert_eq!(second.config.peer_listen, "0.0.0.0:2888".parse().unwrap());
    assert!(
        second.warnings.iter().any(|said| said.contains("`zoo2`") && said.contains("no address"))
    );
}

#[test]
fn the_configuration_is_the_same_as_a_toml_of_it() {
    let fake = Fake::of_server(2);
    let more = "DigestAuthenticationProvider.superDigest=super:x=\n4lw.commands.whitelist=*\n\
                secureClientPort=2281\nssl.keyStore.location=/k.pem\nssl.clientAuth=want\n";
    let config = parse(&format!("{SAMPLE}{LINES}{more}"), &fake).unwrap().config;
    let again = ServerConfig::parse(&config.to_toml(), Path::new("/etc/q.toml")).unwrap();
    assert_eq!(again, config);
}

#[test]
fn every_honoured_or_mapped_key_is_read_and_no_other() {
    let mut fake = Fake::of_server(2);
    fake.files.insert(PathBuf::from("/etc/lines"), String::from(LINES));
    let text = format!("{SAMPLE}dynamicConfigFile=/etc/lines\nmaxClientCnxns=60\n");
    let path = Path::new("/etc/zoo.cfg");
    let mut reading = Reading::new(text.as_bytes(), path, &fake).unwrap();
    reading.config().unwrap();
    let mut asked = reading.given.asked();
    asked.insert(String::from("server.N"));
    let rows = keys::rows().filter(|row| matches!(row.class, Class::Honoured | Class::Mapped));
    let wanted = rows.flat_map(|row| row.keys).map(|key| (*key).to_owned()).collect();
    assert_eq!(asked, wanted);
}

#[test]
fn a_key_is_in_one_row_and_every_row_says_something() {
    let mut known = std::collections::BTreeSet::new();
    for row in keys::rows() {
        assert!(!row.says.is_empty() && !row.keys.is_empty());
        for key in row.keys {
            assert!(known.insert(*key), "{key} is in two rows");
        }
    }
    let counts = [Class::Honoured, Class::Mapped, Class::Warned, Class::Refused].map(count_of);
    assert_eq!(counts.iter().sum::<usize>(), known.len());
}

#[test]
fn every_key_that_is_warned_about_or_refused_says_so_by_name_and_line() {
    for row in keys::rows() {
        for key in row.keys {
            let key = key.replace(".N", ".1").replace('*', "x");
            let boolean = if row.fine == ["true"] { "false" } else { "true" };
            let said = alone(&format!("{key}={boolean}\n"));
            match row.class {
                Class::Honoured | Class::Mapped => {}
                Class::Warned => {
                    let said = said.unwrap().warnings;
                    let said =
                        said.iter().filter(|said| said.contains(&format!("`{key}` has no effect")));
                    assert!(said.count() >= 1, "{key}");
                }
                Class::Refused => {
                    let said = said.expect_err(&key);
                    assert!(said.starts_with("/etc/zoo.cfg:7: `"), "{said}");
                    assert!(
                        said.contains(&format!("`{key}={boolean}` cannot be done: ")),
                        "{said}"
                    );
                }
            }
            for fine in row.fine {
                assert_eq!(warnings(&format!("{key}={fine}\n")), [] as [String; 0], "{key}={fine}");
            }
            for value in row.warned {
                assert_eq!(warnings(&format!("{key}={value}\n")).len(), 1, "{key}={value}");
            }
        }
    }
}

#[test]
fn the_document_holds_the_table() {
    let document = include_str!("../../../../docs/zoo-cfg.md");
    for line in table().lines() {
        assert!(document.contains(line), "runtime/docs/zoo-cfg.md lacks this line:\n{line}");
    }
}

#[test]
fn what_is_dangerous_to_leave_out_is_refused_with_what_to_do() {
    for (line, wanted) in [
        ("ssl.keyStore.location=/k.jks", "keytool -importkeystore -srckeystore /k.jks"),
        ("ssl.keyStore.location=/k.p12", "openssl pkcs12 -in /k.p12 -nodes"),
        ("ssl.trustStore.location=/store", "name a file that ends with .pem"),
        ("ssl.clientAuth=maybe", "must be none, want or need, not `maybe`"),
        ("secureClientPortAddress=::1", "without `secureClientPort`"),
        ("secureClientPort=70000", "must be a port"),
        ("sessionRequireClientSASLAuth=true", "cannot be asked for yet"),
        ("quorum.auth.enableSasl=true", "mutual TLS"),
        ("weight.1=2", "other majorities decide"),
        ("electionAlg=1", "only 3"),
        ("peerType=observer", "quorate member add"),
        ("authProvider.1=com.example.Own", "Java classes"),
        ("ssl.quorum.crl=true", "revoked"),
        ("audit.enable=true", "no audit log"),
    ] {
        let said = alone(&format!("{line}\n")).expect_err(line);
        assert!(said.starts_with("/etc/zoo.cfg:7: ") && said.contains(wanted), "{line}: {said}");
    }
}

#[test]
fn a_misspelt_key_is_a_warning_that_names_the_key_meant() {
    for (line, meant) in [
        ("maxClientCnxn=5", "maxClientCnxns"),
        ("MAXCLIENTCNXNS=5", "maxClientCnxns"),
        ("clientport=5", "clientPort"),
        ("autopurge.snapRetain=5", "autopurge.snapRetainCount"),
        ("zookeeper.jute.maxbuffer=4096", "jute.maxbuffer"),
    ] {
        let key = line.split('=').next().unwrap();
        let wanted =
            format!("/etc/zoo.cfg:7: unknown key `{key}` has no effect; did you mean `{meant}`?");
        assert_eq!(warnings(line), [wanted]);
    }
    assert!(warnings("com.example.whatever=1")[0].ends_with("whatever` has no effect"));
    let said = alone("quorate.clutser=a").unwrap_err();
    assert!(
        said.contains("unknown key `quorate.clutser`; did you mean `quorate.cluster`?"),
        "{said}"
    );
    let again = warnings("clientPort=2181");
    assert_eq!(again, ["/etc/zoo.cfg:7: `clientPort` is given again: line 6 has no effect"]);
}

#[test]
fn what_zookeeper_does_not_start_on_is_refused() {
    let cases = [
        ("dataDir=/var/lib/zookeeper\n", "", "`dataDir` is missing"),
        ("tickTime=2000", "tickTime=0", "`tickTime` must be above 0"),
        ("tickTime=2000", "tickTime=-1", "`tickTime` must be above 0"),
        ("tickTime=2000", "tickTime=2s", "`tickTime` must be a whole number, not `2s`"),
        ("tickTime=2000", "tickTime=-5", "must not be below 0"),
        ("initLimit=10\n", "", "`initLimit` is missing"),
        ("syncLimit=5", "syncLimit=0", "`syncLimit` must be a number of ticks above 0"),
        ("clientPort=2181", "clientPort=70000", "must be a port"),
        ("clientPort=2181", "clientPortAddress=10.0.0.1", "without `clientPort`"),
        ("clientPort=2181", "clientPort=1\nclientPortAddress=nowhere", "`nowhere`"),
        (
            "syncLimit=5",
            "syncLimit=5\nminSessionTimeout=50000",
            "50000 and `maxSessionTimeout` 40000",
        ),
        ("syncLimit=5", "syncLimit=5\nmaxSessionTimeout=10", "`minSessionTimeout` is 4000"),
        ("syncLimit=5", "syncLimit=5\nreconfigEnabled=yes", "must be true or false, not `yes`"),
        ("syncLimit=5", "syncLimit=5\nquorum.auth.serverRequireSasl=true", "mutual TLS"),
        ("syncLimit=5", "syncLimit=\\u12", "is no escape"),
        ("syncLimit=5", "syncLimit=5\njute.maxbuffer=9999999", "from 1024 to 4194304"),
        ("syncLimit=5", "syncLimit=5\nquorate.cluster=A", "lower-case letters"),
    ];
    for (from, to, wanted) in cases {
        let text = format!("{SAMPLE}{LINES}").replacen(from, to, 1);
        let said = parse(&text, &Fake::of_server(1)).expect_err(to);
        assert!(said.starts_with("/etc/zoo.cfg:") && said.contains(wanted), "{to}: {said}");
    }
}

#[test]
fn myid_says_which_server_this_is() {
    let text = format!("{SAMPLE}{LINES}");
    let mut fake = Fake::of_server(1);
    let myid = PathBuf::from("/var/lib/zookeeper/myid");
    for (content, wanted) in [
        ("4", "myid says that this is server 4, but there are lines for 1, 2, 3 only"),
        (
            "one",
            "/var/lib/zookeeper/myid:1: the file holds this server's number, from 1, not `one`",
        ),
        ("0", "from 1, not `0`"),
    ] {
        fake.files.insert(myid.clone(), content.to_owned());
        let said = parse(&text, &fake).expect_err(content);
        assert!(said.contains(wanted), "{content}: {said}");
    }
    fake.files.remove(&myid);
    let said = parse(&text, &fake).unwrap_err();
    assert!(said.contains("/var/lib/zookeeper/myid is missing"), "{said}");
    let one_line = format!("{SAMPLE}server.7=localhost:2888:3888\n");
    let one = parse(&one_line, &Fake::default()).unwrap();
    assert_eq!((one.config.server, one.wants_own_certificates), (ServerId(7), true));
    assert_eq!(one.config.native_listen, "127.0.0.1:3888".parse().unwrap());
}

#[test]
fn server_lines_that_cannot_be_are_refused() {
    for (line, wanted) in [
        ("server.3=zoo3", "must be like"),
        ("server.3=zoo3:2888:3888:observer", "begins with voters only"),
        ("server.3=0.0.0.0:2888:3888", "quorumListenOnAllIPs"),
        (
            "server.03=zoo3:2888:3888\nserver.3=zoo4:2888:3888",
            "another line is for the same server",
        ),
        ("server.0=zoo3:2888:3888", "numbers from 1"),
        ("server.3=zoo1:2888:3889", "given twice"),
    ] {
        let (two, _) = LINES.split_once("server.3").unwrap();
        let said = parse(&format!("{SAMPLE}{two}{line}\n"), &Fake::of_server(1)).expect_err(line);
        assert!(said.contains(wanted), "{line}: {said}");
    }
    let (two, _) = LINES.split_once("server.3").unwrap();
    let even = parse(&format!("{SAMPLE}{two}"), &Fake::of_server(1)).unwrap();
    assert!(even.warnings.iter().any(|said| said.contains("an even number of servers")));
}

#[test]
fn clients_connect_where_the_file_or_the_own_line_says() {
    let sample = SAMPLE.replace("clientPort=2181\n", "");
    let lines = LINES.replace("3888\n", "3888;2182\n");
    let address = |text: &str| {
        let read = parse(text, &Fake::of_server(1));
        read.map(|read| read.config.zookeeper.map(|door| door.listen.unwrap().to_string()))
    };
    assert_eq!(address(&format!("{sample}{lines}")).unwrap().unwrap(), "0.0.0.0:2182");
    let with_host = lines.replace(";2182", ";127.0.0.1:2182");
    assert_eq!(address(&format!("{sample}{with_host}")).unwrap().unwrap(), "127.0.0.1:2182");
    assert!(
        address(&format!("{SAMPLE}{lines}")).unwrap_err().contains("this server's line says 2182")
    );
    let two_hosts = format!("{SAMPLE}clientPortAddress=::1\n{}", with_host.replace("2182", "2181"));
    assert!(address(&two_hosts).unwrap_err().contains("this server's line says 127.0.0.1"));
    assert_eq!(address(&format!("{sample}{LINES}")).unwrap(), None);
    let local = format!("{SAMPLE}clientPortAddress=localhost\n");
    assert_eq!(address(&local).unwrap().unwrap(), "127.0.0.1:2181");
}

#[test]
fn clients_with_tls_connect_where_the_file_says() {
    let with = |lines: &str| alone(lines).unwrap().config;
    let config = with("secureClientPort=2281\nsecureClientPortAddress=localhost\n");
    let tls = config.zookeeper.unwrap().tls.unwrap();
    let own = ZooKeeperTls::at("127.0.0.1:2281".parse().unwrap(), config.tls);
    assert_eq!(tls, own);
    assert_eq!(tls.client_certificates, ShownCertificates::Need);

    let lines = "client.portUnification=true\nssl.keyStore.location=/k\nssl.keyStore.type=PEM\n\
                 ssl.trustStore.location=a.pem\nssl.clientAuth=NONE\n\
                 X509AuthenticationProvider.superUser=CN=root\n";
    let tls = with(lines).zookeeper.unwrap().tls.unwrap();
    assert_eq!((tls.listen, tls.port_unification), (None, true));
    assert_eq!(tls.client_certificates, ShownCertificates::None);
    let wanted = TlsPaths { authority: "a.pem".into(), certificate: "/k".into(), key: "/k".into() };
    assert_eq!((tls.files, tls.super_user.as_deref()), (wanted, Some("CN=root")));

    let alone_with_tls = SAMPLE.replace("clientPort=2181", "secureClientPort=2281");
    let lines = format!("{alone_with_tls}client.portUnification=true\n");
    let read = parse(&lines, &Fake::default()).unwrap();
    let door = read.config.zookeeper.unwrap();
    assert_eq!((door.listen, door.tls.unwrap().port_unification), (None, false));
    let said = read.warnings.join("\n");
    assert!(said.contains("`client.portUnification` has no effect: there is no `clientPort`"));
    assert!(!said.contains("are not served"), "{said}");
    let in_vain = warnings("ssl.clientAuth=want\nsecureClientPort=0\n");
    assert!(in_vain[0].contains("neither `secureClientPort` nor"), "{in_vain:?}");
}

#[test]
fn a_dynamic_file_holds_the_server_lines_and_nothing_else() {
    let text = format!("{SAMPLE}dynamicConfigFile=/etc/zoo.dynamic\n");
    let mut fake = Fake::of_server(1);
    assert!(
        parse(&text, &fake).unwrap_err().contains("/etc/zoo.cfg:7: cannot read `/etc/zoo.dynamic`")
    );
    fake.files.insert(PathBuf::from("/etc/zoo.dynamic"), format!("{LINES}version=100000000\n"));
    assert_eq!(parse(&text, &fake).unwrap().config.members.len(), 3);
    assert!(parse(&format!("{text}{LINES}"), &fake).unwrap_err().contains("belongs into"));
    fake.files.insert(PathBuf::from("/etc/zoo.dynamic"), format!("{LINES}tickTime=1\n"));
    let said = parse(&text, &fake).unwrap_err();
    assert!(said.starts_with("/etc/zoo.dynamic:4: `tickTime` does not belong"), "{said}");
}

#[test]
fn numbers_and_words_reach_the_door_and_the_limits() {
    let mut lines = String::new();
    for (key, value) in [
        ("maxClientCnxns", "0"),
        ("jute.maxbuffer", "0x200000"),
        ("4lw.commands.whitelist", "ruok, mntr,nope"),
        ("DigestAuthenticationProvider.superDigest", "super\\:hash="),
        ("minSessionTimeout", "50"),
        ("maxSessionTimeout", "-1"),
        ("maxCnxns", "77"),
        ("preAllocSize", "1024"),
        ("snapSizeLimitInKb", "4194304"),
    ] {
        let _ = writeln!(lines, "{key} = {value}");
    }
    let config = alone(&lines).unwrap().config;
    let door = config.zookeeper.unwrap();
    assert_eq!((door.connections_per_address_max, door.frame_bytes_max), (0, 2 << 20));
    assert_eq!(door.words, [FourLetterWord::Ruok, FourLetterWord::Mntr]);
    assert_eq!(door.super_digest.as_deref(), Some("super:hash="));
    let limits = config.limits;
    assert_eq!((limits.session_timeout_ms_min, limits.session_timeout_ms_max), (100, 40_000));
    assert_eq!((limits.connections_max, limits.log_segment_bytes), (77, 1 << 20));
    assert_eq!(limits.snapshot_log_bytes, 1 << 30);
    let said = warnings(&lines).join("\n");
    for wanted in
        ["`nope`", "`minSessionTimeout` is taken for 100, not 50", "`snapSizeLimitInKb` is"]
    {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}

#[test]
fn certificates_that_are_missing_are_asked_for_with_the_next_command() {
    let text = format!("{SAMPLE}{LINES}");
    let fake = Fake::with(&[("/var/lib/zookeeper/myid", "2")]);
    let said = parse(&text, &fake).unwrap_err();
    let wanted = "`quorate cluster certificates --zoo-cfg /etc/zoo.cfg --out certificates`, then copy \
                  certificates/server-2/tls to /var/lib/zookeeper/tls";
    assert!(said.contains(wanted), "{said}");
    let named =
        "quorate.tls.authority=a.pem\nquorate.tls.certificate=b.pem\nquorate.tls.key=/k.pem\n";
    assert!(alone(named).unwrap_err().contains("/etc/a.pem is missing"));
    let fake = Fake::with(&[("/etc/a.pem", ""), ("/etc/b.pem", ""), ("/k.pem", "")]);
    let read = parse(&format!("{SAMPLE}{named}"), &fake).unwrap();
    assert_eq!(read.config.tls.key, Path::new("/k.pem"));
    assert!(!read.wants_own_certificates);
}

#[test]
fn a_server_that_was_alone_does_not_take_server_lines_for_its_cluster() {
    let mut fake = Fake::of_server(1);
    let authority = PathBuf::from("/var/lib/zookeeper/tls/authority/authority.pem");
    fake.files.insert(authority, String::new());
    assert!(parse(SAMPLE, &fake).is_ok());
    let said = parse(&format!("{SAMPLE}{LINES}"), &fake).unwrap_err();
    assert!(
        said.contains("stays a cluster of one") && said.contains("quorate member add"),
        "{said}"
    );
}

#[test]
fn the_data_of_a_zookeeper_is_not_taken_for_an_empty_folder() {
    let theirs = Fake::with(&[("/var/lib/zookeeper/version-2/snapshot.0", "")]);
    assert!(parse(SAMPLE, &theirs).unwrap_err().contains("is data of a ZooKeeper"));
    let logs = Fake::with(&[("/logs/version-2/log.1", "")]);
    let text = format!("{SAMPLE}dataLogDir=/logs\n");
    assert!(parse(&text, &logs).unwrap_err().contains("/logs/version-2 is data"));
    let ours = Fake::with(&[
        ("/var/lib/zookeeper/version-2/snapshot.0", ""),
        ("/var/lib/zookeeper/state/manifest", ""),
    ]);
    assert!(parse(SAMPLE, &ours).is_ok());
    assert!(alone("datadir.autocreate=false\n").unwrap_err().contains("is not there"));
    let relative = SAMPLE.replace("/var", "var");
    let said = parse(&relative, &Fake::default()).unwrap().warnings;
    assert!(said.iter().any(|said| said.contains("relative to the folder")), "{said:?}");
}

#[test]
fn a_server_that_joins_names_whom() {
    let text = format!("{SAMPLE}{LINES}quorate.join=true\n");
    assert!(parse(&text, &Fake::of_server(1)).unwrap().config.join);
    assert!(alone("quorate.join=true\n").unwrap_err().contains("needs the server lines"));
}
