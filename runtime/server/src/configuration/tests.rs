//! What `quorate.toml` may hold, and what is said about what it may not.

use super::*;
use crate::zookeeper::{ShownCertificates, ZooKeeperTls};
use quorate_recipe_host::{SignerKey, SigningKey, Trust};
use quorate_types::ComponentDigest;

const GOOD: &str = r#"
[server]
id = 2
data_dir = "data"

[cluster]
name = "orders"

[tls]
authority = "authority.pem"
certificate = "server-2.pem"
key = "/etc/quorate/server-2.key"

[[members]]
id = 1
peer_address = "db1.example:7421"
native_address = "db1.example:7420"

[[members]]
id = 2
peer_address = "[2001:db8::2]:7421"
native_address = "[2001:db8::2]:7420"
"#;

fn parse(text: &str) -> Result<ServerConfig, String> {
    ServerConfig::parse(text, Path::new("/etc/q/quorate.toml")).map_err(|error| error.to_string())
}

fn error_with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from:?} is part of the text");
    parse(&GOOD.replacen(from, to, 1)).expect_err("a wrong text is refused")
}

#[test]
fn a_short_file_gets_the_documented_defaults() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.server, ServerId(2));
    assert_eq!(config.data_dir, Path::new("/etc/q/data"));
    assert_eq!(config.tls.key, Path::new("/etc/quorate/server-2.key"));
    assert_eq!(config.native_listen, "0.0.0.0:7420".parse().unwrap());
    assert_eq!(config.peer_listen, "0.0.0.0:7421".parse().unwrap());
    assert_eq!(config.client_certificates, ClientCertificates::Required);
    assert_eq!(config.verify, VerifyMode::Sample);
    assert_eq!(config.timeouts, Timeouts::default());
    assert_eq!(config.limits, Limits::PRODUCTION);
    assert_eq!(config.own_member().peer_address, "[2001:db8::2]:7421");
}

#[test]
fn a_written_configuration_reads_back() {
    let mut config = parse(GOOD).unwrap();
    config.data_dir = PathBuf::from("/a \"quoted\" \\ folder");
    config.verify = VerifyMode::All;
    config.client_certificates = ClientCertificates::Optional;
    config.limits.session_timeout_ms_min = 250;
    config.join = true;
    config.recipes.allowed = Some(vec![ComponentDigest([0xa5; 32])]);
    let sources =
        [SignerSource::Key(SignerKey([1; 32])), SignerSource::File("/k \"1\".pem".into())];
    config.recipes.signers = Some(sources.to_vec());
    assert_eq!(parse(&config.to_toml()).unwrap(), config);
}

#[test]
fn zookeeper_clients_connect_with_tls_where_the_section_says() {
    let with = |lines: &str| parse(&format!("{GOOD}\n[zookeeper]\n{lines}\n"));
    let plain = with("").unwrap().zookeeper.unwrap();
    assert_eq!(plain, ZooKeeperConfig::at("0.0.0.0:2181".parse().unwrap()));
    let config = with("listen_tls = \"[::]:2281\"").unwrap();
    let door = config.zookeeper.clone().unwrap();
    let own = ZooKeeperTls::at("[::]:2281".parse().unwrap(), config.tls.clone());
    assert_eq!((door.listen, door.tls), (None, Some(own)));
    assert_eq!(parse(&config.to_toml()).unwrap(), config);

    let lines = "port_unification = true\nclient_certificates = \"want\"\ncertificate = \"a.pem\"\n\
                 x509_super_user = \"CN=root,O=\\\"x\\\"\"";
    let config = with(lines).unwrap();
    let door = config.zookeeper.clone().unwrap();
    let tls = door.tls.unwrap();
    assert_eq!(door.listen, Some("0.0.0.0:2181".parse().unwrap()));
    assert_eq!((tls.listen, tls.port_unification), (None, true));
    assert_eq!(tls.client_certificates, ShownCertificates::Want);
    assert_eq!(
        (tls.files.certificate, tls.files.key),
        ("/etc/q/a.pem".into(), config.tls.key.clone())
    );
    assert_eq!(tls.super_user.as_deref(), Some("CN=root,O=\"x\""));
    assert_eq!(parse(&config.to_toml()).unwrap(), config);

    let error = with("client_certificates = \"none\"").unwrap_err();
    assert!(error.contains("no port takes them"), "{error}");
    let error = with("listen_tls = \"[::]:1\"\nclient_certificates = \"required\"").unwrap_err();
    assert!(error.contains("\"none\", \"want\", \"need\""), "{error}");
}

