#!/bin/sh
# The demo's gateway: GATEWAY_ACCOUNTS invented accounts, some of them siphoning, whose requests happen now. The first run sends
# two days that lie behind at once, so that there is something to see; then everything comes when it happens, for ever.
set -eu
folder=/var/lib/siphonwatch
start=2d
[ ! -e "$folder/began" ] || start=now
# A shell that waits takes a signal only when what it waits for is in the background.
run() {
    /opt/siphonwatch/entrypoint.sh "$@" &
    child=$!
    wait "$child"
}
child=
trap '[ -z "$child" ] || { kill "$child"; wait "$child"; } || true; exit 0' TERM INT
while :; do
    # Another seed gives other accounts: the last ones' campaigns are over when their days are.
    run scenario "$folder/traffic" --kind llm --accounts "$GATEWAY_ACCOUNTS" --days 3 \
        --seed "${GATEWAY_SEED:-$(date +%s)}"
    date >"$folder/began"
    run produce "$folder/traffic/litellm.ndjson" --start "$start"
    start=now
done
