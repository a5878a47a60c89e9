# The site that the host is in: a client, two servers, and links to them that ebb serves.
# All of them are namespaces of this host.
#
#     client 198.51.100.2 ── eth0 ┐      ┌ eth1 ── web-1 10.0.1.2
#                                 ├ host ┤
#         VIP 198.51.100.10       ┘      └ eth2 ── web-2 10.0.2.2

VIP=198.51.100.10

site_up() {
    plug client eth0 198.51.100.1 198.51.100.2
    plug web-1 eth1 10.0.1.1 10.0.1.2
    plug web-2 eth2 10.0.2.1 10.0.2.2
    serve web-1
    serve web-2
}

# plug WHO PORT OURS THEIRS
plug() {
    ip netns add "$1"
    ip link add "$2" type veth peer name eth0 netns "$1"
    # XDP reads packets as they are on the wire, and what it sends into a veth arrives
    # only if the other end polls, as it does with GRO.
    ethtool -K "$2" tx off >/dev/null
    ip netns exec "$1" ethtool -K eth0 tx off gro on >/dev/null
    ip address add "$3/24" dev "$2"
    ip link set "$2" up
    ip -n "$1" link set lo up
    ip -n "$1" address add "$4/24" dev eth0
    ip -n "$1" link set eth0 up
    ip -n "$1" route add default via "$3"
}

# A server that names itself, and has a file that takes 20 s to fetch.
serve() {
    mkdir -p /srv
    [ -e /srv/slow ] || head -c 400000 /dev/urandom >/srv/slow
    cat >"/etc/nginx/$1.conf" <<END
pid /run/$1.pid;
error_log /var/log/nginx/$1.log;
events {}
http {
    access_log off;
    server {
        listen 8080;
        location / { return 200 "$1\n"; }
        location /slow { root /srv; limit_rate 20k; }
    }
}
END
    ip netns exec "$1" nginx -c "/etc/nginx/$1.conf"
}

# The configuration for this site; what is given are lines for its top.
write_config() {
    write_config_of '"eth0", "eth1", "eth2"' 'packets.hook = "xdp"' "$@"
}

# The configuration for a site with these interfaces; more lines for its top may follow.
write_config_of() {
    local interfaces=$1
    shift
    cat >/etc/ebb/ebb.toml <<END
interfaces = [$interfaces]
manage_vips = true
$(printf '%s\n' "$@")

[[load_balancer]]
name = "web"
mode = "nat"
listeners = [{ protocol = "tcp", address = "$VIP", port = 80, backend_port = 8080 }]
backends = [{ id = "web-1", address = "10.0.1.2" }, { id = "web-2", address = "10.0.2.2" }]
[load_balancer.attributes]
connection_draining = { enabled = true, timeout = 300 }
[load_balancer.health_check]
target = "TCP:8080"
interval = 5
timeout = 4
END
}

# fetch PATH: from the VIP, as the client. A refusal may take its time: what the program
# sends back by the veth that it came by waits there for other packets.
fetch() {
    ip netns exec client curl --silent --show-error --fail \
        --connect-timeout 10 --max-time 60 "http://$VIP$1"
}

# answers SERVER: a new connection to the VIP reaches it.
answers() {
    [ "$(fetch /)" = "$1" ]
}

# Whether each of 20 new connections reaches this server.
only_answers() {
    local n
    for n in {1..20}; do
        says "$1" fetch / || return
    done
}

# unnoticed COMMAND…: while it runs, and for five seconds more, clients call one after
# the other and two have a long download; no call fails, and both files arrive whole.
unnoticed() {
    local calls=/run/calls failed=0 caller download downloads=() status=0
    : >$calls
    for download in 1 2; do
        fetch /slow >"/run/download-$download" &
        downloads+=($!)
    done
    while :; do fetch / || echo failed; done >$calls 2>&1 &
    caller=$!
    sleep 2
    "$@" || status=$?
    sleep 5
    kill $caller
    wait $caller 2>/dev/null
    for download in "${downloads[@]}"; do
        wait "$download" || failed=1
    done
    for download in 1 2; do
        cmp /srv/slow "/run/download-$download" || failed=1
    done
    echo "exit status $status, $(grep -c web $calls) calls answered, others:"
    grep -v '^web-[1-9]$' $calls && failed=1
    [ $failed = 0 ] && [ $status = 0 ]
}