#[test]
fn limits_are_set_within_their_range() {
    let with = |line: &str| parse(&format!("{GOOD}\n[limits]\n{line}\n"));
    assert_eq!(with("connections_max = 7").unwrap().limits.connections_max, 7);
    assert_eq!(with("recipe_fuel_max = 1_000_000").unwrap().limits.recipe_fuel_max, 1_000_000);
    let error = with("connections_max = 0").unwrap_err();
    assert!(error.contains("must be from 1 to 1000000, not 0"), "{error}");
    let error = with("conections_max = 7").unwrap_err();
    assert!(error.contains("did you mean `connections_max`"), "{error}");
}

#[test]
fn a_misspelt_key_is_refused_with_its_line_and_the_key_meant() {
    let error = error_with("data_dir", "datadir");
    let wanted = "/etc/q/quorate.toml:4: unknown key `server.datadir`; did you mean `data_dir`?";
    assert_eq!(error, wanted);
    let error = error_with("[cluster]", "[clutser]");
    assert!(error.contains("unknown key `clutser`; did you mean `cluster`?"), "{error}");
    let error = error_with("data_dir", "completely_else = 1\ndata_dir");
    assert!(error.contains("known here: id, data_dir, join"), "{error}");
}

#[test]
fn what_is_missing_is_named() {
    for (line, key) in [
        ("id = 2\ndata_dir", "server.id"),
        ("name = \"orders\"", "cluster.name"),
        ("authority = \"authority.pem\"", "tls.authority"),
        ("native_address = \"db1.example:7420\"", "members.native_address"),
    ] {
        let error = error_with(line, if line.contains("data_dir") { "data_dir" } else { "" });
        assert!(error.contains(&format!("the key `{key}` is missing")), "{key}: {error}");
    }
}

#[test]
fn wrong_values_are_refused_with_what_is_wanted() {
    for (from, to, wanted) in [
        ("id = 2", "id = \"2\"", "must be a whole number"),
        ("id = 2", "id = 0", "must be from 1"),
        ("\"orders\"", "\"Orders\"", "lower-case letters"),
        ("db1.example:7421", "db1.example", "a host and a port"),
        ("db1.example:7421", ":7421", "a host and a port"),
        ("db1.example:7421", "db1.example:0", "a host and a port"),
        ("[2001:db8::2]:7421", "2001:db8::2:7421", "a host and a port"),
        ("\"data\"", "\"\"", "is empty"),
        ("[cluster]", "[native]\nlisten = \"localhost:1\"\n[cluster]", "an IP address and a port"),
        ("[cluster]", "[cluster]\nverify_recipes = \"some\"", "\"off\", \"sample\", \"all\""),
        ("[cluster]", "[cluster", ""),
    ] {
        let error = error_with(from, to);
        assert!(error.contains(wanted) && error.contains("quorate.toml:"), "{to}: {error}");
    }
}

#[test]
fn members_are_unique_and_hold_this_server() {
    let error = error_with("id = 2\npeer", "id = 1\npeer");
    assert!(error.contains("two members have the id 1"), "{error}");
    let error = error_with("id = 2\npeer", "id = 3\npeer");
    assert!(error.contains("server.id is 2, but [[members]] holds 1, 3"), "{error}");
    let error = error_with("[2001:db8::2]:7420", "db1.example:7420");
    assert!(error.contains("given twice"), "{error}");
}

#[test]
fn timeouts_that_cannot_work_together_are_refused() {
    let with = |lines: &str| parse(&format!("{GOOD}\n[timeouts]\n{lines}\n"));
    let good = with("election_ms_min = 300\nelection_ms_max = 600\nheartbeat_ms = 50").unwrap();
    assert_eq!(good.timeouts.heartbeat_ms, 50);
    let close = with("election_ms_min = 1000\nelection_ms_max = 1200").unwrap_err();
    assert!(close.contains("one and a half times"), "{close}");
    let late = with("election_ms_min = 1000\nelection_ms_max = 2000\nheartbeat_ms = 900");
    assert!(late.unwrap_err().contains("a third"));
    assert!(with("session_ms_min = 5000\nsession_ms_max = 4000").unwrap_err().contains("above"));
}

#[test]
fn clusters_of_different_names_have_different_ids() {
    let config = parse(GOOD).unwrap();
    let other = ServerConfig { cluster: String::from("orders2"), ..config.clone() };
    assert_ne!(config.cluster_id(), other.cluster_id());
}

