use super::lists::{HIDES, LISTENS, PRINTS, REDIRECTS, REPLACES, RUNS};
use super::*;

fn why(option: &str, scope: Scope) -> Option<&'static str> {
    first_refused([option], scope).map(|r| r.why)
}

/// What size a JVM, and what users give besides, in the field's own notation.
#[test]
fn what_sizes_the_jvm_is_always_taken() {
    for option in [
        "-Xmx600m",
        "-Xms1G",
        "-Xmn100m",
        "-Xss512k",
        // What is no size is not refused here.
        "-Xmx",
        "-Xmxlots",
        "-XX:MaxRAMPercentage=half",
        "-server",
        "-XX:MaxDirectMemorySize=1g",
        "-XX:MaxRAMPercentage=50.0",
        "-XX:MaxHeapSize=512m",
        "-XX:ActiveProcessorCount=2",
        "-XX:MaxMetaspaceSize=256m",
        "-XX:+UseG1GC",
        "-XX:-UseSerialGC",
        "-XX:+UseZGC",
        "-XX:+ZGenerational",
        "-XX:MaxGCPauseMillis=200",
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:+UnlockDiagnosticVMOptions",
        "-XX:+AlwaysPreTouch",
        "-XX:TieredStopAtLevel=1",
        "-Ddruid.processing.numThreads=2",
        "-Ddruid.processing.buffer.sizeBytes=100MiB",
        "-Ddruid.processing.numMergeBuffers=2",
        "-Ddruid.processing.intermediaryData.storage.type=deepstore",
        "-Ddruid.server.http.numThreads=20",
        "-Ddruid.indexer.task.gracefulShutdownTimeout=PT5M",
        "-Duser.timezone=UTC",
        "-Dfile.encoding=UTF-8",
    ] {
        assert_eq!(why(option, Scope::Sizing), None, "{option}");
        assert_eq!(why(option, Scope::Harmless), None, "{option}");
    }
}

#[test]
fn what_does_no_harm_is_taken_where_more_than_sizes_may_be_given() {
    for option in [
        "-Dx=y",
        "-Dsquatted=true",
        "-Ddruid.segment.writeOutMediumFactory.type=onHeapMemory",
        "-Ddruid.monitoring.monitors=[\"org.apache.druid.java.util.metrics.JvmMonitor\"]",
        "-Djava.io.tmpdir=/peon/tmp/x",
        "-Djava.net.preferIPv4Stack=true",
        "-Dsun.net.inetaddr.ttl=30",
        "-Xlog:gc*",
        "-Xlog:gc*:stdout:time",
        "-Xlog:gc:file=/peon/tmp/gc-%p.log",
        "-Xlog",
        "-verbose:gc",
        "-Xshare:auto",
        "-ea",
        "-ea:org.apache.druid...",
        "--add-opens=java.base/java.nio=ALL-UNNAMED",
        "--add-exports=java.base/jdk.internal.misc=ALL-UNNAMED",
        "--add-modules=jdk.incubator.vector",
        "--enable-native-access=ALL-UNNAMED",
        "-XX:NativeMemoryTracking=summary",
        "-XX:ShenandoahGCHeuristics=compact",
        "-XX:HeapDumpPath=/peon/tmp/heap.hprof",
        "-XX:HeapDumpPath=/peon/tmp",
        "-XX:HeapDumpPath=/tmp",
        "-XX:HeapDumpPath=/tmp/",
        "-XX:ErrorFile=/tmp/hs_err_%p.log",
        "-XX:+PrintFlagsFinal",
        "-XX:-EnableDynamicAgentLoading",
        "-XX:-UsePerfData",
    ] {
        assert_eq!(why(option, Scope::Harmless), None, "{option}");
    }
    for option in [
        "-Dx=y",
        "-Xlog:gc*",
        "--add-opens=a/b=c",
        "-XX:+PrintFlagsFinal",
        "-Ddruid.segment.writeOutMediumFactory.type=onHeapMemory",
    ] {
        assert_eq!(why(option, Scope::Sizing), Some(NOT_SIZING), "{option}");
    }
}

