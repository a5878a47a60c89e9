# Without the package: from the tarball under systemd, and in a container.

part_1() {
    site_up
    from_the_tarball
    in_a_container
}

# As docs/operating.md has it.
from_the_tarball() {
    expect "the tarball unpacks into the root" tar -xzf /story/ebb.tar.gz -C /
    expect "the program needs no library" says "statically linked" ldd /usr/bin/ebb
    expect "it runs" ebb --version
    groupadd --system ebb
    useradd --system --gid ebb --home-dir /var/lib/ebb --no-create-home \
        --shell /usr/sbin/nologin ebb
    install -D --mode 640 --group ebb /usr/share/doc/ebb/ebb.toml /etc/ebb/ebb.toml
    write_config
    systemctl daemon-reload
    expect "check-config calls the file good" ebb check-config /etc/ebb/ebb.toml
    expect "the service starts" systemctl start ebb
    eventually 60 "a client reaches web-1" answers web-1
    eventually 60 "a client reaches web-2" answers web-2
    systemctl stop ebb
    expect "ebb is taken off the host" ebb unload
    expect "no program is left" not says xdp ip link show
    rm -r /var/lib/ebb
}

in_a_container() {
    local image run
    expect "podman loads the image" podman load --quiet --input /story/image.tar
    image=$(podman images --format '{{ .Repository }}:{{ .Tag }}' localhost/ebb)
    run=$(podman image inspect --format '{{ index .Labels "run" }}' "$image")
    mkdir -p /run/ebb /var/lib/ebb
    expect "a container of it runs as its label says" \
        ${run/podman run/podman run --detach --name ebb}
    eventually 60 "the agent in it answers" answers_from_its_container
    eventually 60 "a client reaches web-1" answers web-1
    eventually 60 "a client reaches web-2" answers web-2
    # CAP_NET_ADMIN, CAP_NET_RAW, CAP_PERFMON, CAP_BPF
    expect "it has the four capabilities and no other" \
        says "CapEff:	000000c000003000" cat "/proc/$(podman inspect --format '{{.State.Pid}}' ebb)/status"
    expect "a container that is killed is noticed by no client" unnoticed podman kill ebb
    expect "one that comes back is noticed by no client" unnoticed podman start ebb
    eventually 60 "… and the agent in it answers" answers_from_its_container
    podman rm --force ebb >/dev/null
    expect "ebb is taken off the host" ebb unload
    expect "no VIP is left" not says "$VIP" ip address show
}

answers_from_its_container() {
    ebb status || { podman logs --tail 20 ebb; false; }
}
