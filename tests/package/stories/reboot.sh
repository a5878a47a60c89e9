# A host that restarts in the middle of a drain, whose interfaces come after the agent,
# and that loses power.

part_1() {
    apt-get install --yes /story/ebb.deb >/dev/null 2>&1
    site_up
    write_config
    expect "the service is enabled and starts" systemctl enable --now ebb
    eventually 60 "a client reaches web-1" answers web-1
    eventually 60 "a client reaches web-2" answers web-2
    fetch /slow >/dev/null 2>&1 &
    fetch /slow >/dev/null 2>&1 &
    eventually 20 "clients download from both" says "2 open" ebb status
    expect "web-1 drains for ten minutes at most" \
        says "draining" ebb backend deregister web web-1 --timeout 600
}

part_2() {
    eventually 60 "after a restart the agent runs before its interfaces are there" \
        says "eth0" ebb status
    expect "… which is no reason to start it again" property NRestarts 0 ebb
    expect "… is told by the status" says "missing" ebb status
    site_up
    eventually 60 "a client reaches web-2 when the interfaces are there" answers web-2
    expect "… by the program in the driver" says " xdp " ip link show eth0
    expect "the server that drained before the restart gets no new client" only_answers web-2
    eventually 600 "… and leaves at its deadline at the latest" not says web-1 ebb backend list web
    expect "a reload does not bring it back" systemctl reload ebb
    expect "… nor new clients to it" only_answers web-2
    expect "by hand it comes back" ebb backend register web web-1=10.0.1.2
    eventually 60 "… and a client reaches it" answers web-1
}

# Power goes when a change was acknowledged a moment ago.
restart() {
    if [ "$part" = 1 ]; then systemctl --no-block reboot; return; fi
    ebb backend deregister web web-2 >/dev/null && echo b >/proc/sysrq-trigger
}

part_3() {
    site_up
    eventually 60 "after a loss of power a client reaches web-1" answers web-1
    expect "what was acknowledged holds: web-2 gets no new client" only_answers web-1
}
