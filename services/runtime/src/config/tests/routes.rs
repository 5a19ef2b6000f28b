//! `[[routes]]` and the presets of `[headers]`.

use super::*;

fn with(routes: &str) -> Result<Config, ConfigErrors> {
    load_from(&format!("{MINIMAL}{routes}"), &[], &[])
}

fn faults(routes: &str) -> String {
    with(routes).unwrap_err().to_string()
}

#[test]
fn a_route_reads_as_it_is_written_and_prints_as_it_reads() {
    let config = with(
        r#"
        [[routes]]
        name = "reminders"
        match.message_type = "reminder"
        delay = { standard = "15m", low = "1h" }
        [[routes]]
        name = "hooks"
        match.target = "orders.hooks"
        delay = "5s"
        high = "bypass-all"
        max_rate = 50
        max_delay = "30d"
        output = "{target}"
        spread = "30s"
        "#,
    )
    .unwrap();
    let [reminders, hooks] = config.routes.as_slice() else {
        panic!("two routes")
    };
    assert_eq!(reminders.delay.low, Some(Duration::from_secs(3600)));
    assert_eq!(hooks.delay.standard, Some(Duration::from_secs(5)));
    assert_eq!(hooks.delay.standard, hooks.delay.low);
    assert_eq!(
        (hooks.max_rate, hooks.high),
        (Some(50), HighRule::BypassAll)
    );
    let printed = config.to_redacted_toml().unwrap();
    assert_eq!(load_from(&printed, &[], &[]).unwrap(), config);
}

#[test]
fn faults_of_several_routes_are_told_at_once_with_their_places() {
    let text = faults(
        r#"
        [[routes]]
        name = "a"
        delay = "soon"
        match.target = "x"
        [[routes]]
        name = "b"
        match.target = "y"
        maxrate = 5
        [[routes]]
        match.target = "z"
        "#,
    );
    for part in [
        "routes[0]",
        "duration",
        "routes[1]",
        "maxrate",
        "routes[2]",
        "name",
    ] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
}

#[test]
fn routes_that_cannot_work_are_refused() {
    for (routes, part) in [
        ("name = \"a b\"", "cannot be the name"),
        ("name = \"a\"\nmatch.target = \"[\"", "not a glob"),
        ("name = \"a\"\ndelay = \"8d\"", "beyond the longest delay"),
        ("name = \"a\"\nmax_rate = 0", "outside"),
        ("name = \"a\"\nspread = \"25h\"", "outside"),
        ("name = \"a\"\noutput = \"all\"", "{target} once"),
        ("name = \"a\"\ntarget = \"bills\"", "not allowed"),
        ("name = \"a\"\ntarget = \"delayq.delay\"", "own topics"),
        (
            "name = \"a\"\ntarget = \"orders.a\"\nmatch.target = \"orders.b\"",
            "its own target",
        ),
        (
            "name = \"a\"\nmatch.delay_topic = \"other\"",
            "none of the delay topics",
        ),
        (
            "name = \"a\"\n[[routes]]\nname = \"b\"\nmatch.target = \"x\"",
            "never asked",
        ),
        (
            "name = \"a\"\nmatch.target = \"y\"\n[[routes]]\nname = \"a\"\nmatch.target = \"x\"",
            "second route",
        ),
    ] {
        let text = faults(&format!("[[routes]]\n{routes}\n"));
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
        assert!(text.contains("routes["), "{text}");
    }
}

#[test]
fn routes_in_the_environment_are_not_ignored_in_silence() {
    let errors = load_from(MINIMAL, &[("DELAYQ_ROUTES", "[]")], &[]).unwrap_err();
    assert!(errors.to_string().contains("[[routes]]"), "{errors}");
}

#[test]
fn a_preset_names_what_is_not_named() {
    let names = |settings: &str| {
        let text = format!("{MINIMAL}[headers]\n{settings}\n");
        load_from(&text, &[], &[]).unwrap().headers.effective()
    };
    let rabbit = names("preset = \"x-delay\"");
    assert_eq!(
        (&*rabbit.delay_ms, &*rabbit.target),
        ("x-delay", "delay-target")
    );
    let scheduler = names("preset = \"scheduler\"\ntarget = \"to\"");
    assert_eq!(scheduler.deliver_at_s.as_deref(), Some("scheduler-epoch"));
    assert_eq!(
        scheduler.target_key.as_deref(),
        Some("scheduler-target-key")
    );
    assert_eq!(scheduler.target, "to", "what is named stands");
    let clash = format!("{MINIMAL}[headers]\npreset = \"x-delay\"\ntarget = \"x-delay\"\n");
    let errors = load_from(&clash, &[], &[]).unwrap_err();
    assert!(errors.to_string().contains("a name of its own"), "{errors}");
}
