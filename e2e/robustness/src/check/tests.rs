//! The checker can fail: histories made by hand, each wrong in one way.

use super::check;
use crate::history::{Answer, Call, Entry, How, Kind, Revision, Told, Watched};

fn entry(begun: u64, ended: u64, call: Call, answer: Answer) -> Entry {
    Entry { client: 0, call, begun, ended, answer }
}

fn create(value: u64) -> Call {
    Call::Create { key: "a".into(), value }
}

fn update(value: u64, of: Revision) -> Call {
    Call::Update { key: "a".into(), value, of }
}

fn patch(value: u64) -> Call {
    Call::Patch { key: "a".into(), value }
}

fn delete(of: Revision) -> Call {
    Call::Delete { key: "a".into(), of }
}

fn get() -> Call {
    Call::Get { key: "a".into() }
}

fn found(value: u64, revision: Revision) -> Answer {
    Answer::Found { value, revision }
}

fn listed(revision: Revision, objects: &[(u64, Revision)]) -> Answer {
    Answer::Listed { revision, objects: objects.iter().map(|object| ("a".to_owned(), *object)).collect() }
}

fn told(kind: Kind, value: u64, revision: Revision) -> Told {
    Told::Change { kind, key: "a".into(), value, revision }
}

/// Created at 10, updated at 20, deleted at 30, created at 40.
fn log() -> Watched {
    let told = vec![
        told(Kind::Added, 1, 10),
        told(Kind::Modified, 2, 20),
        told(Kind::Deleted, 2, 30),
        told(Kind::Added, 3, 40),
    ];
    watched(5, told)
}

/// Told at the end, when that is held against nobody.
fn watched(from: Revision, told: Vec<Told>) -> Watched {
    Watched { from, told: told.into_iter().map(|told| (10_000, told)).collect(), ..Watched::default() }
}

fn found_in(entries: &[Entry], log: &Watched) -> Vec<String> {
    check(entries, log, &[]).into_iter().map(|violation| violation.what).collect()
}

fn writes() -> Vec<Entry> {
    vec![
        entry(0, 100, create(1), Answer::Done(10)),
        entry(200, 300, update(2, 10), Answer::Done(20)),
        entry(400, 500, delete(20), Answer::Deleted),
        entry(600, 700, create(3), Answer::Done(40)),
    ]
}

/// What is found wrong with the history above and these entries.
fn with(more: impl IntoIterator<Item = Entry>) -> Vec<String> {
    let entries: Vec<Entry> = writes().into_iter().chain(more).collect();
    check(&entries, &log(), &[log()]).into_iter().map(|violation| violation.what).collect()
}

fn watch(from: Revision, told: Vec<Told>) -> Vec<String> {
    check(&writes(), &log(), &[watched(from, told)]).into_iter().map(|violation| violation.what).collect()
}

#[track_caller]
fn wrong(found: &[String], text: &str) {
    assert!(found.iter().any(|what| what.contains(text)), "{found:#?}");
}

#[test]
fn what_can_be_is_not_refused() {
    let fine = [
        entry(150, 160, get(), found(1, 10)),
        // Beside a write, before and behind it.
        entry(210, 290, get(), found(1, 10)),
        entry(210, 290, get(), found(2, 20)),
        entry(310, 320, Call::List(How::Whole), listed(20, &[(2, 20)])),
        entry(510, 520, Call::List(How::Pages), listed(31, &[])),
        entry(450, 520, get(), Answer::Absent),
        entry(310, 320, create(7), Answer::Exists),
        entry(310, 320, update(8, 10), Answer::Conflict),
        entry(510, 520, update(9, 20), Answer::Absent),
        entry(510, 520, patch(11), Answer::Absent),
        entry(710, 720, patch(12), Answer::Conflict),
        entry(710, 720, update(10, 40), Answer::Lost),
        // The first was there before it; both were there before it was known what became of this one.
        entry(510, 520, delete(20), Answer::Lost),
        entry(510, 520, delete(20), Answer::Absent),
        entry(710, 720, get(), Answer::Lost),
    ];
    assert_eq!(with(fine), [""; 0]);
}

