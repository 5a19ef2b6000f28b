//! What the documents and the deployment files say is true.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Parser as _;
use delayq::cli::{Cli, Command as Delayq};
use delayq_examples_test::{compose, config_docs, names, repo, snippets};
use delayq_runtime::config::{Sources, load};

const DASHBOARD: &str = "deploy/dashboards/delayq.json";
const COMPOSE: &str = "docker-compose.yml";
const COMPOSE_CONFIG: &str = "deploy/local/delayq.compose.toml";
const RUNBOOK: &str = "deploy/RUNBOOK.md";
const ALERTS: &str = "deploy/dashboards/rules.yml";

#[test]
fn the_snippets_of_the_readme_are_cut_from_the_examples() {
    let (filled, count) = snippets::filled_in(&repo::read("README.md"));
    assert!(count >= 10, "{count} snippets: five languages, two each");
    repo::same_or_bless("README.md", &filled);
    let (filled, _) = snippets::filled_in(&repo::read("docs/testing.md"));
    repo::same_or_bless("docs/testing.md", &filled);
}

#[test]
fn the_configuration_reference_is_what_the_code_says() {
    repo::same_or_bless("docs/configuration.md", &config_docs::reference());
}

/// Every `[text](target)` of the documents that is a path.
#[test]
fn links_between_documents_lead_somewhere() {
    let mut documents = vec![
        "README.md".to_owned(),
        "CONTRIBUTING.md".to_owned(),
        "examples/README.md".to_owned(),
        RUNBOOK.to_owned(),
    ];
    let is_markdown = |path: &Path| path.extension().is_some_and(|e| e == "md");
    for file in repo::files(&repo::root().join("docs"), &is_markdown) {
        let path = file.strip_prefix(repo::root()).expect("below the root");
        documents.push(path.to_str().expect("UTF-8").to_owned());
    }
    for document in documents {
        let text = repo::read(&document);
        for rest in text.split("](").skip(1) {
            let link = rest.split(')').next().unwrap_or_default();
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            if path.contains("://") {
                continue;
            }
            let to = if path.is_empty() {
                repo::root().join(&document)
            } else {
                let folder = repo::root().join(&document);
                folder.parent().expect("a folder").join(path)
            };
            assert!(
                to.exists(),
                "{document} links to {link}, which is not there"
            );
            let linked = || std::fs::read_to_string(&to).expect("a document");
            assert!(
                heading.is_empty() || headings(&linked()).contains(heading),
                "{document} links to {link}, which has no such heading"
            );
        }
    }
}

/// The headings of a document, as links name them.
fn headings(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| line.starts_with('#'));
    let slug = |line: &str| -> String {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    lines.map(slug).collect()
}

#[test]
fn every_metric_of_the_dashboard_exists() {
    let known = names::in_sources();
    assert!(known.contains("delayq_lateness_ms"), "{known:?}");
    let dashboard = serde_json::from_str(&repo::read(DASHBOARD)).expect("JSON");
    let expressions = names::expressions(&dashboard);
    let mut used = BTreeSet::new();
    for (panel, expr) in expressions {
        let metrics = names::in_expression(&expr);
        assert!(!metrics.is_empty(), "panel {panel:?}: {expr}");
        for metric in metrics {
            assert!(
                known.contains(&metric),
                "panel {panel:?} asks for {metric}, which no source names"
            );
            used.insert(metric);
        }
    }
    for needed in [
        "delayq_router_records_total",
        "delayq_published_total",
        "delayq_lateness_ms",
        "delayq_dead_letters_total",
        "delayq_publish_retries_total",
        "delayq_breaker_open",
        "delayq_queue_messages_sent_total",
        "delayq_component_ready",
    ] {
        assert!(used.contains(needed), "no panel shows {needed}");
    }
}

#[test]
fn every_metric_in_the_documents_exists() {
    let known = names::in_sources();
    for document in ["README.md", "docs/operations.md", RUNBOOK, ALERTS] {
        for metric in names::in_expression(&repo::read(document)) {
            // A name that ends in an underscore stands for a family.
            let family = metric.ends_with('_');
            // A histogram may be called a count itself.
            let found = known.contains(&metric)
                || known.contains(&format!("{metric}_count"))
                || family && known.iter().any(|name| name.starts_with(&metric));
            assert!(found, "{document} names {metric}, which no source does");
        }
    }
}

