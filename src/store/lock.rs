//! `STATE/lock`: one process at a time. The kernel frees it when its holder dies, however it dies.
//! Who waits, waits at most as long as it is told to (a query: 5 s), then gets the holder's pid.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use super::StoreError;
use super::files::{self, trouble};

/// Held for as long as it lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// A query that waits for `read` to finish should not notice the wait itself.
const POLL: Duration = Duration::from_millis(50);

impl Lock {
    pub fn take(state: &Path, wait: Duration) -> Result<Self, StoreError> {
        let path = state.join("lock");
        let mut file = files::private()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| trouble("open", &path, &e))?;
        let mut waited = Duration::ZERO;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if waited < wait => {
                    std::thread::sleep(POLL);
                    waited += POLL;
                }
                Err(TryLockError::WouldBlock) => return Err(held(&mut file, state, waited)),
                Err(TryLockError::Error(e)) => return Err(trouble("lock", &path, &e)),
            }
        }
        // The pid is for people only; a full disk must not keep the store shut because of it.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Lock { _file: file })
    }
}

fn held(file: &mut File, state: &Path, waited: Duration) -> StoreError {
    let mut text = String::new();
    let _ = file.rewind().and_then(|()| file.take(32).read_to_string(&mut text));
    let holder = match text.trim().parse::<u32>() {
        Ok(pid) => format!("process {pid}"),
        Err(_) => "another process".to_owned(),
    };
    let waited = if waited.is_zero() { String::new() } else { format!(" (waited {:.0} s)", waited.as_secs_f64()) };
    StoreError::Locked(format!(
        "the state {} is in use by {holder}{waited}: wait until it ends or stop it, or choose another --state",
        state.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::super::torture::Folder;
    use super::*;

    #[test]
    fn a_second_holder_is_refused_with_the_pid_of_the_first() {
        let folder = Folder::new();
        let first = Lock::take(folder.path(), Duration::ZERO).unwrap();
        let error = Lock::take(folder.path(), Duration::ZERO).unwrap_err();
        let pid = format!("process {}", std::process::id());
        assert!(matches!(&error, StoreError::Locked(text) if text.contains(&pid)), "{error}");
        drop(first);
        assert!(Lock::take(folder.path(), Duration::ZERO).is_ok());
    }

    #[test]
    fn who_waits_gets_it_when_the_holder_leaves() {
        let folder = Folder::new();
        let first = Lock::take(folder.path(), Duration::ZERO).unwrap();
        let holder = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            drop(first);
        });
        assert!(Lock::take(folder.path(), Duration::from_secs(5)).is_ok());
        holder.join().unwrap();
    }
}
