use std::collections::BTreeSet;

use super::*;

const CONTROL: &str = "postgres://freehold:pw@127.0.0.1:5432/freehold_control?sslmode=disable";
const KEYS: &str = "k1:MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=";

fn load(pairs: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let environment = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Config::load(&environment, None).map_err(|error| error.0.into_iter().map(|problem| problem.key).collect())
}

#[test]
fn the_least_configuration_is_two_settings() {
    let config = load(&[("FREEHOLD_CONTROL_URL", CONTROL), ("FREEHOLD_KEY_ENCRYPTION_KEYS", KEYS)]).unwrap();
    assert_eq!(config.http.public_url.of(&"acme".parse().unwrap()), "http://acme.localhost");
    assert_eq!(config.keys[0].id, "k1");
}

#[test]
fn all_errors_are_told_at_once_and_none_repeats_a_value() {
    let pairs = [
        ("FREEHOLD_PUBLIC_LISTEN", "hunter2-a"),
        ("FREEHOLD_KEY_ENCRYPTION_KEYS", "hunter2-b"),
        ("FREEHOLD_TENANT_POOL_SIZE", "hunter2-c"),
        ("FREEHOLD_NO_SUCH_THING", "hunter2-d"),
    ];
    let environment = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let error = Config::load(&environment, None).unwrap_err();
    let text = error.to_string();
    for key in [
        "FREEHOLD_PUBLIC_LISTEN",
        "FREEHOLD_KEY_ENCRYPTION_KEYS",
        "FREEHOLD_TENANT_POOL_SIZE",
        "FREEHOLD_NO_SUCH_THING",
        "FREEHOLD_CONTROL_URL",
    ] {
        assert!(text.contains(key), "{key} is missing in: {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn production_refuses_what_is_weak() {
    let mut keys = load(&[
        ("FREEHOLD_ENVIRONMENT", "production"),
        ("FREEHOLD_CONTROL_URL", CONTROL),
        ("FREEHOLD_KEY_ENCRYPTION_KEYS", "k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ("FREEHOLD_CORS_ORIGINS", "*"),
        ("FREEHOLD_PUBLIC_SCHEME", "http"),
        ("FREEHOLD_METRICS_TOKEN", "short"),
    ])
    .unwrap_err();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "FREEHOLD_BASE_DOMAIN",
            "FREEHOLD_CONTROL_URL",
            "FREEHOLD_CORS_ORIGINS",
            "FREEHOLD_KEY_ENCRYPTION_KEYS",
            "FREEHOLD_METRICS_TOKEN",
            "FREEHOLD_PUBLIC_SCHEME"
        ]
    );
}

#[test]
fn the_standard_environment_name_counts_as_well() {
    let keys = load(&[
        ("ENVIRONMENT", "production"),
        ("FREEHOLD_CONTROL_URL", CONTROL),
        ("FREEHOLD_KEY_ENCRYPTION_KEYS", KEYS),
    ]);
    assert!(keys.unwrap_err().contains(&"FREEHOLD_CONTROL_URL".to_owned()));
}

/// Names and defaults in `.env.example`, whose settings are all commented out.
fn example() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/.env.example")).unwrap();
    let setting = |line: &str| line.strip_prefix('#')?.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    text.lines().filter_map(setting).filter(|(name, _)| name.starts_with("FREEHOLD_")).collect()
}

/// The settings that a release reads.
fn read() -> BTreeSet<String> {
    let nothing = BTreeMap::new();
    let mut reader = Reader::new(&nothing, None).unwrap();
    drop(Config::read(&mut reader));
    let mut known = reader.known().clone();
    #[cfg(feature = "crash-points")]
    assert!(known.remove("FREEHOLD_TEST_PACE_MILLIS"));
    known
}

#[test]
fn the_example_names_every_setting_and_no_other() {
    let read = read();
    let mut known: Vec<_> = read.iter().map(String::as_str).chain(CLIENT_NAMES).collect();
    known.sort_unstable();
    assert_eq!(example().keys().map(String::as_str).collect::<Vec<_>>(), known);
}

/// The settings that docker-compose.yml hands to Freehold's containers, however it does.
fn composed() -> BTreeSet<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docker-compose.yml")).unwrap();
    let (_, freehold) = text.split_once("\nx-freehold: &freehold\n").unwrap();
    let (freehold, _) = freehold.split_once("\n\n").unwrap();
    let names = freehold.lines().filter_map(|line| line.trim().split_once(':')).map(|(name, _)| name.to_owned());
    names.filter(|name| name.starts_with("FREEHOLD_")).collect()
}

#[test]
fn every_setting_reaches_the_containers() {
    let mut composed = composed();
    for name in read() {
        let by_file = composed.remove(&format!("{name}_FILE"));
        assert!(
            composed.remove(&name) != by_file,
            "docker-compose.yml hands {name} on {}",
            if by_file { "twice" } else { "never" }
        );
    }
    assert!(composed.is_empty(), "docker-compose.yml hands on what is no setting: {composed:?}");
}

#[test]
fn the_defaults_in_the_example_are_true() {
    let required = [("FREEHOLD_CONTROL_URL", CONTROL), ("FREEHOLD_KEY_ENCRYPTION_KEYS", KEYS)];
    let required: BTreeMap<_, _> = required.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let mut given = example();
    given.extend(required.clone());
    let explicit = format!("{:?}", Config::load(&given, None).unwrap());
    assert_eq!(explicit, format!("{:?}", Config::load(&required, None).unwrap()));
}

#[test]
fn the_section_that_logging_needs_does_not_ask_for_the_rest() {
    let environment = [("FREEHOLD_LOG".to_owned(), "debug".to_owned())].into();
    assert_eq!(TelemetryConfig::load(&environment).unwrap().log, "debug");
    let wrong = [("FREEHOLD_LOG_FORMAT".to_owned(), "yaml".to_owned())].into();
    assert!(TelemetryConfig::load(&wrong).is_err());
}
