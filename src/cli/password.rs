//! `segue password`: the line for a user of the status page.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::process::ExitCode;

use argon2::Argon2;
use argon2::password_hash::PasswordHasher;
use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::{complain, print};

/// Arguments of `segue password`.
#[derive(Args, Debug)]
pub struct PasswordArguments {
    /// The name of the user
    #[arg(value_parser = name)]
    name: String,
}

/// Asks for a password, or reads it from standard input, and prints the user with its hash.
#[must_use]
pub fn run(arguments: &PasswordArguments) -> ExitCode {
    let password = match read() {
        Ok(password) => password,
        Err(fault) => {
            complain(&fault);
            return ExitCode::FAILURE;
        }
    };
    if password.is_empty() {
        eprintln!("segue: there is no password");
        return ExitCode::FAILURE;
    }
    if arguments.name.len() + password.len() > LONGEST_LOGIN {
        eprintln!("segue: name and password have more than {LONGEST_LOGIN} bytes, which the page does not take");
        return ExitCode::FAILURE;
    }
    match hash(&password) {
        Some(hash) => print(&format!("{}:{hash}\n", arguments.name)),
        None => {
            eprintln!("segue: the password cannot be hashed");
            ExitCode::FAILURE
        }
    }
}

/// The hash of a password, with a salt of its own. None when there is no randomness or memory for it.
pub(super) fn hash(password: &str) -> Option<String> {
    Argon2::default().hash_password(password.as_bytes()).ok().map(|hash| hash.to_string())
}

/// The password: the first line of what is not a terminal; else what is typed, unseen and twice.
fn read() -> io::Result<String> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let mut text = String::new();
        stdin.take(LONGEST).read_to_string(&mut text)?;
        return Ok(text.lines().next().unwrap_or_default().to_owned());
    }
    let first = ask("Password: ")?;
    if first == ask("Once more: ")? { Ok(first) } else { Err(io::Error::other("the two are not the same")) }
}

fn ask(prompt: &str) -> io::Result<String> {
    eprint!("{prompt}");
    io::stderr().flush()?;
    let hidden = Hidden::new()?;
    let typed = typed();
    drop(hidden);
    eprintln!();
    typed
}

/// A line without its end. Keys come one by one, also those that would end this process while the terminal shows nothing.
fn typed() -> io::Result<String> {
    let mut line = Vec::new();
    for byte in io::stdin().lock().bytes() {
        match byte? {
            b'\r' | b'\n' => break,
            INTERRUPT => return Err(io::Error::other("given up")),
            END => break,
            DELETE | BACKSPACE => drop(line.pop()),
            byte => line.push(byte),
        }
    }
    String::from_utf8(line).map_err(|_| io::Error::other("the password is no UTF-8"))
}

const INTERRUPT: u8 = 3;
const END: u8 = 4;
const BACKSPACE: u8 = 8;
const DELETE: u8 = 127;

/// The terminal shows nothing of what is typed, and makes nothing of it, until this is dropped.
struct Hidden(Termios);

impl Hidden {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0); // the terminal has gone
    }
}

fn name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(':') || text.chars().any(|one| one.is_control() || one.is_whitespace()) {
        return Err("a name has no `:` and no spaces".to_owned());
    }
    Ok(text.to_owned())
}

/// In bytes: what is read,
const LONGEST: u64 = 4096;
/// and what a page takes, which reads both in one field.
const LONGEST_LOGIN: usize = 700;
