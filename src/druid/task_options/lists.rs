//! The lists: which options and properties are refused, why, and which are known to be harmless (data only).
//!
//! The options are those of Java 17, 21 and 25 (`java -X`, `java --help`, `-XX:+PrintFlagsFinal` with the diagnostic
//! and experimental options unlocked), the properties those of Druid 33 (`org.apache.druid.guice`, its configuration
//! reference).

pub(super) const READS: &str = "reads a file, whose content may appear in the log";
pub(super) const LOADS: &str = "loads code";
pub(super) const REPLACES: &str = "makes Java start another program than the peon";
pub(super) const RUNS: &str = "runs a command";
pub(super) const WRITES: &str = "writes a file outside of /tmp and /peon/tmp";
pub(super) const LISTENS: &str = "lets other processes attach to the JVM";
pub(super) const PRINTS: &str = "logs data, requests or configuration, passwords included";
pub(super) const REDIRECTS: &str = "changes what the peon connects to or trusts";
pub(super) const HIDES: &str = "hides that the JVM ran out of memory, so that the task would not be \
    retried with more";
pub(super) const RESOLVES: &str = "makes the peon look up a variable, a file or a password";
pub(super) const JAVAS_OWN: &str = "is one of Java's own properties and not known to be harmless";
pub(super) const UNKNOWN: &str = "is not known to be harmless";
pub(super) const NO_OPTION: &str = "is not a Java option: give each option as an item of its own";
pub(super) const NO_VALUE: &str = "needs a value, in the next item of the same list";
pub(super) const CONTROL: &str = "contains a control character";
pub(super) const NOT_SIZING: &str = "does not size the JVM";

/// Options that are refused, for the reason that they are; what is in no list is [`UNKNOWN`]. Matched by prefix, in this
/// order, in lower case.
pub(super) const OPTIONS: [(&str, &str); 37] = [
    ("@", READS),
    ("-javaagent", LOADS),
    ("-agentlib", LOADS),
    ("-agentpath", LOADS),
    ("-xrun", LOADS),
    ("-xdebug", LISTENS),
    ("-cp", LOADS),
    ("-classpath", LOADS),
    ("--class-path", LOADS),
    ("-p", LOADS),
    ("--module-path", LOADS),
    ("--upgrade-module-path", LOADS),
    ("--patch-module", LOADS),
    ("-xbootclasspath", LOADS),
    ("-jar", REPLACES),
    ("-m", REPLACES),
    ("--module", REPLACES),
    ("--source", REPLACES),
    ("-d", REPLACES),
    ("-version", REPLACES),
    ("--version", REPLACES),
    ("-splash", READS),
    ("-xx:vmoptionsfile", READS),
    ("-xx:flags", READS),
    ("-xx:onerror", RUNS),
    ("-xx:onoutofmemoryerror", RUNS),
    ("-xx:compile", READS),
    ("-xx:replaydatafile", READS),
    ("-xx:inlinedatafile", READS),
    ("-xx:extrasharedclasslistfile", READS),
    ("-xx:shared", LOADS),
    ("-xx:archive", WRITES),
    ("-xx:dump", WRITES),
    ("-xx:aot", LOADS),
    ("-xx:startflightrecording", WRITES),
    ("-xx:flightrecorderoptions", WRITES),
    ("-xx:jvmci", LOADS),
];

/// `-XX` switches that are refused; those with `JVMCI` in their name load a compiler.
pub(super) const SWITCHES: [(&str, &str); 14] = [
    ("crashonoutofmemoryerror", HIDES),
    ("readvmoptionsfile", READS),
    ("managementserver", LISTENS),
    ("startattachlistener", LISTENS),
    ("enabledynamicagentloading", LOADS),
    ("logvmoutput", WRITES),
    ("logcompilation", WRITES),
    ("flightrecorder", WRITES),
    ("dumpsharedspaces", WRITES),
    ("dynamicdumpsharedspaces", WRITES),
    ("recorddynamicdumpinfo", WRITES),
    ("autocreatesharedarchive", WRITES),
    ("perfdatasavetofile", WRITES),
    ("dumpperfmapatexit", WRITES),
];

/// `-XX` options that take a word and do no harm.
pub(super) const WORDS: [&str; 6] = [
    "NativeMemoryTracking",
    "ShenandoahGCHeuristics",
    "ShenandoahGCMode",
    "MetaspaceReclaimPolicy",
    "CompilationMode",
    "VerifyGCType",
];
/// `-XX` options that take text, of which a number is one; besides those that end with `File`.
pub(super) const TEXTS: [&str; 5] = [
    "Flags",
    "OnError",
    "OnOutOfMemoryError",
    "StartFlightRecording",
    "FlightRecorderOptions",
];
/// `-XX` options that name a file, which may be one of the pod's scratch space.
pub(super) const FILES: [&str; 2] = ["HeapDumpPath", "ErrorFile"];

