//! Flags, files and defaults together.

use clap::CommandFactory;

use super::*;

fn flags(flags: &[&str]) -> Settings {
    let flags = std::iter::once("ringseed-tracker").chain(flags.iter().copied());
    Arguments::try_parse_from(flags).unwrap().settings
}

#[test]
fn every_setting_has_a_flag_of_its_name_and_can_be_read_back_with_its_default() {
    let options = Settings::default().options(DEFAULT_PORT, true).unwrap();
    let printed = print(&options).unwrap();
    assert_eq!(toml::from_str::<Settings>(&printed).unwrap(), Settings::of(&options));
    let command = Arguments::command();
    let names = command.get_arguments().filter_map(clap::Arg::get_long);
    let settings: Vec<_> = names
        .filter(|name| !["config", "print-config", "help", "version"].contains(name))
        .collect();
    for name in &settings {
        let without = ["allow-list", "deny-list", "snapshot", "users"].contains(name);
        let line = if without { format!("\n# {name} = ") } else { format!("\n{name} = ") };
        assert!(printed.contains(&line), "{name}: {printed}");
    }
    // What the type has and no flag sets would be missing from the printed file.
    let written = toml::to_string(&Settings::of(&options)).unwrap();
    let set = printed.lines().filter(|line| line.contains(" = ") && !line.starts_with('#'));
    assert_eq!(set.count(), written.lines().count(), "{printed}");
    assert!(!printed.contains("# \n"), "a setting without a text: {printed}");
}

#[test]
fn one_list_or_the_other_is_followed() {
    for (flag, listed) in [("--allow-list", Listed::Allowed), ("--deny-list", Listed::Denied)] {
        let options = flags(&[flag, "/a b"]).options(1, true).unwrap();
        assert_eq!(options.list, Some(ListFile { path: "/a b".into(), listed }));
        let printed = print(&options).unwrap();
        let read: Settings = toml::from_str(&printed).unwrap();
        assert_eq!(read.options(1, true).unwrap().list, options.list, "{printed}");
    }
    let file: Settings = toml::from_str("deny-list = \"/b\"").unwrap();
    let both = flags(&["--allow-list", "/a"]).or(file).options(1, true);
    assert!(both.unwrap_err().to_string().contains("leave one out"));
}

#[test]
fn the_manual_names_every_flag() {
    let manual = include_str!("../../../docs/cli.md");
    let manual = manual.split("\n## ").find(|part| part.starts_with("ringseed-tracker\n"));
    let flags = manual.unwrap().split('`').filter(|quoted| quoted.starts_with("--"));
    let named: Vec<_> = flags.filter_map(|flag| flag.split([' ', '=']).next()).collect();
    let command = Arguments::command();
    let flags = command.get_arguments().filter_map(clap::Arg::get_long);
    let flags: Vec<_> = flags.map(|flag| format!("--{flag}")).collect();
    for flag in &flags {
        let common = ["--help", "--version"].contains(&flag.as_str());
        assert!(common || named.contains(&flag.as_str()), "{flag} is missing");
    }
    assert!(named.iter().all(|flag| flags.iter().any(|one| one == flag)), "{named:?}");
}

#[test]
fn help_texts_name_the_defaults() {
    let printed = print(&Settings::default().options(DEFAULT_PORT, true).unwrap()).unwrap();
    let of = |name: &str| {
        let (before, after) = printed.split_once(&format!("\n{name} = ")).unwrap();
        let help = before.lines().last().unwrap().replace(['\n', '"'], " ");
        (help, after.lines().next().unwrap().trim_matches('"').to_owned())
    };
    for name in [
        "interval",
        "min-interval",
        "torrents-max",
        "torrent-peers-max",
        "peers-max",
        "connections-max",
        "port-min",
        "snapshot-every",
        "pages",
        "kernel",
    ] {
        let (help, default) = of(name);
        assert!(help.contains(&default), "{name}: {default} is not in {help:?}");
    }
}

#[test]
fn flags_count_before_the_file_and_the_file_before_the_defaults() {
    let file = "interval = 900\nmin-interval = 60\nport-min = 1\npages = \"local\"";
    let file: Settings = toml::from_str(file).unwrap();
    let options =
        flags(&["--interval", "600", "--kernel", "epoll"]).or(file).options(1, true).unwrap();
    let rules = options.rules;
    assert_eq!((rules.interval.as_secs(), rules.min_interval.as_secs()), (600, 60));
    assert_eq!((rules.port_min, rules.pages), (1, Audience::Local));
    assert_eq!(rules.connections_max, Rules::default().connections_max);
    assert_eq!(options.kernel, KernelChoice::Epoll);
    assert_eq!(
        rules.bounds.silent_max,
        Rules::every(rules.interval, rules.interval).bounds.silent_max
    );
}

#[test]
fn each_setting_of_a_file_gives_way_to_its_flag() {
    let one = Settings::default().options(1, true).unwrap();
    let file = Settings {
        http: Some(vec![]),
        udp: Some(vec![]),
        interval: Some(2),
        min_interval: Some(2),
        torrents_max: Some(2),
        torrent_peers_max: Some(2),
        peers_max: Some(2),
        connections_max: Some(2),
        port_min: Some(2),
        trusted_proxy: Some(vec!["10.0.0.0/8".parse().unwrap()]),
        ip_from_proxies: Some(true),
        pages: Some(Pages::None),
        allow_list: Some("/a".into()),
        deny_list: None,
        users: Some("/u".into()),
        snapshot: Some("/s".into()),
        snapshot_every: Some(2),
        kernel: Some(Kernel::IoUring),
    };
    let one = Settings {
        allow_list: Some("/b".into()),
        users: Some("/v".into()),
        snapshot: Some("/t".into()),
        ..Settings::of(&one)
    };
    assert_eq!(one.clone().or(file.clone()), one);
    assert_eq!(Settings::default().or(file.clone()), file);
    assert_eq!(Settings::of(&file.clone().options(1, true).unwrap()), file);
}

#[test]
fn the_port_of_the_environment_is_that_of_the_default_addresses() {
    let options = flags(&[]).options(8080, true).unwrap();
    assert_eq!(options.http, options.udp);
    let [v4, v6] = options.http[..] else { panic!("{options:?}") };
    assert_eq!((v4.to_string(), v6.to_string()), ("0.0.0.0:8080".into(), "[::]:8080".into()));
    assert_eq!(flags(&[]).options(8080, false).unwrap().http, [v4]);
    let named = flags(&["--udp", "127.0.0.1:1"]).options(8080, true).unwrap();
    assert_eq!((named.http.len(), named.udp.len()), (0, 1), "what is named is all there is");
}

#[test]
fn a_short_interval_shortens_the_time_that_clients_wait_in_any_case() {
    let rules = flags(&["--interval", "60"]).options(1, true).unwrap().rules;
    assert_eq!(rules.min_interval, rules.interval);
}

#[test]
fn what_no_setting_is_called_is_refused() {
    for file in ["intervall = 3", "interval = -1", "interval = \"3\"", "pages = \"some\"", "="] {
        assert!(toml::from_str::<Settings>(file).is_err(), "{file}");
    }
}
