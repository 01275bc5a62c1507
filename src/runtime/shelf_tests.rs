//! The shelf on a folder of its own: what is written comes back, and what others put there harms nobody.

use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("eastwatch-shelf-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).unwrap();
        Dir(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn vm() -> VmId {
    VmId::derive(&[b"mac"], 0)
}

fn sheet(text: &str) -> Sheet {
    Sheet { text: text.to_owned(), digest: 0, gist: 0 }
}

fn now(text: &str) -> Asked {
    Asked::Now(Some(text.to_owned()))
}

#[test]
fn what_one_writes_another_reads_once_and_nothing_else_lies_there() {
    let dir = Dir::new();
    let (mut one, mut other) = (Shelf::new(&dir.0), Shelf::new(&dir.0));
    assert_eq!(other.ask(vm()), Asked::Now(None));
    assert_eq!(one.put(vm(), &sheet("a")), Put::Done);
    assert_eq!(one.ask(vm()), Asked::Now(None), "its own word");
    assert_eq!((other.ask(vm()), other.ask(vm())), (now("a"), Asked::Now(None)));
    assert_eq!(one.put(vm(), &sheet("b")), Put::Done);
    assert_eq!(other.ask(vm()), now("b"));
    let names: Vec<_> = fs::read_dir(&dir.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [format!("{}.toml", vm()).as_str()]);
    other.remove(vm());
    assert_eq!((one.ask(vm()), one.trouble()), (Asked::Now(None), None));
    assert!(Shelf::check(&dir.0).is_ok());
}

#[test]
fn what_another_wrote_meanwhile_is_handed_over_before_it_is_written_over() {
    let dir = Dir::new();
    let (mut one, mut other) = (Shelf::new(&dir.0), Shelf::new(&dir.0));
    assert_eq!(one.put(vm(), &sheet("a")), Put::Done);
    assert_eq!(other.put(vm(), &sheet("b")), Put::Theirs("a".to_owned()));
    assert_eq!(other.put(vm(), &sheet("ab")), Put::Done);
    assert_eq!(one.put(vm(), &sheet("c")), Put::Theirs("ab".to_owned()));
}

#[test]
fn hostile_files_are_told_and_never_waited_for() {
    let dir = Dir::new();
    let path = dir.0.join(format!("{}.toml", vm()));
    let secret = dir.0.join("secret");
    fs::write(&secret, "a = 1").unwrap();
    let make: [(&str, &dyn Fn()); 5] = [
        ("plain file", &|| symlink(&secret, &path).unwrap()),
        ("plain file", &|| fs::create_dir(&path).unwrap()),
        ("plain file", &|| assert!(Command::new("mkfifo").arg(&path).status().unwrap().success())),
        ("larger", &|| File::create(&path).unwrap().set_len(1 << 33).unwrap()),
        ("UTF-8", &|| fs::write(&path, [0xff, 0xfe]).unwrap()),
    ];
    for (told, make) in make {
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        make();
        let mut shelf = Shelf::new(&dir.0);
        assert_eq!(shelf.ask(vm()), Asked::Now(None));
        assert!(shelf.trouble().is_some_and(|text| text.contains(told)), "{told}: {:?}", shelf.trouble());
        if !path.is_dir() {
            assert_eq!(shelf.put(vm(), &sheet("mine")), Put::Done, "{told}");
            assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        }
        assert_eq!(fs::read_to_string(&secret).unwrap(), "a = 1", "a link is not written through");
    }
}

#[test]
fn a_folder_that_is_missing_or_open_to_everyone_is_told_and_used_for_nothing() {
    let dir = Dir::new();
    let path = dir.0.join(format!("{}.toml", vm()));
    fs::write(&path, "theirs").unwrap();
    fs::set_permissions(&dir.0, fs::Permissions::from_mode(0o777)).unwrap();
    let mut shelf = Shelf::new(&dir.0);
    assert_eq!(shelf.ask(vm()), Asked::Now(None));
    assert!(shelf.trouble().unwrap().contains("writable by everyone"));
    assert!(Shelf::check(&dir.0).unwrap_err().1.contains("chmod o-w"));
    let nowhere = dir.0.join("nowhere");
    let mut shelf = Shelf::new(&nowhere);
    assert_eq!((shelf.ask(vm()), shelf.put(vm(), &sheet("a"))), (Asked::Now(None), Put::Failed));
    assert!(shelf.trouble().is_some() && Shelf::check(&nowhere).is_err());
}

#[test]
fn a_file_that_is_too_large_is_not_written() {
    let dir = Dir::new();
    let mut shelf = Shelf::new(&dir.0);
    assert_eq!(shelf.put(vm(), &sheet(&"x".repeat(FILE_BYTES_MAX + 1))), Put::Failed);
    assert!(shelf.trouble().unwrap().contains("KiB"));
    assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 0);
}

#[test]
fn names_are_those_of_vms_and_nothing_else() {
    assert!(is_ours("vm-0123456789ab.toml"));
    for name in ["vm-../../etc/pw.toml", "vm-0123456789ab", "vm-0123456789abc.toml", "x.toml", ".vm-0123456789ab.toml"]
    {
        assert!(!is_ours(name), "{name}");
    }
}
