//! JVM options that are refused at every level (pure): Java would not start, would start something else, or
//! would end in a way that hides that memory ran out.
//!
//! What tasks may give in addition to this is limited by [`task_options`](super::task_options).

use super::task_options::{Refused, refused};

const NO_OPTION: &str = "is not a Java option: give each option as an item of its own";
const TWO: &str = "contains more than one option: give each as an item of its own; a property with such a value goes \
                   into properties of the PeonTemplate";
const SPACE: &str = "contains white space that Java would read as a part of the option: remove it";
const NO_VALUE: &str = "needs a value, in the next item of the same list";
const NESTED: &str =
    "names an argument file, which Java does not read at this place: give its options as items";
const CLASS_PATH: &str = "would replace the class path, which is the operator's: name folders and JARs in classPath of the \
                          PeonTemplate, and load extensions by druid.extensions.loadList";
const PROGRAM: &str = "makes Java start another program than the peon, or print something and end";
const COMMAND: &str = "runs a command when memory runs out, and one that kills the JVM hides why it ended: the operator \
                       sets -XX:+ExitOnOutOfMemoryError, and gives the next attempt more memory";
const CRASH: &str = "ends a JVM out of memory in a way that does not say so: the operator sets \
                     -XX:+ExitOnOutOfMemoryError, and gives the next attempt more memory";
const STAYS: &str = "lets a JVM out of memory stay alive and hold its locks: the operator sets \
                     -XX:+ExitOnOutOfMemoryError";

/// Options whose value is the next item. With `=` in it, an option has its value itself.
const WITH_VALUE: [&str; 11] = [
    "--add-exports",
    "--add-modules",
    "--add-opens",
    "--add-reads",
    "--enable-native-access",
    "--limit-modules",
    "--module-path",
    "-p",
    "--patch-module",
    "--upgrade-module-path",
    "--illegal-native-access",
];
const CLASS_PATHS: [&str; 3] = ["-cp", "-classpath", "--class-path"];
/// Options after which Java does not run the class that it is given. Those that print and go on are not among them.
const PROGRAMS: [&str; 19] = [
    "-jar",
    "-m",
    "--module",
    "--source",
    "-d",
    "--describe-module",
    "--list-modules",
    "--validate-modules",
    "--dry-run",
    "-version",
    "--version",
    "-fullversion",
    "--full-version",
    "-help",
    "--help",
    "-h",
    "-?",
    "-X",
    "--help-extra",
];

/// The first of these options that no peon can have. They are the arguments of Java that one source gives, in their
/// order.
#[must_use]
pub fn first_refused<'a>(options: impl IntoIterator<Item = &'a str>) -> Option<Refused> {
    let mut waiting: Option<&str> = None;
    for option in options {
        if let Some(name) = waiting.take() {
            if option.is_empty() || option.starts_with('-') {
                return Some(refused(name, NO_VALUE));
            }
            continue;
        }
        if WITH_VALUE.contains(&option) {
            waiting = Some(option);
        } else if let Some(why) = why_refused(option) {
            return Some(refused(option, why));
        }
    }
    waiting.map(|name| refused(name, NO_VALUE))
}

fn why_refused(option: &str) -> Option<&'static str> {
    if option.starts_with('@') {
        return Some(NESTED);
    }
    if !option.starts_with('-') {
        let lost = option.trim_start().starts_with('-');
        return Some(if lost { SPACE } else { NO_OPTION });
    }
    let name = option.split('=').next().unwrap_or(option);
    let before = |path: &&str| option.strip_prefix(*path);
    if CLASS_PATHS
        .iter()
        .filter_map(before)
        .any(|rest| rest.is_empty() || rest.starts_with(['=', ' ']))
    {
        return Some(CLASS_PATH);
    }
    if PROGRAMS.contains(&name) {
        return Some(PROGRAM);
    }
    if let Some(rest) = option.strip_prefix("-XX:") {
        // Java also takes text behind a colon: `OnOutOfMemoryError:=…`.
        if rest.starts_with("OnOutOfMemoryError=") || rest.starts_with("OnOutOfMemoryError:") {
            return Some(COMMAND);
        }
        match rest {
            "+CrashOnOutOfMemoryError" => return Some(CRASH),
            "-ExitOnOutOfMemoryError" => return Some(STAYS),
            _ => {}
        }
    }
    if holds_an_option(option) {
        return Some(TWO);
    }
    let end = name.find(char::is_whitespace).is_some() || option.ends_with(char::is_whitespace);
    (end && !option.starts_with("-D")).then_some(SPACE)
}

