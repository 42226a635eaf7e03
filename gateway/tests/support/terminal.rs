//! A pseudo-terminal of a given width for the program under test.

use std::fs::File;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Makes a terminal of this width the standard output of the command. Returns the terminal's other end, for reading.
pub(crate) fn attach(command: &mut Command, columns: u16) -> File {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&terminal, size).unwrap();
    let path = ptsname(&terminal, Vec::new()).unwrap();
    let stdout = File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
    command
        .env_remove("NO_COLOR")
        .env_remove("CI") // forces colours
        .env_remove("CLICOLOR_FORCE")
        .env("TERM", "xterm")
        .stdout(Stdio::from(stdout));
    File::from(terminal)
}

/// Returns the text without colour sequences.
pub(crate) fn without_colours(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').unwrap().1)
}