#[test]
fn a_lost_write_may_have_been_done_but_not_before_it_was_asked_for() {
    let mut log = log();
    log.told.extend(watched(0, vec![told(Kind::Modified, 4, 50), told(Kind::Deleted, 4, 60)]).told);
    let run = |begun| {
        let mut entries = writes();
        entries.push(entry(begun, begun + 10, update(4, 40), Answer::Lost));
        // What follows shows that 50 was there at 800.
        entries.push(entry(790, 800, get(), found(4, 50)));
        // Either of them may have been the one.
        entries.push(entry(begun, begun + 10, delete(50), Answer::Lost));
        entries.push(entry(850, 860, delete(50), Answer::Lost));
        entries.push(entry(870, 880, get(), Answer::Absent));
        found_in(&entries, &log)
    };
    assert_eq!(run(710), [""; 0]);
    wrong(&run(900), "written at 50, but 60 was known");
    let mut entries = writes();
    entries.push(entry(710, 720, patch(4), Answer::Done(50)));
    entries.push(entry(730, 740, get(), Answer::Absent));
    entries.push(entry(750, 760, delete(50), Answer::Lost));
    wrong(&found_in(&entries, &log), "deleted at 60, which was known before");
}

#[test]
fn an_acknowledged_write_that_is_not_there() {
    wrong(&with([entry(800, 900, update(4, 40), Answer::Done(50))]), "acknowledged, but not in the log");
    wrong(&with([entry(800, 900, delete(40), Answer::Deleted)]), "acknowledged, but not in the log");
}

#[test]
fn a_write_that_nobody_made_or_that_was_refused() {
    wrong(&found_in(&writes()[..3], &log()), "nobody wrote");
    wrong(&found_in(&writes()[..2], &log()), "nobody wrote what the log tells: Change { key: \"a\", revision: 30");
    let mut entries = writes();
    entries[3].answer = Answer::Exists;
    wrong(&found_in(&entries, &log()), "refused, but in the log at 40");
}

#[test]
fn a_write_that_is_done_twice_or_on_what_it_did_not_name() {
    let mut log = log();
    log.told.extend(watched(0, vec![told(Kind::Modified, 3, 50)]).told);
    wrong(&found_in(&writes(), &log), "more than once");
    wrong(&with([entry(410, 490, delete(20), Answer::Deleted)]), "one deletion at 30");
    let mut entries = writes();
    entries[1].call = update(2, 9);
    wrong(&found_in(&entries, &self::log()), "done at 20 on Some(10)");
    entries[1].call = create(2);
    wrong(&found_in(&entries, &self::log()), "done at 20 on Some(10)");
    entries[0].call = patch(1);
    wrong(&found_in(&entries, &self::log()), "done at 10 on None");
}

#[test]
fn revisions_against_real_time() {
    let mut entries = writes();
    // The update was over before the create that it replaces began.
    (entries[0].begun, entries[0].ended) = (310, 320);
    wrong(&found_in(&entries, &log()), "written at 10, but 20 was known");
    let mut entries = writes();
    entries[1].answer = Answer::Done(21);
    wrong(&found_in(&entries, &log()), "acknowledged at 21, in the log at 20");
}

