#!/bin/sh
# Makes one cluster of the nodes whose ports are given, unless they are one already, waits until all of them agree, and
# stays, so that the container's health (the file /data/formed, and what the nodes say) is the cluster's.
set -eu

seconds_max=60
deadline=$(($(date +%s) + seconds_max))
nodes=''
for port in "$@"; do nodes="$nodes 127.0.0.1:$port"; done

await() {
    until "$@"; do
        if [ "$(date +%s)" -ge "$deadline" ]; then
            echo "the cluster is not up after $seconds_max s (waited for: $*); a fresh start: docker compose down --volumes" >&2
            exit 1
        fi
        sleep 0.2
    done
}

says() { # port, expected line, command
    port=$1 expected=$2
    shift 2
    redis-cli -h 127.0.0.1 -p "$port" "$@" 2>/dev/null | tr -d '\r' | grep -qx "$expected"
}

knows_replicas() { # port, how many
    [ "$(redis-cli -h 127.0.0.1 -p "$1" cluster nodes 2>/dev/null | grep -c slave)" -eq "$2" ]
}

follows() { says "$1" 'role:master' info replication || says "$1" 'master_link_status:up' info replication; }

for port in "$@"; do await says "$port" PONG ping; done
if ! says "$1" 'cluster_slots_assigned:16384' cluster info; then
    # shellcheck disable=SC2086 # one word a node
    redis-cli --cluster create $nodes --cluster-replicas 1 --cluster-yes
fi
for port in "$@"; do
    await says "$port" 'cluster_state:ok' cluster info
    await says "$port" "cluster_known_nodes:$#" cluster info
    await knows_replicas "$port" "$(($# / 2))"
    await follows "$port"
done
touch /data/formed
echo "the cluster is up:$nodes"
exec sleep infinity
