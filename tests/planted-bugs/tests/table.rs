//! The table, its README, and what planting does.

use quorate_planted_bugs::{PlantedBug, is_planted, plant, planted};
use std::collections::BTreeSet;

#[test]
fn the_readme_holds_the_same_table() {
    let rows: Vec<String> = PlantedBug::ALL
        .iter()
        .map(|bug| format!("| `{}` | {} | {} |", bug.name(), bug.room().name(), bug.what()))
        .collect();
    let readme = include_str!("../README.md");
    let written: Vec<&str> = readme.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(written, rows, "the rows that belong into README.md:\n{}", rows.join("\n"));
}

#[test]
fn names_are_kebab_case_and_lead_back() {
    let mut seen = BTreeSet::new();
    for bug in PlantedBug::ALL {
        let kebab: String = format!("{bug:?}")
            .char_indices()
            .flat_map(|(place, letter)| {
                let dash = (letter.is_uppercase() && place > 0).then_some('-');
                dash.into_iter().chain(letter.to_lowercase())
            })
            .collect();
        assert_eq!(bug.name(), kebab);
        assert_eq!(PlantedBug::from_name(bug.name()), Some(*bug));
        assert!(seen.insert(bug.name()));
        assert!(bug.what().ends_with('.'), "{}", bug.name());
    }
    assert_eq!(PlantedBug::from_name("no-such-bug"), None);
}

#[test]
fn one_bug_is_planted_at_a_time_and_none_at_first() {
    assert_eq!(planted(), None);
    for bug in PlantedBug::ALL {
        plant(Some(*bug));
        assert_eq!(planted(), Some(*bug));
        assert_eq!(PlantedBug::ALL.iter().filter(|other| is_planted(**other)).count(), 1);
    }
    plant(None);
    assert_eq!(planted(), None);
}