/// Options without a value, or whose value does no harm, whole.
pub(super) const HARMLESS: [&str; 25] = [
    "-server",
    "-client",
    "-Xint",
    "-Xmixed",
    "-Xcomp",
    "-Xbatch",
    "-Xrs",
    "-Xnoclassgc",
    "-Xfuture",
    "-Xshare:auto",
    "-Xshare:on",
    "-Xshare:off",
    "-Xcheck:jni",
    "-Xinternalversion",
    "-XshowSettings:vm",
    "-verbose",
    "-verbose:gc",
    "-verbose:class",
    "-verbose:module",
    "-verbose:jni",
    "-showversion",
    "--show-version",
    "-esa",
    "-dsa",
    "--enable-preview",
];
/// Options whose value does no harm, by their beginning.
pub(super) const HARMLESS_BEGINNINGS: [&str; 9] = [
    "-ea:",
    "-enableassertions:",
    "-da:",
    "-disableassertions:",
    "-Xverify:",
    "--illegal-access=",
    "--sun-misc-unsafe-memory-access=",
    "--illegal-native-access=",
    "--enable-final-field-mutation=",
];
/// Options about modules that are there already; their value follows `=`, or is the next argument.
pub(super) const MODULES: [&str; 6] = [
    "--add-opens",
    "--add-exports",
    "--add-reads",
    "--add-modules",
    "--limit-modules",
    "--enable-native-access",
];
/// Sizes, each followed by its value. One that is no size is refused where the JVM is sized.
pub(super) const SIZES: [&str; 10] = [
    "-Xmx",
    "-Xms",
    "-Xmn",
    "-Xss",
    "-Xmaxjitcodesize",
    "-XX:MaxHeapSize=",
    "-XX:InitialHeapSize=",
    "-XX:MinHeapSize=",
    "-XX:MaxRAMPercentage=",
    "-XX:MaxDirectMemorySize=",
];

/// Properties that are refused, by their beginning, in lower case. One that ends with a dot also stands for the name
/// without it.
pub(super) const PROPERTIES: [(&str, &str); 47] = [
    ("druid.properties.file", READS),
    ("druid.startup.logging.", PRINTS),
    ("druid.extensions.", LOADS),
    ("druid.javascript.", LOADS),
    ("druid.indexer.task.defaulthadoopcoordinates", LOADS),
    ("druid.auth.", REDIRECTS),
    ("druid.escalator.", REDIRECTS),
    ("druid.client.https.", REDIRECTS),
    ("druid.server.https.", REDIRECTS),
    ("druid.request.logging.", WRITES),
    ("druid.access.", REDIRECTS),
    ("druid.ingestion.", READS),
    ("druid.zk.", REDIRECTS),
    ("log4j", READS),
    ("logback", READS),
    ("java.util.logging.", READS),
    ("org.apache.logging.", READS),
    ("org.apache.commons.logging.", PRINTS),
    ("org.slf4j.", PRINTS),
    ("slf4j.", LOADS),
    ("org.apache.http.wire", PRINTS),
    ("httpclient.wire", PRINTS),
    ("javax.net.debug", PRINTS),
    ("jdk.httpclient.", PRINTS),
    ("jdk.internal.httpclient.", PRINTS),
    ("java.system.class.loader", LOADS),
    ("java.class.path", LOADS),
    ("java.library.path", LOADS),
    ("java.security.", REDIRECTS),
    ("javax.net.ssl.", REDIRECTS),
    ("java.rmi.", LISTENS),
    ("com.sun.management.", LISTENS),
    ("jdk.module.", LOADS),
    ("jna.", LOADS),
    ("jffi.", LOADS),
    ("jnr.", LOADS),
    ("zstdnativepath", LOADS),
    ("zstdtempfolder", LOADS),
    ("org.xerial.", LOADS),
    ("io.netty.native.", LOADS),
    ("polyglot.", LOADS),
    ("hadoop.home.dir", LOADS),
    ("http.", REDIRECTS),
    ("https.", REDIRECTS),
    ("ftp.", REDIRECTS),
    ("socks", REDIRECTS),
    ("zookeeper.", REDIRECTS),
];
/// Beginnings of Java's own properties, of which all are refused that are not in [`OF_JAVA`].
pub(super) const JAVAS: [&str; 7] = [
    "java.",
    "javax.",
    "jdk.",
    "sun.",
    "com.sun.",
    "com.ibm.",
    "com.azul.",
];
/// Java's own properties that do no harm.
pub(super) const OF_JAVA: [&str; 8] = [
    "java.io.tmpdir",
    "java.awt.headless",
    "java.net.preferIPv4Stack",
    "java.net.preferIPv6Addresses",
    "java.util.concurrent.ForkJoinPool.common.parallelism",
    "sun.net.inetaddr.ttl",
    "sun.jnu.encoding",
    "jdk.nio.maxCachedBufferSize",
];

/// How Java's own log goes where Druid's does: it stands in what Druid ships for its peons, and is taken exactly so.
pub(super) const LOG_MANAGER: &str = "java.util.logging.manager=org.apache.logging.log4j.jul.LogManager";

/// Properties by which a JVM and its buffers are sized, and two that every peon is given.
pub(super) const SIZING_PROPERTIES: [&str; 4] = [
    "druid.server.http.numThreads",
    "druid.indexer.task.gracefulShutdownTimeout",
    "user.timezone",
    "file.encoding",
];
/// Switches that belong to the collector and its memory, besides `Use…`.
pub(super) const SIZING_SWITCHES: [&str; 12] = [
    "AlwaysPreTouch",
    "DisableExplicitGC",
    "ExitOnOutOfMemoryError",
    "ExplicitGCInvokesConcurrent",
    "HeapDumpOnOutOfMemoryError",
    "ParallelRefProcEnabled",
    "PerfDisableSharedMem",
    "TieredCompilation",
    "UnlockDiagnosticVMOptions",
    "UnlockExperimentalVMOptions",
    "ZGenerational",
    "ZUncommit",
];
