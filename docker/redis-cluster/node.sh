#!/bin/sh
# One node of the cluster, on port $PORT. All nodes share one network, so each needs a port of its own.
# Caches: nothing is written to disk but who is who in the cluster, and only what has a time to live is evicted.
# Without protected mode, since calls from the host come from the bridge; the ports are published on 127.0.0.1 only.
set -eu

exec docker-entrypoint.sh redis-server \
    --port "$PORT" --protected-mode no --save '' --appendonly no --maxmemory 256mb --maxmemory-policy volatile-lru \
    --cluster-enabled yes --cluster-config-file nodes.conf --cluster-node-timeout 2000 --cluster-announce-ip 127.0.0.1 \
    --repl-diskless-sync-delay 0
