# On the devices that hosts have: clients come by a bond, whose members fail; one server is
# behind a VLAN device, one behind a bridge, and one behind WireGuard. All of it takes frames of 9,000 bytes,
# nobody has set an offload, and the bond has filters of somebody else's.
#
#     client 198.51.100.2 ── br0 ┬ p0 ┐       ┌ eth1.10 ─── web-1 10.0.1.2
#                                └ p1 ┴ bond0 ┤
#                VIP 198.51.100.10           │ br1 ─ eth2 ─ web-2 10.0.2.2
#                                             └ wg0 ──────── web-3 10.0.3.2, by way of web-2's LAN

part_1() {
    expect "apt installs the package" apt-get install --yes /story/ebb.deb
    devices_up
    write_config_of '"bond0", "eth1.10", "br1", "wg0"'
    sed --in-place 's|\(^backends = \[\)|\1{ id = "web-3", address = "10.0.3.2" }, |' /etc/ebb/ebb.toml
    somebody_filters
    expect "doctor finds nothing in the way" ebb doctor
    expect "the service starts" systemctl start ebb
    serves
    survives
    leaves
}

devices_up() {
    ip netns add client
    ip link add bond0 type bond mode active-backup miimon 100
    ip -n client link add br0 type bridge
    local member
    for member in p0 p1; do
        ip link add $member mtu 9000 type veth peer name $member netns client
        ip link set $member master bond0
        ip -n client link set $member mtu 9000 master br0 up
    done
    ip -n client link set lo up
    ip -n client address add 198.51.100.2/24 dev br0
    ip -n client link set br0 mtu 9000 up
    ip address add 198.51.100.1/24 dev bond0
    ip link set bond0 mtu 9000 up

    behind web-1 eth1
    ip link add link eth1 name eth1.10 type vlan id 10
    ip address add 10.0.1.1/24 dev eth1.10
    ip link set eth1.10 up
    ip -n web-1 link add link eth0 name eth0.10 type vlan id 10
    addressed web-1 eth0.10 10.0.1.2 10.0.1.1

    behind web-2 eth2
    ip link add br1 type bridge
    ip link set eth2 master br1
    ip address add 10.0.2.1/24 dev br1
    ip link set br1 mtu 9000 up
    addressed web-2 eth0 10.0.2.2 10.0.2.1

    guarded

    serve web-1
    serve web-2
    serve web-3
}

# web-3, which is reached through WireGuard, over a link of its own.
guarded() {
    behind web-3 eth3
    ip address add 192.0.2.1/24 dev eth3
    addressed web-3 eth0 192.0.2.3 192.0.2.1
    ip -n web-3 route delete default
    local side
    for side in host web-3; do
        (umask 077 && wg genkey >/run/$side.key)
        wg pubkey </run/$side.key >/run/$side.pub
    done
    ip link add wg0 type wireguard
    wg set wg0 private-key /run/host.key listen-port 51820 \
        peer "$(cat /run/web-3.pub)" endpoint 192.0.2.3:51820 allowed-ips 10.0.3.2/32
    ip address add 10.0.3.1/24 dev wg0
    ip link set wg0 up
    ip -n web-3 link add wg0 type wireguard
    ip netns exec web-3 wg set wg0 private-key /run/web-3.key listen-port 51820 \
        peer "$(cat /run/host.pub)" endpoint 192.0.2.1:51820 allowed-ips 10.0.3.1/32
    ip -n web-3 address add 10.0.3.2/24 dev wg0
    ip -n web-3 link set wg0 up
}

# behind WHO PORT: a host at this port, without an address.
behind() {
    ip netns add "$1"
    ip link add "$2" mtu 9000 type veth peer name eth0 netns "$1"
    ip link set "$2" up
    ip -n "$1" link set lo up
    ip -n "$1" link set eth0 mtu 9000 up
}

# addressed WHO DEVICE ADDRESS GATEWAY
addressed() {
    ip -n "$1" link set "$2" up
    ip -n "$1" address add "$3/24" dev "$2"
    ip -n "$1" route add default via "$4"
}

# Before ebb's and behind it, and what they do is nothing.
somebody_filters() {
    tc qdisc add dev bond0 clsact
    local priority
    for priority in 7 60000; do
        tc filter add dev bond0 ingress priority $priority protocol all \
            u32 match u32 0 0 action continue
    done
}

serves() {
    for device in bond0 eth1.10 br1 wg0; do
        expect "$device is served at TC" says "$device (tc)" ebb status
    done
    eventually 60 "a client reaches web-1, behind the VLAN device" answers web-1
    eventually 60 "a client reaches web-2, behind the bridge" answers web-2
    eventually 60 "a client reaches web-3, behind WireGuard" answers web-3
    eventually 60 "so does a client on this host" host_reaches_it
}

host_reaches_it() {
    curl --silent --show-error --fail --max-time 10 "http://$VIP/"
}

survives() {
    expect "no client notices that the bond's first member fails" unnoticed fails p0
    expect "… the other has taken over" says "Slave: p1" cat /proc/net/bonding/bond0
    ip link set p0 up
    eventually 30 "… the first comes back" members_up 2
    expect "no client notices that the bond's other member fails" unnoticed fails p1
    expect "… the first has taken over" says "Slave: p0" cat /proc/net/bonding/bond0
    ip link set p1 up
    expect "no client notices a restart" unnoticed systemctl restart ebb
    expect "no client notices that the agent is killed" \
        unnoticed systemctl kill --signal KILL ebb
    eventually 120 "… it is started again" property ActiveState active ebb
    eventually 60 "… and answers" ebb status
    expect "the kernel goes on forwarding without an agent" \
        unnoticed systemctl stop ebb
    expect "the bond has the program once" programs_at bond0 1
}

fails() {
    ip link set "$1" down
}

members_up() {
    [ "$(grep -c 'MII Status: up' /proc/net/bonding/bond0)" -gt "$1" ]
}

# programs_at DEVICE COUNT: so many programs of ebb's are at TC there.
programs_at() {
    local there
    there=$(bpftool net show dev "$1")
    echo "$there"
    [ "$(grep -c ebb_tc <<<"$there")" -eq "$2" ]
}

leaves() {
    expect "apt removes the package" apt-get remove --yes ebb
    for device in bond0 eth1.10 br1 wg0 lo; do
        expect "no program is left on $device" programs_at $device 0
    done
    expect "no program is left in the kernel" not says "name ebb" bpftool prog list
    for priority in 7 60000; do
        expect "somebody else's filter of priority $priority is left" \
            says "pref $priority " tc filter show dev bond0 ingress
    done
}