#[test]
fn what_does_harm_is_refused_and_the_reason_is_said() {
    for (option, reason) in [
        // Files that are read into options, and printed where they are none.
        ("-XX:VMOptionsFile=/peon-properties/runtime.properties", READS),
        ("-XX:VMOptionsFile:=/peon-properties/runtime.properties", READS),
        ("-XX:vmoptionsfile=/x", READS),
        ("-XX:Flags=/peon-properties/runtime.properties", READS),
        ("-XX:Flags=1", READS),
        ("-XX:VMOptionsFile=1", READS),
        ("-XX:OnError=1", RUNS),
        ("-XX:FlightRecorderOptions=1", WRITES),
        // Text may follow a colon, and a number stand at its end.
        ("-XX:StartFlightRecording:filename=1", WRITES),
        ("-XX:StartFlightRecording:maxsize=1g", WRITES),
        ("-XX:FlightRecorderOptions:repository=1", WRITES),
        ("-XX:OnError:=1", RUNS),
        ("-XX:OnOutOfMemoryError:=1", RUNS),
        ("-XX:VMOptionsFile:=1", READS),
        ("-XX:Flags:=1", READS),
        ("-XX:=1", UNKNOWN),
        ("-XX:Max HeapSize=1", NO_OPTION),
        ("-XX:+ReadVMOptionsFile", READS),
        (
            "-XX:CompileCommandFile=/peon-properties/runtime.properties",
            READS,
        ),
        ("-XX:CompilerDirectivesFile=/x", READS),
        ("-XX:CompileCommand=quiet", READS),
        ("-XX:ReplayDataFile=/x", READS),
        ("-XX:ExtraSharedClassListFile=/x", READS),
        ("@/peon-properties/runtime.properties", READS),
        ("-splash:/x", READS),
        // Code.
        ("-javaagent:/x.jar", LOADS),
        (
            "-agentlib:jdwp=transport=dt_socket,server=y,address=*:5005",
            LOADS,
        ),
        ("-agentpath:/x.so", LOADS),
        ("-Xrunjdwp:transport=dt_socket", LOADS),
        ("-cp", LOADS),
        ("-classpath", LOADS),
        ("--class-path=/x", LOADS),
        ("-p", LOADS),
        ("--module-path=/x", LOADS),
        ("--upgrade-module-path=/x", LOADS),
        ("--patch-module=java.base=/x", LOADS),
        ("-Xbootclasspath/a:/x", LOADS),
        ("-XX:SharedArchiveFile=/x", LOADS),
        ("-XX:AOTCache=/x", LOADS),
        ("-XX:JVMCILibPath=/x", LOADS),
        ("-XX:+EnableJVMCI", LOADS),
        ("-XX:+EnableDynamicAgentLoading", LOADS),
        // Memory that runs out, told as a death without a cause.
        ("-XX:+CrashOnOutOfMemoryError", HIDES),
        // Something else than the peon.
        ("-jar", REPLACES),
        ("-m", REPLACES),
        ("--module=a/b", REPLACES),
        ("--source=17", REPLACES),
        ("-version", REPLACES),
        ("org.example.Main", NO_OPTION),
        ("", NO_OPTION),
        (" -Xmx1g", NO_OPTION),
        // Commands, files, ports.
        ("-XX:OnError=cat /peon-properties/runtime.properties", RUNS),
        ("-XX:OnOutOfMemoryError=kill -9 %p", RUNS),
        ("-XX:ErrorFile=/var/lib/x", WRITES),
        ("-XX:HeapDumpPath=/mnt/shared/x", WRITES),
        ("-XX:HeapDumpPath=/tmp/../mnt/x", WRITES),
        ("-XX:HeapDumpPath=/tmpx", WRITES),
        ("-XX:HeapDumpPath=/peon", WRITES),
        ("-XX:StartFlightRecording=filename=/mnt/x", WRITES),
        ("-XX:ArchiveClassesAtExit=/mnt/x", WRITES),
        ("-XX:+AutoCreateSharedArchive", WRITES),
        ("-Xlog:gc:file=/mnt/x", WRITES),
        ("-Xlog:gc:/mnt/x", WRITES),
        ("-Xlog:gc:\"/mnt/x\"", WRITES),
        ("-Xloggc:/mnt/x", WRITES),
        ("-XX:+ManagementServer", LISTENS),
        ("-Xdebug", LISTENS),
        // Unknown, which a later Java may know.
        ("-XX:LogFile=/x", UNKNOWN),
        ("-XX:TraceJVMTI=x", UNKNOWN),
        ("-XX:NativeMemoryTracking=/x", UNKNOWN),
        ("-XX:SomethingNew=text", UNKNOWN),
        ("-XX:AllocateHeapAt=/mnt", UNKNOWN),
        ("-XX:", UNKNOWN),
        ("-XX:+Use G1GC -XX:Flags=x", NO_OPTION),
        ("-Xsomething", UNKNOWN),
        ("-J-Xmx1g", UNKNOWN),
        ("-Xshare:dump", UNKNOWN),
        ("-server -XX:+UseG1GC", NO_OPTION),
        ("-", UNKNOWN),
        ("-Xmx1g\0-XX:Flags=x", CONTROL),
        ("-Dx=a\nb", CONTROL),
    ] {
        assert_eq!(why(option, Scope::Harmless), Some(reason), "{option}");
        assert!(why(option, Scope::Sizing).is_some(), "{option}");
    }
}