#[test]
fn reads_that_are_stale_ahead_or_never_were() {
    wrong(&with([entry(310, 320, get(), found(1, 10))]), "was never so from 20");
    wrong(&with([entry(310, 320, get(), found(5, 20))]), "was never so");
    wrong(&with([entry(510, 520, get(), found(2, 20))]), "was never so from 30");
    wrong(&with([entry(310, 320, Call::List(How::Whole), listed(10, &[(1, 10)]))]), "listed at 10, but 20 was known");
    wrong(&with([entry(310, 320, Call::List(How::Whole), listed(25, &[(1, 10)]))]), "when there was");
    wrong(&with([entry(310, 320, Call::List(How::Whole), listed(25, &[]))]), "when there was");
    // What a read shows of the time behind it is held against what is written then.
    wrong(&with([entry(150, 160, get(), found(2, 20))]), "written at 20, but 20 was known");
    wrong(&with([entry(310, 320, get(), Answer::Absent)]), "written at 30, but 30 was known");
    wrong(&with([entry(310, 320, Call::List(How::Whole), listed(45, &[(3, 40)]))]), "written at 30, but 45 was known");
    // One read may not go behind what another one has seen, be it that there was nothing.
    let back = [entry(210, 220, get(), found(2, 20)), entry(230, 240, get(), found(1, 10))];
    wrong(&with(back), "was never so");
    let back = [entry(410, 420, get(), Answer::Absent), entry(430, 440, get(), found(2, 20))];
    wrong(&with(back), "was never so");
    // A create is not refused for what is not there, nor an update of what is.
    wrong(&with([entry(510, 590, create(7), Answer::Exists)]), "written at 40, but 40 was known");
    wrong(&with([entry(710, 720, create(7), Answer::Exists), entry(710, 720, get(), Answer::Absent)]), "was never so");
    wrong(&with([entry(710, 720, update(7, 40), Answer::Conflict)]), "was never so");
    // Nor is there an answer to another question.
    wrong(&with([entry(710, 720, get(), Answer::Exists)]), "no answer to what was asked");
}

#[test]
fn a_read_behind_what_a_watch_has_told() {
    let mut told_early = watched(5, log().told.into_iter().map(|(_, told)| told).take(2).collect());
    told_early.told[1].0 = 220;
    let run = |begun| {
        let mut entries = writes();
        entries.push(entry(begun, begun + 10, get(), found(1, 10)));
        check(&entries, &log(), std::slice::from_ref(&told_early)).len()
    };
    assert_eq!((run(215), run(230)), (0, 1));
}

#[test]
fn watches_with_holes_repetitions_disorder_and_wrong_kinds() {
    let all: Vec<Told> = log().told.into_iter().map(|(_, told)| told).collect();
    assert_eq!(watch(5, all.clone()), [""; 0]);
    assert_eq!(watch(20, all[2..].to_vec()), [""; 0]);
    assert_eq!(watch(10, vec![all[1].clone(), Told::Bookmark(29), all[2].clone()]), [""; 0]);
    wrong(&watch(5, vec![all[0].clone(), all[2].clone()]), "where the log has");
    wrong(&watch(5, vec![all[0].clone(), all[0].clone()]), "where the log has");
    wrong(&watch(5, vec![all[1].clone(), all[0].clone()]), "where the log has");
    wrong(&watch(10, all.clone()), "where the log has");
    wrong(&watch(10, vec![told(Kind::Added, 2, 20)]), "where the log has");
    wrong(&watch(10, vec![told(Kind::Modified, 9, 20)]), "where the log has");
    wrong(&watch(10, vec![told(Kind::Modified, 2, 21)]), "where the log has");
    wrong(&watch(10, vec![Told::Bookmark(20), all[1].clone()]), "told Bookmark(20)");
    wrong(&watch(10, vec![all[1].clone(), Told::Bookmark(15)]), "told Bookmark(15)");
}

#[test]
fn a_watch_of_one_object() {
    let mut log = log();
    let other = Told::Change { kind: Kind::Added, key: "b".into(), value: 4, revision: 45 };
    log.told.extend(watched(0, vec![other.clone(), told(Kind::Modified, 5, 50)]).told);
    let mut entries = writes();
    entries.push(entry(710, 720, Call::Create { key: "b".into(), value: 4 }, Answer::Done(45)));
    entries.push(entry(730, 740, update(5, 40), Answer::Done(50)));
    let run = |events: Vec<Told>| {
        let watched = Watched { key: Some("b".into()), ..watched(20, events) };
        check(&entries, &log, &[watched]).into_iter().map(|violation| violation.what).collect::<Vec<_>>()
    };
    assert_eq!(run(vec![Told::Bookmark(42), other.clone(), Told::Bookmark(60)]), [""; 0]);
    wrong(&run(vec![Told::Bookmark(45)]), "told Bookmark(45)");
    wrong(&run(vec![told(Kind::Added, 3, 40)]), "where the log has");
}