/// What an alert says is wrong, its section in the runbook tells how to mend: one each, in the same order, and the alert leads there.
#[test]
fn every_alert_has_its_section_in_the_runbook() {
    let rules = repo::read(ALERTS);
    let mut alerts = Vec::new();
    let mut runbooks = Vec::new();
    for line in rules.lines().map(str::trim) {
        if let Some(alert) = line.strip_prefix("- alert: ") {
            assert_eq!(
                alerts.len(),
                runbooks.len(),
                "{alerts:?}: one without a runbook"
            );
            alerts.push(alert);
        } else if let Some(runbook) = line.strip_prefix("runbook: ") {
            runbooks.push(runbook.trim_matches('"'));
        }
    }
    assert!(alerts.len() >= 13, "{alerts:?}");
    let runbook = repo::read(RUNBOOK);
    let sections: Vec<&str> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .filter(|title| title.starts_with("Delayq"))
        .collect();
    assert_eq!(alerts, sections, "alerts, and sections of the runbook");
    let headings = headings(&runbook);
    for (alert, runbook) in alerts.iter().zip(&runbooks) {
        let (file, anchor) = runbook.split_once('#').expect("an anchor");
        assert_eq!((file, anchor), (RUNBOOK, &*alert.to_lowercase()));
        assert!(headings.contains(anchor), "no heading {anchor}");
    }
    assert_eq!(alerts.len(), runbooks.len());
    for section in runbook.split("\n## Delayq").skip(1) {
        let section = section.split("\n## ").next().unwrap_or_default();
        for part in ["**Means**", "**Look", "**Ends**", "**Do not**"] {
            assert!(section.contains(part), "no {part} in:\n{section}");
        }
    }
}

/// Whoever is woken copies them: in the blocks, and in the text between backticks, where what stands for a value may be left out.
#[test]
fn every_command_in_the_runbook_is_one_of_delayqs() {
    use clap::error::ErrorKind::{MissingRequiredArgument, MissingSubcommand};
    let text = repo::read(RUNBOOK);
    let (blocks, prose): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|line| line.starts_with("    "));
    let parse = |command: &str| Cli::try_parse_from(words(command));
    let mut count = 0;
    for line in blocks {
        let command = line.split(" #").next().unwrap_or_default().trim();
        let command = command.split(" | ").next().unwrap_or_default();
        if command.starts_with("delayq ") {
            let parsed = parse(command);
            assert!(parsed.is_ok(), "{command}: {:?}", parsed.err());
            count += 1;
        }
    }
    let prose = prose.join(" ");
    for command in prose.split('`').skip(1).step_by(2) {
        if command.starts_with("delayq ") && command != "delayq …" {
            let failed = parse(command).err().map(|error| error.kind());
            let only_short = failed
                .is_none_or(|kind| matches!(kind, MissingRequiredArgument | MissingSubcommand));
            assert!(only_short, "{command}: {failed:?}");
            count += 1;
        }
    }
    assert!(count >= 25, "{count} commands");
}

#[test]
fn every_code_of_a_dead_letter_is_explained() {
    let codes = names::refusal_codes();
    let document = repo::read("docs/dead-letters.md");
    for code in &codes {
        let entry = format!("`{code}`");
        let told = document
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
            .any(|cell| cell.contains(&entry));
        assert!(told, "docs/dead-letters.md does not explain {code}");
    }
    let rows = document.lines().filter(|line| line.starts_with("| `"));
    for told in rows.flat_map(|row| row.split(" |").next().unwrap_or_default().split('`')) {
        let is_code = told.contains('-') && !told.starts_with("delay-");
        assert!(
            !is_code || codes.contains(told),
            "docs/dead-letters.md explains {told}, which no source names"
        );
    }
}

/// The documents for users.
const DOCUMENTS: [&str; 5] = [
    "README.md",
    "docs/operations.md",
    "docs/routes.md",
    "docs/testing.md",
    "examples/README.md",
];

/// The blocks of a document that are indented by four, without the indentation.
fn indented_blocks(text: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    for line in text.lines() {
        match (line.strip_prefix("    "), blocks.last_mut()) {
            (Some(line), Some(block)) => block.push_str(&format!("{line}\n")),
            (None, Some(block)) if line.is_empty() && !block.is_empty() => block.push('\n'),
            (None, Some(block)) if !block.is_empty() => blocks.push(String::new()),
            _ => {}
        }
    }
    blocks
}

/// Words as a shell would part them; quotes are the only thing it needs to know here.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[test]
fn every_command_in_the_documents_is_one_of_delayqs() {
    let mut count = 0;
    for document in DOCUMENTS {
        for block in indented_blocks(&repo::read(document)) {
            for line in block.lines() {
                let line = line.split(" #").next().unwrap_or_default();
                let Some(arguments) = ["delayq ", "cargo run --release -- "]
                    .iter()
                    .find_map(|start| line.strip_prefix(start))
                else {
                    continue;
                };
                let words = ["delayq".to_owned()].into_iter().chain(words(arguments));
                let parsed = Cli::try_parse_from(words);
                assert!(parsed.is_ok(), "{document}: {line}: {:?}", parsed.err());
                count += 1;
            }
        }
    }
    assert!(count >= 9, "{count} commands");
}

#[test]
fn every_configuration_in_the_documents_is_valid() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("delayq.toml");
    let mut count = 0;
    for document in DOCUMENTS {
        let blocks = indented_blocks(&repo::read(document));
        for block in blocks.iter().filter(|block| block.starts_with('[')) {
            std::fs::write(&file, block).expect("written");
            let allow = (!block.contains("allow = ")).then(|| "topics.allow=*".to_owned());
            load(&Sources {
                file: Some(file.clone()),
                env: Vec::new(),
                set: allow.into_iter().collect(),
            })
            .unwrap_or_else(|faults| panic!("{document}: {faults}\n{block}"));
            count += 1;
        }
    }
    assert!(count >= 4, "{count} configurations");
}

