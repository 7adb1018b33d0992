#!/bin/sh
# The demo's gateway: GATEWAY_ACCOUNTS invented accounts, some of them siphoning, whose requests happen now. The first run sends
# two days that lie behind at once, so that there is something to see; then everything comes when it happens, for ever.
set -eu
folder=/var/lib/siphonwatch
start=2d
[ ! -e "$folder/began" ] || start=now
while :; do
    # Another seed gives other accounts: the last ones' campaigns are over when their days are.
    /opt/siphonwatch/entrypoint.sh scenario "$folder/traffic" --kind llm --accounts "$GATEWAY_ACCOUNTS" --days 3 \
        --seed "${GATEWAY_SEED:-$(date +%s)}"
    date >"$folder/began"
    /opt/siphonwatch/entrypoint.sh produce "$folder/traffic/litellm.ndjson" --start "$start"
    start=now
done