#[test]
fn a_server_that_joins_knows_whom_it_joins() {
    let joins = "data_dir = \"data\"\njoin = true";
    assert!(!parse(GOOD).unwrap().join);
    assert!(parse(&GOOD.replacen("data_dir = \"data\"", joins, 1)).unwrap().join);
    let error = error_with("data_dir = \"data\"", "data_dir = \"data\"\njoin = \"yes\"");
    assert!(error.contains("true or false"), "{error}");
    let alone = GOOD.replacen("id = 1", "id = 2", 1).replacen("data_dir = \"data\"", joins, 1);
    let (alone, _) = alone.rsplit_once("[[members]]").unwrap();
    let error = parse(alone).expect_err("it names nobody to join");
    assert!(error.contains("names in [[members]] those of the cluster"), "{error}");
}

#[test]
fn recipes_may_be_named_by_digest_and_by_signer() {
    let with = |lines: &str| parse(&format!("{GOOD}\n[recipes]\n{lines}\n"));
    assert_eq!(parse(GOOD).unwrap().recipes.trust().unwrap(), Trust::any());
    assert_eq!(with("").unwrap().recipes, RecipesConfig::default());
    let digits = "A5".repeat(32);
    let config = with(&format!("allowed = [\"{digits}\"]\nsigners = [\"{digits}\", \"ops.pem\"]"));
    let recipes = config.unwrap().recipes;
    assert_eq!(recipes.allowed, Some(vec![ComponentDigest([0xa5; 32])]));
    let sources =
        [SignerSource::Key(SignerKey([0xa5; 32])), SignerSource::File("/etc/q/ops.pem".into())];
    assert_eq!(recipes.signers, Some(sources.to_vec()));
    // A list that is there and empty is not one that is absent.
    assert_eq!(with("allowed = []").unwrap().recipes.allowed, Some(Vec::new()));
    assert_ne!(with("signers = []").unwrap().recipes.trust().unwrap(), Trust::any());
}

#[test]
fn wrong_lists_of_recipes_are_refused_by_name() {
    let with = |line: &str| parse(&format!("{GOOD}\n[recipes]\n{line}\n")).unwrap_err();
    let many = format!("signers = [{}]", "\"k.pem\", ".repeat(17));
    for (line, wanted) in [
        ("allowed = [\"a5\"]", "`recipes.allowed` holds `a5`: a digest is 64 hexadecimal digits"),
        (&format!("allowed = [\"{}\"]", "g".repeat(64)), "a digest is 64 hexadecimal digits"),
        ("allowed = \"a5\"", "`allowed` must be a list of texts"),
        ("allowed = [1]", "`allowed` must be a list of texts"),
        ("signers = [\"\"]", "`recipes.signers` holds an empty text"),
        ("signers = { a = 1 }", "`signers` must be a list of texts"),
        (&many, "`recipes.signers` holds 17, at most 16"),
        ("signer = []", "unknown key `recipes.signer`; did you mean `signers`?"),
    ] {
        let error = with(line);
        assert!(error.contains(wanted) && error.contains("quorate.toml:25"), "{line}: {error}");
    }
}

#[test]
fn a_signer_s_key_is_read_from_its_file_or_the_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::generate().unwrap();
    std::fs::write(folder.path().join("ops.pem"), key.signer().to_pem()).unwrap();
    std::fs::write(folder.path().join("ops-key.pem"), key.to_pem()).unwrap();
    std::fs::write(folder.path().join("cut.pem"), "-----BEGIN PUBLIC KEY-----").unwrap();
    let trust = |name: &str| {
        let text = format!("{GOOD}\n[recipes]\nsigners = [\"{name}\"]\n");
        let config = ServerConfig::parse(&text, &folder.path().join("quorate.toml")).unwrap();
        config.recipes.trust().map_err(|error| error.to_string())
    };
    assert_eq!(trust("ops.pem"), Ok(Trust::new(None, Some(vec![key.signer()]))));
    for (name, wanted) in [
        ("absent.pem", "No such file"),
        ("ops-key.pem", "PEM of a PRIVATE KEY"),
        ("cut.pem", "not PEM"),
        // A key with a digit too few is taken for a path.
        (&"a5".repeat(31), "64 hexadecimal digits"),
    ] {
        let error = trust(name).unwrap_err();
        let is_named = error.contains("recipes.signers") && error.contains(name);
        assert!(is_named && error.contains(wanted), "{name}: {error}");
    }
}