/// What Druid ships for its peons (`druid.indexer.runner.javaOptsArray`), and what Java 17 needs besides.
#[test]
fn what_druid_gives_its_peons_is_taken() {
    let shipped = [
        "-server",
        "-Xms1g",
        "-Xmx1g",
        "-XX:MaxDirectMemorySize=1g",
        "-Duser.timezone=UTC",
        "-Dfile.encoding=UTF-8",
        "-XX:+ExitOnOutOfMemoryError",
        "-Djava.util.logging.manager=org.apache.logging.log4j.jul.LogManager",
    ];
    for scope in [Scope::Sizing, Scope::Harmless] {
        assert_eq!(first_refused(shipped, scope), None, "{scope:?}");
    }
    let usual = include_str!("../../e2e/druid/jvm.config");
    assert_eq!(first_refused(usual.lines(), Scope::Harmless), None);
    for option in usual.lines() {
        let sizes = !option.starts_with("--add") && !option.contains("tmpdir");
        let said = (!sizes).then_some(NOT_SIZING);
        assert_eq!(why(option, Scope::Sizing), said, "{option}");
    }
}

#[test]
fn properties_that_do_harm_are_refused() {
    for (definition, reason) in [
        ("druid.properties.file=/x", READS),
        ("druid.startup.logging.logProperties=true", PRINTS),
        ("druid.extensions.loadList=[\"x\"]", LOADS),
        ("druid.extensions.directory=/x", LOADS),
        ("druid.javascript.enabled=true", LOADS),
        ("druid.auth.authenticatorChain=[\"allowAll\"]", REDIRECTS),
        ("druid.client.https.validateHostnames=false", REDIRECTS),
        ("log4j.configurationFile=http://x", READS),
        ("log4j2.configurationFile=/x", READS),
        ("log4j2.formatMsgNoLookups=false", READS),
        ("LOG4J_CONFIGURATION_FILE=/x", READS),
        ("java.util.logging.config.file=/x", READS),
        ("java.util.logging.manager=org.example.Manager", READS),
        ("java.util.logging.manager=", READS),
        (
            "org.apache.commons.logging.simplelog.log.org.apache.http.wire=DEBUG",
            PRINTS,
        ),
        ("javax.net.debug=all", PRINTS),
        ("jdk.httpclient.HttpClient.log=all", PRINTS),
        ("java.system.class.loader=x", LOADS),
        ("java.class.path=/x", LOADS),
        ("java.security.properties=/x", REDIRECTS),
        ("java.security.policy", REDIRECTS),
        ("JAVA.SECURITY.policy=/x", REDIRECTS),
        ("javax.net.ssl.trustStore=/x", REDIRECTS),
        ("com.sun.management.jmxremote", LISTENS),
        ("com.sun.management.config.file=/x", LISTENS),
        ("com.sun.management.jmxremote.port=9000", LISTENS),
        ("java.rmi.server.codebase=http://x", LISTENS),
        ("jdk.module.path=/x", LOADS),
        ("jdk.serialFilter=*", JAVAS_OWN),
        ("sun.misc.URLClassPath.debug=1", JAVAS_OWN),
        ("java.net.useSystemProxies=true", JAVAS_OWN),
        ("jna.library.path=/x", LOADS),
        ("ZstdNativePath=/x", LOADS),
        ("ZstdTempFolder=/x", LOADS),
        ("jffi.boot.library.path=/x", LOADS),
        ("jnr.ffi.library.path=/x", LOADS),
        ("druid.access.jdbc.enforceAllowedProperties=false", REDIRECTS),
        ("druid.ingestion.http.allowedProtocols=[\"file\"]", READS),
        ("druid.zk.service.host=elsewhere", REDIRECTS),
        ("https.proxyHost=x", REDIRECTS),
        ("socksProxyHost=x", REDIRECTS),
        (
            "druid.emitter.http.recipientBaseUrl=http://x/${env:PASSWORD}",
            RESOLVES,
        ),
        (
            "druid.processing.tmp=${file:UTF-8:/peon-properties/runtime.properties}",
            RESOLVES,
        ),
        (
            "druid.s3.secretKey={\"type\":\"environment\",\"variable\":\"X\"}",
            RESOLVES,
        ),
        (
            "druid.s3.secretKey= {\"type\":\"environment\",\"variable\":\"X\"}",
            RESOLVES,
        ),
        ("druid.s3.secretKey.type=environment", RESOLVES),
        ("druid.s3.secretKey.variable=X", RESOLVES),
        ("=x", NO_OPTION),
        ("", NO_OPTION),
    ] {
        let option = format!("-D{definition}");
        assert_eq!(why(&option, Scope::Harmless), Some(reason), "{option}");
        assert!(why(&option, Scope::Sizing).is_some(), "{option}");
    }
}

