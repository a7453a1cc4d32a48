use clap::CommandFactory;

use super::*;

fn parse(line: &str) -> Result<Arguments, i32> {
    Arguments::try_parse_from(line.split_whitespace()).map_err(|error| error.exit_code())
}

#[test]
fn the_definition_of_the_command_line_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn every_documented_command_is_understood() {
    for line in [
        "freehold serve --config freehold.toml",
        "freehold dev --reset --folder .freehold",
        "freehold check-config -o json",
        "freehold migrate control",
        "freehold bootstrap --email ada@example.com --name Ada --password-stdin",
        "freehold tenant create acme --name Acme --plan default --server eu-1 --region eu \
         --admin-email ada@acme.example --admin-password-stdin --no-wait -o json",
        "freehold tenant list --q ac --state active --plan default --server eu-1 --limit 10",
        "freehold tenant list --all",
        "freehold tenant show acme",
        "freehold archive export acme --to acme.dump",
        "freehold server add eu-1 --admin-url-stdin --region eu --label disk=ssd --label tier=1 --connection-budget 80",
        "freehold server add eu-1 --admin-url-file eu-1.url",
        "freehold server list",
        "freehold operation list --state blocked",
        "freehold operation show op_0198c0de0000700080000000000000ab",
        "freehold operation watch op_0198c0de0000700080000000000000ab",
        "freehold operation retry op_0198c0de0000700080000000000000ab",
        "freehold job list --state dead --tenant ten_0198c0de0000700080000000000000ab --limit 10",
        "freehold job show job_0198c0de0000700080000000000000ab",
        "freehold job retry job_0198c0de0000700080000000000000ab",
        "freehold dev mail",
        "freehold dev mail last --folder .freehold -o json",
        "freehold plan list",
        "freehold user list --role admin --state active --kind person --q bill --limit 10",
        "freehold user list --all",
        "freehold user show bill@initech.example",
        "freehold user deactivate usr_0198c0de0000700080000000000000ab",
        "freehold user activate bill@initech.example",
        "freehold user revoke-sessions bill@initech.example",
        "freehold audit list --action tenant --since 2030-01-31T00:00:00Z --limit 10",
        "freehold audit export --people --format csv --to log.csv",
        "freehold audit verify --people --head 12:00",
        "freehold migration publish --dir tenant-migrations/product",
        "freehold migration lint tenant-migrations/product -o json",
        "freehold migration list",
        "freehold -o json fsck",
        "freehold verify isolation -o json",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
}

#[test]
fn wrong_usage_is_2_and_help_is_0() {
    for line in [
        "freehold",
        "freehold nonsense",
        "freehold tenant create",
        "freehold tenant create UPPER",
        "freehold tenant create www",
        "freehold tenant create acme --admin-email nobody",
        "freehold tenant create acme --admin-password-stdin",
        "freehold tenant list --all --limit 3",
        "freehold bootstrap --email ada@example.com",
        "freehold archive export acme",
        "freehold audit export",
        "freehold audit export --to log.txt --format xlsx",
        "freehold user list --all --limit 3",
        "freehold user deactivate",
        "freehold server add eu-1",
        "freehold server add eu-1 --admin-url-stdin --admin-url-file f",
        "freehold server add eu-1 --admin-url-stdin --label disk",
        "freehold operation show ten_0198c0de0000700080000000000000ab",
        "freehold job retry op_0198c0de0000700080000000000000ab",
        "freehold dev mails",
        "freehold fsck -o yaml",
        "freehold migration lint",
    ] {
        assert_eq!(parse(line).err(), Some(2), "{line}");
    }
    assert_eq!(parse("freehold --help").err(), Some(0));
    assert_eq!(parse("freehold tenant create --help").err(), Some(0));
}
