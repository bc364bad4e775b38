# First process of a node's own process, mount and network namespaces; those of the first node are the whole
# cluster's, and further nodes' are inside them. It prepares what the programs expect of a machine, touches a
# file to say so, and then reaps orphans for ever.
# The machine itself is not changed: all of this vanishes with the namespaces.
#
# Variables: RUN (the node's folder), NODE_IP, CGROUP.
set -eu

# Places that programs write to whatever they are told elsewhere.
mount -t tmpfs tmpfs /run
mkdir -p "$RUN/var-log" "$RUN/cni/state" "$RUN/kernel"
mount --bind "$RUN/var-log" /var/log
[ -d /var/lib/cni ] || touch "$RUN/made-var-lib-cni"
mkdir -p /var/lib/cni
mount --bind "$RUN/cni/state" /var/lib/cni

# kubelet insists on these kernel settings, which have no namespace. It reads files of ours instead.
setting() {
    name=$(printf %s "$1" | tr / .)
    echo "$2" > "$RUN/kernel/$name"
    if [ -e "/proc/sys/$1" ]; then mount --bind "$RUN/kernel/$name" "/proc/sys/$1"; fi
}
setting vm/overcommit_memory 1
setting vm/panic_on_oom 0
setting kernel/panic 10
setting kernel/panic_on_oops 1
setting kernel/keys/root_maxkeys 1000000
setting kernel/keys/root_maxbytes 25000000

# The pods' bridge. The cable to the machine, or to the other node, is laid from outside.
ip link set lo up
ip link add peon0 type bridge
ip addr add "$NODE_IP/24" dev peon0
ip link set peon0 up
echo 1 > /proc/sys/net/ipv4/ip_forward
if [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]; then
    echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables
fi

# The pods' cgroup in every controller. With cgroup v1, cpuset does not inherit its masks by itself.
for controller in /sys/fs/cgroup/*/; do
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then controller=/sys/fs/cgroup/; fi
    mkdir -p "$controller$CGROUP"
    for mask in cpuset.cpus cpuset.mems; do
        if [ -e "$controller$mask" ] && [ ! -e /sys/fs/cgroup/cgroup.controllers ]; then
            cat "$controller$mask" > "$controller$CGROUP/$mask"
        fi
    done
done

touch "$RUN/sandbox-ready"
sleep infinity &
wait
