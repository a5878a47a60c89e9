# How a story says what it holds: one line for each promise, and what was seen where
# one is broken, which ends the story.

# expect SENTENCE COMMAND…: the command succeeds.
expect() {
    local sentence=$1
    shift
    seen="no command"
    [ $# -gt 0 ] && seen=$("$@" 2>&1) || broken "$sentence" "$@"
    kept "$sentence"
}

# eventually SECONDS SENTENCE COMMAND…: the command succeeds before so many seconds are
# over. The processor is emulated: they are many, and say nothing about ebb's speed.
eventually() {
    local deadline=$((SECONDS + $1)) sentence=$2
    shift 2
    until seen=$("$@" 2>&1); do
        [ $SECONDS -lt $deadline ] || broken "$sentence" "$@"
        sleep 0.2
    done
    kept "$sentence"
}

kept() {
    printf 'kept    %4d s  %s\n' "$SECONDS" "$1"
}

broken() {
    verdict="broken: $1"
    printf 'BROKEN  %4d s  %s\n' "$SECONDS" "$1"
    printf '%s\n' "    $ ${*:2}" "${seen//$'\n'/$'\n'    }" "    ebb's log:"
    journalctl --unit ebb --unit ebb-bpffs --lines 60 --no-pager --output cat | sed 's/^/    /'
    exit 1
}

# not COMMAND…: it fails.
not() {
    ! "$@"
}

# exits STATUS COMMAND…: with that status.
exits() {
    local status=0
    "${@:2}" || status=$?
    [ $status -eq "$1" ] || { echo "exit status $status instead of $1"; false; }
}

# says TEXT COMMAND…: the text is in what the command prints, whatever its exit status.
says() {
    local said
    said=$("${@:2}" 2>&1)
    printf '%s\n' "$said"
    [[ $said == *"$1"* ]]
}

# property NAME VALUE UNIT: what systemd says of a unit.
property() {
    local value
    value=$(systemctl show --property "$1" --value "$3")
    echo "$1=$value"
    [ "$value" = "$2" ]
}
