# From `apt install` to `apt purge`: a day in the life of the package.

part_1() {
    installs
    says_what_cannot_work
    starts
    serves
    obeys
    stays
    goes
}

installs() {
    expect "apt installs the package" apt-get install --yes /story/ebb.deb
    expect "installing starts nothing" property ActiveState inactive ebb
    expect "installing enables nothing" says disabled systemctl is-enabled ebb
    expect "the agent's user may read the configuration, and nobody else" \
        says "640 root ebb" stat --format "%a %U %G" /etc/ebb/ebb.toml
}

says_what_cannot_work() {
    echo 'interfaces = "eth0"' >/etc/ebb/ebb.toml
    expect "a configuration that cannot work fails the start" not systemctl start ebb
    expect "… with an exit status of its own" property ExecMainStatus 78 ebb
    expect "… is not tried again" property ActiveState failed ebb
    expect "… was tried once" property NRestarts 0 ebb
    expect "… is told by systemctl status" says "interfaces" systemctl --lines 20 status ebb
    expect "… is told by doctor" exits 1 ebb doctor
    expect "… is told by check-config" exits 1 ebb check-config /etc/ebb/ebb.toml
}

starts() {
    site_up
    write_config
    expect "check-config calls the edited file good" ebb check-config /etc/ebb/ebb.toml
    expect "doctor finds nothing in the way" ebb doctor
    expect "the service starts" systemctl start ebb
    expect "it is exposed to little" little_exposed
    expect "only root may enter the BPF file system" \
        says "700 root" stat --format "%a %U" /sys/fs/bpf
    expect "the agent runs as its own user" \
        says "Uid:	$(id --user ebb)" cat "/proc/$(systemctl show --property MainPID --value ebb)/status"
    for port in eth0 eth1 eth2; do
        expect "the program is in the driver of $port" says " xdp " ip link show "$port"
    done
    expect "the VIP is on its interface" says "$VIP" ip address show eth0
}

# As the documents say: 2.4 at most.
little_exposed() {
    systemd-analyze security --threshold 24 --no-pager ebb | tail -n 1
    [ "${PIPESTATUS[0]}" -eq 0 ]
}

serves() {
    eventually 60 "a client reaches web-1" answers web-1
    eventually 60 "a client reaches web-2" answers web-2
    expect "root asks for the status" says "2 in service" ebb status
    useradd --groups ebb alice
    useradd mallory
    expect "so does a member of the group" says "2 in service" runuser --user alice ebb status
    expect "nobody else may, and is told why" says "group" runuser --user mallory ebb status
}

obeys() {
    sed --in-place 's/timeout = 300/timeout = 77/' /etc/ebb/ebb.toml
    expect "a reload is noticed by no client" unnoticed systemctl reload ebb
    eventually 30 "a reload puts the file in force" says 77 ebb attributes show web
    sed --in-place 's/timeout = 77/timeout = "soon"/' /etc/ebb/ebb.toml
    expect "a reload of a file with a fault is noticed by no client" \
        unnoticed systemctl reload ebb
    eventually 30 "… changes nothing" says 77 ebb attributes show web
    eventually 30 "… is told by the log" says "was not applied" journalctl --unit ebb --lines 5
    sed --in-place 's/timeout = "soon"/timeout = 77/' /etc/ebb/ebb.toml
    systemctl reload ebb

    expect "a server that is taken out is gone when its clients are" \
        unnoticed ebb backend deregister web web-1 --wait
    expect "… gets no new client" only_answers web-2
    expect "… comes back" ebb backend register web web-1=10.0.1.2
    eventually 60 "… and gets clients again" answers web-1
}

stays() {
    expect "a restart is noticed by no client" unnoticed systemctl restart ebb
    expect "an agent that is killed is noticed by no client" \
        unnoticed systemctl kill --signal KILL ebb
    eventually 120 "… is started again" property ActiveState active ebb
    eventually 60 "… and answers" ebb status
    expect "a stopped agent is noticed by no client" unnoticed systemctl stop ebb
    expect "the kernel goes on forwarding without an agent" unnoticed true
    expect "the agent comes back" systemctl start ebb
}

goes() {
    expect "apt removes the package" apt-get remove --yes ebb
    for port in eth0 eth1 eth2; do
        expect "no program is left on $port" not says xdp ip link show "$port"
    done
    expect "no program is left in the kernel" not says "name ebb" bpftool prog list
    expect "nothing is left on the BPF file system" [ ! -e /sys/fs/bpf/ebb ]
    expect "no VIP is left" not says "$VIP" ip address show
    expect "state and configuration are left" [ -e /var/lib/ebb/state.db -a -e /etc/ebb/ebb.toml ]
    expect "apt purges the package" apt-get purge --yes ebb
    expect "no state is left" [ ! -e /var/lib/ebb ]
    expect "no configuration is left" [ ! -e /etc/ebb ]
    expect "nothing runs as its user" not says / find /proc -maxdepth 1 -user ebb
    expect "no unit of it is left" not systemctl cat ebb ebb-bpffs
}
