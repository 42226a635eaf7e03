//! Parsers of `/proc`.

use super::{CpuTime, CpuUse, parse_cores, parse_stat};

#[test]
fn parse_cores_reads_ranges_and_single_cores() {
    assert_eq!(parse_cores("0-2,7").unwrap(), [0, 1, 2, 7]);
    assert_eq!(parse_cores("3").unwrap(), [3]);
    assert!(parse_cores("a").is_err());
}

#[test]
fn parse_stat_skips_parentheses_in_the_program_name() {
    let stat = "42 (a b) c) R 1 1 1 0 -1 4194304 2833 6533 4 0 20 7 3 2 20 0 1 0";
    assert_eq!(parse_stat(stat), Some((20, 7)));
}

#[test]
fn cpu_sum_is_the_schedulers_and_split_by_ticks() {
    let before = CpuTime { running: 0, user: 10, system: 10 };
    let after = CpuTime { running: 101_000_000, user: 12, system: 18 };
    let CpuUse { user, system } = after.since(before);
    assert!((user - 20_200.0).abs() < 1e-6, "{user}");
    assert!((system - 80_800.0).abs() < 1e-6, "{system}");
}

#[test]
fn cpu_time_includes_ended_threads() {
    let before = CpuTime { running: 90_000_000, user: 5, system: 4 };
    let after = CpuTime { running: 50_000_000, user: 10, system: 9 };
    assert_eq!(after.since(before), CpuUse { user: 50_000.0, system: 50_000.0 });
}
