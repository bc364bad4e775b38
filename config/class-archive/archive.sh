#!/bin/bash
# Writes a class-data archive with what a peon loads for a small ingestion: JVMs with the same class path that name it
# (-XX:SharedArchiveFile) start with two seconds of a core less. The ingestion is a real one: a ZooKeeper and an overlord
# run while the image is built, on loopback, and the overlord forks the peon.
#   archive.sh FILE [CLASS_PATH]
# It needs what Druid's public image has: bash, java, and the programs of busybox.
set -euo pipefail
archive=$1
class_path=${2:-/opt/druid/lib/*}
work=$(mktemp -d)
# A Druid whose ZooKeeper has ended does not end by itself.
trap 'kill -KILL $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT
cd "$work"

# Druid wants an address of the machine's name, which is not known where an image is built.
echo "127.0.0.1 localhost $HOSTNAME" >hosts
zookeeper=42181 derby=42527 overlord=42090
java=(java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Duser.timezone=UTC -Dfile.encoding=UTF-8 "-Djava.io.tmpdir=$work"
    "-Djdk.net.hosts.file=$work/hosts"
    -Djava.util.logging.manager=org.apache.logging.log4j.jul.LogManager
    --add-exports=java.base/jdk.internal.misc=ALL-UNNAMED --add-exports=java.base/jdk.internal.ref=ALL-UNNAMED
    --add-opens=java.base/java.nio=ALL-UNNAMED --add-opens=java.base/sun.nio.ch=ALL-UNNAMED
    --add-opens=java.base/jdk.internal.ref=ALL-UNNAMED --add-opens=java.base/java.io=ALL-UNNAMED
    --add-opens=java.base/java.lang=ALL-UNNAMED --add-opens=jdk.management/com.sun.management.internal=ALL-UNNAMED)
{
    echo "dataDir=$work/zookeeper"
    echo "clientPort=$zookeeper"
    echo "clientPortAddress=127.0.0.1"
    echo "admin.enableServer=false"
} >zoo.cfg
"${java[@]}" -cp "$class_path" org.apache.zookeeper.server.ZooKeeperServerMain zoo.cfg >zookeeper.log 2>&1 &

# Coordinator and overlord in one process: it is the coordinator that starts the metadata store.
# The peon has the overlord's options: an archive is dumped with those that it will be used with.
peon=$(printf '"%s",' "${java[@]:1}" "-XX:ArchiveClassesAtExit=$archive")
"${java[@]}" -Xmx256m \
    -Ddruid.host=127.0.0.1 -Ddruid.plaintextPort=$overlord -Ddruid.service=druid/coordinator \
    -Ddruid.coordinator.asOverlord.enabled=true -Ddruid.coordinator.asOverlord.overlordService=druid/overlord \
    -Ddruid.extensions.loadList=[] -Ddruid.emitter=noop -Ddruid.zk.service.host=127.0.0.1:$zookeeper \
    -Ddruid.metadata.storage.type=derby -Ddruid.metadata.storage.connector.host=127.0.0.1 \
    -Ddruid.metadata.storage.connector.port=$derby \
    "-Ddruid.metadata.storage.connector.connectURI=jdbc:derby://127.0.0.1:$derby/$work/metadata;create=true" \
    -Ddruid.storage.type=local "-Ddruid.storage.storageDirectory=$work/segments" \
    -Ddruid.indexer.logs.type=file "-Ddruid.indexer.logs.directory=$work/logs" \
    -Ddruid.indexer.queue.startDelay=PT0S -Ddruid.indexer.storage.type=metadata \
    -Ddruid.indexer.runner.type=local -Ddruid.indexer.runner.startPort=$((overlord + 1)) \
    "-Ddruid.indexer.runner.javaOptsArray=[${peon%,}]" "-Ddruid.indexer.task.baseTaskDir=$work/tasks" \
    -Ddruid.processing.buffer.sizeBytes=4MiB -Ddruid.processing.numThreads=1 -Ddruid.processing.numMergeBuffers=2 \
    -Ddruid.selectors.indexing.serviceName=druid/overlord -Ddruid.selectors.coordinator.serviceName=druid/overlord \
    -cp "$class_path" org.apache.druid.cli.Main server coordinator >overlord.log 2>&1 &

# Neither curl nor wget is in the image.
request() {
    local method=$1 path=$2 body=${3:-}
    exec 3<>"/dev/tcp/127.0.0.1/$overlord" || return 1
    printf '%s %s HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' \
        "$method" "$path" ${#body} "$body" >&3
    cat <&3
    exec 3>&-
}

failed() {
    echo "$1" >&2
    grep -h 'ERROR\|^Caused by' zookeeper.log overlord.log | tail -n 20 >&2
    exit 1
}

# until_answer SECONDS WANTED METHOD PATH [BODY]
until_answer() {
    local seconds=$1 wanted=$2 answer=
    shift 2
    for _ in $(seq $((seconds * 2))); do
        answer=$(request "$@" 2>/dev/null || true)
        [[ $answer == *$wanted* ]] && return
        sleep 0.5
    done
    failed "no $wanted within $seconds s, last: $answer"
}

task='{"type":"index_parallel","id":"archive","spec":{"dataSchema":{"dataSource":"archive",
 "timestampSpec":{"column":"ts","format":"iso"},"dimensionsSpec":{"dimensions":["page","user"]},
 "metricsSpec":[{"type":"count","name":"rows"},{"type":"longSum","name":"added","fieldName":"added"}],
 "granularitySpec":{"segmentGranularity":"DAY","queryGranularity":"HOUR","rollup":true}},
 "ioConfig":{"type":"index_parallel","inputFormat":{"type":"json"},"inputSource":{"type":"inline",
 "data":"{\"ts\":\"2024-01-01T00:00:00Z\",\"page\":\"home\",\"user\":\"ada\",\"added\":1}"}},
 "tuningConfig":{"type":"index_parallel"}}}'
until_answer 120 true GET /druid/indexer/v1/isLeader
until_answer 30 archive POST /druid/indexer/v1/task "$task"
until_answer 180 '"statusCode":"SUCCESS"' GET /druid/indexer/v1/task/archive/status

# One that does not fit would be ignored without a word.
java -XX:+UseSerialGC -Xshare:on "-XX:SharedArchiveFile=$archive" -cp "$class_path" \
    org.apache.druid.cli.Main version >/dev/null || failed "the archive cannot be used"
