# From 0.1.0 to this version, and from this one to the next.

part_1() {
    site_up
    from_the_first
    to_the_next
}

# The tables of 0.1.0 are laid out in another way: its program goes on with them until
# somebody lets them go.
from_the_first() {
    apt-get install --yes /story/first.deb >/dev/null 2>&1
    write_config
    # 0.1.0 wants to enter the BPF file system by itself.
    chmod 0755 /sys/fs/bpf
    systemctl start ebb
    eventually 60 "0.1.0 serves" answers web-1
    eventually 60 "… by both servers" answers web-2
    ebb backend deregister web web-1 >/dev/null
    eventually 60 "… and one has left" only_answers web-2

    expect "the upgrade is noticed by no client" unnoticed apt-get install --yes /story/next.deb
    expect "the new agent does not start over the tables of 0.1.0" \
        property ExecMainStatus 78 ebb
    expect "… is not tried again" property ActiveState failed ebb
    expect "… says what to do" says "ebb unload" systemctl --lines 20 status ebb
    expect "what 0.1.0 left goes on forwarding" unnoticed true
    expect "what it left can be taken away" ebb unload
    expect "… and then the agent starts" systemctl start ebb
    eventually 60 "a client reaches web-2" answers web-2
    expect "the state of 0.1.0 holds: web-1 has left" only_answers web-2
    ebb backend register web web-1=10.0.1.2 >/dev/null
    eventually 60 "web-1 comes back" answers web-1
}

to_the_next() {
    local before
    before=$(systemctl show --property MainPID ebb)
    expect "an upgrade to the next version is noticed by no client" \
        unnoticed apt-get install --yes /story/after-next.deb
    expect "… and another agent runs" not says "$before" systemctl show --property MainPID ebb
    expect "… of the next version" says 99.1.0 dpkg-query --show ebb
    expect "… which answers" says "2 in service" ebb status
}