#[test]
fn the_commands_of_the_compose_file_are_delayqs_and_its_configuration_is_valid() {
    let services = compose::services(&repo::read(COMPOSE));
    let mut seen = Vec::new();
    for service in &services {
        let own = matches!(&*service.name, "init" | "router" | "scheduler" | "emitter");
        if !own {
            continue;
        }
        let command = service.list("command").expect("a command");
        let words = ["delayq".to_owned()].into_iter().chain(command);
        let cli = Cli::try_parse_from(words).unwrap_or_else(|e| panic!("{}: {e}", service.name));
        let (config, overrides) = match cli.command {
            Delayq::Run { config, .. } => (config.config, config.overrides),
            Delayq::Init { config, .. } => (config.config, config.overrides),
            other => panic!("{}: {other:?}", service.name),
        };
        let mounted = config.expect("a configuration file");
        let mount = format!("./{COMPOSE_CONFIG}:{}:ro", mounted.display());
        assert!(repo::read(COMPOSE).contains(&mount), "no mount {mount}");
        load(&Sources {
            file: Some(repo::root().join(COMPOSE_CONFIG)),
            env: Vec::new(),
            set: overrides,
        })
        .unwrap_or_else(|faults| panic!("{}: {faults}", service.name));
        seen.push(&*service.name);
    }
    assert_eq!(seen, ["init", "router", "scheduler", "emitter"]);
}

#[test]
fn the_compose_file_pins_its_images_and_opens_ports_on_loopback_only() {
    let text = repo::read(COMPOSE);
    let services = compose::services(&text);
    for service in &services {
        if let Some(image) = service.get("image") {
            let (_, tag) = image.split_once(':').expect("a tag");
            assert!(tag != "latest" && !tag.is_empty(), "{image}");
        }
        for port in service.list("ports").into_iter().flatten() {
            assert!(port.starts_with("127.0.0.1:"), "{}: {port}", service.name);
        }
    }
    let ports = text.matches("ports:").count();
    let read = services.iter().filter(|s| s.get("ports").is_some()).count();
    assert_eq!(ports, read, "a list of ports that this test does not see");
}

/// The path of every file that the compose file mounts, and that the image is built from.
#[test]
fn what_is_mounted_and_copied_exists() {
    let text = repo::read(COMPOSE);
    for line in text.lines().map(str::trim) {
        let Some(path) = line.strip_prefix("- ./").and_then(|m| m.split(':').next()) else {
            continue;
        };
        assert!(repo::root().join(path).exists(), "{path} is not there");
    }
    let dockerfile = repo::read("deploy/container/Dockerfile");
    for line in dockerfile.lines().filter(|line| line.starts_with("COPY ")) {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        if words.iter().any(|word| word.starts_with("--from=")) {
            continue;
        }
        let (_, sources) = words.split_last().expect("a destination");
        for source in sources.iter().filter(|word| !word.starts_with("--")) {
            assert!(repo::root().join(source).exists(), "{source} is not there");
        }
    }
}

/// The image has neither a shell nor an HTTP client: the binary itself asks.
#[test]
fn the_health_check_is_the_binarys_own() {
    const CHECK: &str = r#"["CMD", "/usr/local/bin/delayq", "health"]"#;
    let compose = repo::read(COMPOSE);
    let role = compose.split("\nx-role:").nth(1).expect("x-role");
    let role = role.split("\nservices:").next().unwrap_or_default();
    let checked = role.lines().map(str::trim);
    let checked = checked.filter_map(|line| line.strip_prefix("test: "));
    assert_eq!(checked.collect::<Vec<_>>(), [CHECK]);
    let dockerfile = repo::read("deploy/container/Dockerfile");
    let image = dockerfile.lines().find(|l| l.starts_with("HEALTHCHECK "));
    let (_, command) = image.and_then(|l| l.split_once("CMD ")).expect("a check");
    assert_eq!(command, CHECK.replace("\"CMD\", ", ""));
    let entrypoint = dockerfile
        .lines()
        .find_map(|l| l.strip_prefix("ENTRYPOINT "));
    assert_eq!(entrypoint, Some(r#"["/usr/local/bin/delayq"]"#));
    // It has no arguments, so it finds the configuration where the image's commands begin.
    let mounted = format!(":{}/delayq.toml:ro", workdir(&dockerfile));
    assert!(compose.contains(&mounted), "no mount ending in {mounted}");
}

/// The last one: that of the image, not of its build.
fn workdir(dockerfile: &str) -> &str {
    let mut folders = dockerfile
        .lines()
        .filter_map(|l| l.strip_prefix("WORKDIR "));
    folders.next_back().expect("a folder")
}