/// Every option of Java 17 that takes text, as `-XX:+PrintFlagsFinal` says with everything unlocked.
#[test]
fn options_of_java_that_take_text_are_refused_but_for_the_listed() {
    for name in [
        "AbortVMOnException",
        "AbortVMOnExceptionMessage",
        "AllocateHeapAt",
        "ArchiveClassesAtExit",
        "CompilationMode",
        "CompileCommand",
        "CompileCommandFile",
        "CompileOnly",
        "CompilerDirectivesFile",
        "ControlIntrinsic",
        "DisableIntrinsic",
        "DumpLoadedClassList",
        "ErrorFile",
        "ExtraSharedClassListFile",
        "FlightRecorderOptions",
        "HeapDumpPath",
        "InlineDataFile",
        "JVMCILibDumpJNIConfig",
        "JVMCILibPath",
        "LogFile",
        "MetaspaceReclaimPolicy",
        "NativeMemoryTracking",
        "OnError",
        "OnOutOfMemoryError",
        "PauseAtStartupFile",
        "PerfDataSaveFile",
        "PrintAssemblyOptions",
        "ReplayDataFile",
        "SharedArchiveConfigFile",
        "SharedArchiveFile",
        "SharedClassListFile",
        "ShenandoahGCHeuristics",
        "ShenandoahGCMode",
        "StartFlightRecording",
        "TraceJVMTI",
        "VerifyGCType",
        "VerifySubSet",
        // Later ones.
        "AOTCache",
        "AOTConfiguration",
        "AOTMode",
        "CRaCCheckpointTo",
    ] {
        let word = why(&format!("-XX:{name}=word"), Scope::Harmless);
        assert_eq!(word.is_none(), WORDS.contains(&name), "{name}");
        let path = why(&format!("-XX:{name}=/etc/x"), Scope::Harmless);
        assert!(path.is_some(), "{name}");
        assert!(
            why(&format!("-XX:{name}=word"), Scope::Sizing).is_some(),
            "{name}"
        );
    }
}

/// An option that takes the next argument for its value could otherwise hide one, or swallow one that follows.
#[test]
fn values_of_their_own_are_names_of_modules() {
    let all = |options: &[&str]| first_refused(options.iter().copied(), Scope::Harmless);
    let opens = ["--add-opens", "java.base/java.lang=ALL-UNNAMED", "-Xmx1g"];
    assert_eq!(all(&opens), None);
    let said = |options: &[&str]| all(options).map(|r| (r.name, r.why));
    assert_eq!(
        said(&["--add-opens", "-Xmx1g"]),
        Some(("--add-opens".into(), NO_VALUE))
    );
    assert_eq!(
        said(&["-Xmx1g", "--add-opens"]),
        Some(("--add-opens".into(), NO_VALUE))
    );
    assert_eq!(
        said(&["--add-opens", "a=b", "Main"]),
        Some(("Main".into(), NO_OPTION))
    );
    assert_eq!(
        first_refused(opens, Scope::Sizing).map(|r| r.why),
        Some(NOT_SIZING)
    );
}

#[test]
fn the_name_is_said_and_never_the_value() {
    let name = |option: &str| first_refused([option], Scope::Sizing).map(|r| r.name);
    assert_eq!(
        name("-Ddruid.s3.secretKey=hunter2").as_deref(),
        Some("-Ddruid.s3.secretKey")
    );
    assert_eq!(name("-Da:b=hunter2").as_deref(), Some("-Da:b"));
    assert_eq!(name("-XX:OnError=echo hunter2").as_deref(), Some("-XX:OnError"));
    assert_eq!(name("-XX:Flags:=hunter2").as_deref(), Some("-XX:Flags"));
    assert_eq!(name("-javaagent:/x=hunter2").as_deref(), Some("-javaagent"));
    assert_eq!(
        name(&format!("-X{}", "x".repeat(500))).map(|n| n.len()),
        Some(100)
    );
    assert_eq!(name("-Dü\u{7}=1").as_deref(), Some("-Dü\u{fffd}"));
}