/// Whether a word behind white space is an option of Java. A command as a value may have options of its own, such as
/// `-9`.
fn holds_an_option(option: &str) -> bool {
    let mut words = option.split_whitespace().skip(1);
    words.any(|word| {
        let long = word
            .strip_prefix("--")
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
        let short = ["-X", "-D", "-javaagent:", "-agentlib:", "-agentpath:", "-verbose"];
        long && !option.starts_with("-D") && !option.starts_with("-XX:On")
            || ["-server", "-client", "-ea", "-esa", "-da", "-dsa"].contains(&word)
            || short
                .iter()
                .any(|p| word.strip_prefix(p).is_some_and(|rest| !rest.is_empty()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(options: &[&str]) -> Option<(String, &'static str)> {
        first_refused(options.iter().copied()).map(|refused| (refused.name, refused.why))
    }

    #[test]
    fn what_java_takes_is_taken() {
        for fine in [
            &["-server", "-Xmx1g", "-XX:+UseG1GC", "-Dx=a b"][..],
            &["--add-opens", "java.base/java.lang=ALL-UNNAMED", "-ea"],
            &["--add-opens=java.base/java.lang=ALL-UNNAMED"],
            &["-XX:OnError=gdb - %p --batch", "-XX:HeapDumpPath=/tmp/a b"],
            &[
                "-XX:+ExitOnOutOfMemoryError",
                "-XX:+HeapDumpOnOutOfMemoryError",
                "-XX:-CrashOnOutOfMemoryError",
            ],
            &["-Dcommand=kill -9 %p", "-Dempty=", "-Dlines=a\nb", "-Dend=a "],
            &["-showversion", "-XshowSettings:vm", "-Xlog:gc*:stdout:time,level"],
        ] {
            assert_eq!(why(fine), None);
        }
    }

    #[test]
    fn two_options_in_one_item_are_refused_by_name() {
        for two in [
            "-server -XX:+UseG1GC -XX:MaxGCPauseMillis=200",
            "-Xmx1g -Xms1g",
            "-Xmx1g\n-Xms1g\n",
            "-XX:+UseG1GC  -server",
            "-Da=b -Dc=secret",
            "-Da=b -Xmx1g",
            "--add-opens=a/b=c --add-opens=d/e=f -ea",
        ] {
            let (name, reason) = why(&["-ea", two]).unwrap();
            assert_eq!(reason, TWO, "{two}");
            let first = two.split([' ', '\n', '=']).next().unwrap();
            assert!(name.starts_with(first) && !name.contains("secret"), "{name}");
        }
        for space in ["-Xmx1g ", " -Xmx1g", "-Xmx1g\n", "-XX:+UseG1GC # a comment"] {
            assert_eq!(why(&[space]).map(|(_, why)| why), Some(SPACE), "{space:?}");
        }
        for none in ["", "Xmx1g", "java", "@file"] {
            assert!(why(&[none]).is_some(), "{none:?}");
        }
        assert_eq!(
            why(&["--add-opens", "-Xmx1g"]),
            Some(("--add-opens".into(), NO_VALUE))
        );
        assert_eq!(
            why(&["-ea", "--add-opens"]),
            Some(("--add-opens".into(), NO_VALUE))
        );
    }

    #[test]
    fn what_hides_that_memory_ran_out_is_refused() {
        for (option, reason) in [
            ("-XX:OnOutOfMemoryError=kill -9 %p", COMMAND),
            ("-XX:OnOutOfMemoryError:=kill -9 %p", COMMAND),
            ("-XX:OnOutOfMemoryError=touch /tmp/x", COMMAND),
            ("-XX:+CrashOnOutOfMemoryError", CRASH),
            ("-XX:-ExitOnOutOfMemoryError", STAYS),
        ] {
            let (name, said) = why(&[option]).unwrap();
            assert_eq!(said, reason, "{option}");
            assert!(!name.contains("kill"), "{name}");
        }
    }

    #[test]
    fn what_starts_something_else_is_refused() {
        for path in ["-cp", "-classpath", "--class-path=/conf", "-cp /etc/hadoop/conf"] {
            assert_eq!(why(&[path]).map(|(_, why)| why), Some(CLASS_PATH), "{path}");
        }
        for program in ["-jar", "-version", "--list-modules", "--module=a/b", "-?"] {
            assert_eq!(why(&[program]).map(|(_, why)| why), Some(PROGRAM), "{program}");
        }
    }
}
