//! The configuration file as written: every key known, every value of the
//! right type, nothing understood yet. Whatever is not so is found with its
//! place, all of it at once.

use toml::de::{DeTable, DeValue};

use super::diagnostic::{At, Findings, Span};
use crate::suggest::nearest;

#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) interfaces: Option<At<Vec<At<String>>>>,
    pub(super) manage_vips: Option<At<bool>>,
    pub(super) socket: Option<At<String>>,
    pub(super) state_dir: Option<At<String>>,
    pub(super) bpffs_dir: Option<At<String>>,
    pub(super) xdp_mode: Option<At<String>>,
    pub(super) kernel_log: Option<At<bool>>,
    pub(super) tables: WrittenTables,
    pub(super) nat: WrittenNat,
    pub(super) ipip: WrittenIpip,
    pub(super) udp: WrittenUdp,
    pub(super) packets: WrittenPackets,
    pub(super) elb_api: Option<At<WrittenElbApi>>,
    pub(super) metrics_address: Option<At<String>>,
    pub(super) hooks: Vec<At<WrittenHook>>,
    pub(super) console: Option<At<WrittenEntrance>>,
    pub(super) load_balancers: Vec<At<WrittenLb>>,
}

#[derive(Debug, Default)]
pub(super) struct WrittenTables {
    pub(super) load_balancers: Option<At<i64>>,
    pub(super) backends: Option<At<i64>>,
    pub(super) listeners: Option<At<i64>>,
    pub(super) flows: Option<At<i64>>,
    pub(super) half_open: Option<At<i64>>,
    pub(super) maglev: Option<At<i64>>,
}

#[derive(Debug, Default)]
pub(super) struct WrittenNat {
    pub(super) pool: Option<At<Vec<At<String>>>>,
    pub(super) pools: Vec<(String, At<Vec<At<String>>>)>,
    pub(super) ports: Option<At<String>>,
}

#[derive(Debug, Default)]
pub(super) struct WrittenIpip {
    pub(super) source: Option<At<Vec<At<String>>>>,
    pub(super) dscp: Option<At<WrittenDscp>>,
}

#[derive(Debug)]
pub(super) enum WrittenDscp {
    Word(String),
    Number(i64),
}

#[derive(Debug, Default)]
pub(super) struct WrittenUdp {
    pub(super) unreplied_timeout: Option<At<i64>>,
    pub(super) replied_timeout: Option<At<i64>>,
    pub(super) on_unhealthy: Option<At<String>>,
}

#[derive(Debug, Default)]
pub(super) struct WrittenPackets {
    pub(super) hook: Option<At<String>>,
    pub(super) interface_hooks: Vec<(String, At<String>)>,
    pub(super) local_clients: Option<At<bool>>,
    pub(super) mac_addresses: Option<At<Vec<At<String>>>>,
    pub(super) least_mtu: Option<At<i64>>,
}

#[derive(Debug, Default)]
pub(super) struct WrittenEntrance {
    pub(super) listen: Option<At<String>>,
    pub(super) names: Option<At<Vec<At<String>>>>,
    pub(super) access_keys: Vec<(String, At<String>)>,
    pub(super) access_keys_file: Option<At<String>>,
}

#[derive(Debug, Default)]
pub(super) struct WrittenElbApi {
    pub(super) entrance: WrittenEntrance,
    pub(super) vip_pool: Option<At<Vec<At<String>>>>,
    pub(super) instances: Vec<(String, At<String>)>,
}

#[derive(Debug)]
pub(super) struct WrittenHook {
    pub(super) name: Option<At<String>>,
    pub(super) events: Option<At<Vec<At<String>>>>,
    pub(super) load_balancer: Option<At<String>>,
    pub(super) command: Option<At<Vec<At<String>>>>,
    pub(super) url: Option<At<String>>,
    pub(super) timeout: Option<At<i64>>,
    pub(super) attempts: Option<At<i64>>,
}

#[derive(Debug)]
pub(super) struct WrittenLb {
    pub(super) name: Option<At<String>>,
    pub(super) mode: Option<At<String>>,
    pub(super) listeners: Option<At<Vec<At<WrittenListener>>>>,
    pub(super) backends: Option<At<Vec<At<WrittenBackend>>>>,
    pub(super) attributes: WrittenAttributes,
    pub(super) health_check: Option<At<WrittenHealthCheck>>,
}

#[derive(Debug)]
pub(super) struct WrittenListener {
    pub(super) protocol: Option<At<String>>,
    pub(super) address: Option<At<String>>,
    pub(super) port: Option<At<i64>>,
    pub(super) backend_port: Option<At<i64>>,
}

#[derive(Debug)]
pub(super) struct WrittenBackend {
    pub(super) id: Option<At<String>>,
    pub(super) address: Option<At<String>>,
    pub(super) weight: Option<At<i64>>,
}

#[derive(Debug)]
pub(super) struct WrittenHealthCheck {
    pub(super) target: Option<At<String>>,
    pub(super) interval: Option<At<i64>>,
    pub(super) timeout: Option<At<i64>>,
    pub(super) unhealthy_threshold: Option<At<i64>>,
    pub(super) healthy_threshold: Option<At<i64>>,
    pub(super) verify_certificate: Option<At<bool>>,
    pub(super) server_name: Option<At<String>>,
}

#[derive(Debug, Default)]
pub(super) struct WrittenAttributes {
    pub(super) draining_enabled: Option<At<bool>>,
    pub(super) draining_timeout: Option<At<i64>>,
    pub(super) idle_timeout: Option<At<i64>>,
    pub(super) close_rate: Option<At<i64>>,
    pub(super) nat_source: Option<At<String>>,
}

/// Reads a document. What is wrong with it goes to `findings`.
pub(super) fn read(findings: &mut Findings<'_>) -> Option<Written> {
    let (document, errors) = DeTable::parse_recoverable(findings.text);
    if !errors.is_empty() {
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            findings.add(&span, error.message(), None);
        }
        // What was recovered would only bring errors that follow from these.
        return None;
    }
    let mut top = Table::new(document.get_ref(), findings);
    let written = Written {
        interfaces: top.list("interfaces", string),
        manage_vips: top.get("manage_vips", boolean),
        socket: top.get("socket", string),
        state_dir: top.get("state_dir", string),
        bpffs_dir: top.get("bpffs_dir", string),
        xdp_mode: top.get("xdp_mode", string),
        kernel_log: top.get("kernel_log", boolean),
        tables: top.table("tables", tables).unwrap_or_default(),
        nat: top.table("nat", nat).unwrap_or_default(),
        ipip: top.table("ipip", ipip).unwrap_or_default(),
        udp: top.table("udp", udp).unwrap_or_default(),
        packets: top.table("packets", packets).unwrap_or_default(),
        elb_api: top.get("elb_api", |value, findings| {
            in_table(value, findings, elb_api)
        }),
        metrics_address: top
            .table("metrics", |metrics| metrics.get("address", string))
            .flatten(),
        hooks: top
            .list("hook", |value, findings| in_table(value, findings, hook))
            .map_or_else(Vec::new, |list| list.value),
        console: top.get("console", |value, findings| {
            in_table(value, findings, entrance)
        }),
        load_balancers: top
            .list("load_balancer", |value, findings| {
                in_table(value, findings, lb)
            })
            .map_or_else(Vec::new, |list| list.value),
    };
    top.finish();
    Some(written)
}

fn tables(table: &mut Table<'_, '_, '_>) -> WrittenTables {
    WrittenTables {
        load_balancers: table.get("load_balancers", integer),
        backends: table.get("backends", integer),
        listeners: table.get("listeners", integer),
        flows: table.get("flows", integer),
        half_open: table.get("half_open", integer),
        maglev: table.get("maglev", integer),
    }
}

fn nat(table: &mut Table<'_, '_, '_>) -> WrittenNat {
    WrittenNat {
        pool: table.list("pool", string),
        pools: table.entries("pools", strings),
        ports: table.get("ports", string),
    }
}

fn ipip(table: &mut Table<'_, '_, '_>) -> WrittenIpip {
    WrittenIpip {
        source: table.list("source", string),
        dscp: table.get("dscp", dscp),
    }
}

fn dscp(value: &Value<'_>, findings: &mut Findings<'_>) -> Option<WrittenDscp> {
    match value.get_ref().as_str() {
        Some(word) => Some(WrittenDscp::Word(word.to_owned())),
        None => integer(value, findings).map(WrittenDscp::Number),
    }
}

fn packets(table: &mut Table<'_, '_, '_>) -> WrittenPackets {
    WrittenPackets {
        hook: table.get("hook", string),
        interface_hooks: table.entries("interface_hooks", string),
        local_clients: table.get("local_clients", boolean),
        mac_addresses: table.list("mac_addresses", string),
        least_mtu: table.get("least_mtu", integer),
    }
}

fn udp(table: &mut Table<'_, '_, '_>) -> WrittenUdp {
    WrittenUdp {
        unreplied_timeout: table.get("unreplied_timeout", integer),
        replied_timeout: table.get("replied_timeout", integer),
        on_unhealthy: table.get("on_unhealthy", string),
    }
}

fn entrance(table: &mut Table<'_, '_, '_>) -> WrittenEntrance {
    WrittenEntrance {
        listen: table.get("listen", string),
        names: table.list("names", string),
        access_keys: table.entries("access_keys", string),
        access_keys_file: table.get("access_keys_file", string),
    }
}

fn elb_api(table: &mut Table<'_, '_, '_>) -> WrittenElbApi {
    WrittenElbApi {
        entrance: entrance(table),
        vip_pool: table.list("vip_pool", string),
        instances: table.entries("instances", string),
    }
}

fn hook(table: &mut Table<'_, '_, '_>) -> WrittenHook {
    WrittenHook {
        name: table.get("name", string),
        events: table.list("events", string),
        load_balancer: table.get("load_balancer", string),
        command: table.list("command", string),
        url: table.get("url", string),
        timeout: table.get("timeout", integer),
        attempts: table.get("attempts", integer),
    }
}

fn lb(table: &mut Table<'_, '_, '_>) -> WrittenLb {
    WrittenLb {
        name: table.get("name", string),
        mode: table.get("mode", string),
        listeners: table.list("listeners", |value, findings| {
            in_table(value, findings, listener)
        }),
        backends: table.list("backends", |value, findings| {
            in_table(value, findings, backend)
        }),
        attributes: table.table("attributes", attributes).unwrap_or_default(),
        health_check: table.get("health_check", |value, findings| {
            in_table(value, findings, health_check)
        }),
    }
}

fn listener(table: &mut Table<'_, '_, '_>) -> WrittenListener {
    WrittenListener {
        protocol: table.get("protocol", string),
        address: table.get("address", string),
        port: table.get("port", integer),
        backend_port: table.get("backend_port", integer),
    }
}

fn backend(table: &mut Table<'_, '_, '_>) -> WrittenBackend {
    WrittenBackend {
        id: table.get("id", string),
        address: table.get("address", string),
        weight: table.get("weight", integer),
    }
}

fn health_check(table: &mut Table<'_, '_, '_>) -> WrittenHealthCheck {
    WrittenHealthCheck {
        target: table.get("target", string),
        interval: table.get("interval", integer),
        timeout: table.get("timeout", integer),
        unhealthy_threshold: table.get("unhealthy_threshold", integer),
        healthy_threshold: table.get("healthy_threshold", integer),
        verify_certificate: table.get("verify_certificate", boolean),
        server_name: table.get("server_name", string),
    }
}

fn attributes(table: &mut Table<'_, '_, '_>) -> WrittenAttributes {
    let (draining_enabled, draining_timeout) = table
        .table("connection_draining", |draining| {
            (
                draining.get("enabled", boolean),
                draining.get("timeout", integer),
            )
        })
        .unwrap_or_default();
    WrittenAttributes {
        draining_enabled,
        draining_timeout,
        idle_timeout: table.get("idle_timeout", integer),
        close_rate: table.get("close_rate", integer),
        nat_source: table.get("nat_source", string),
    }
}

type Value<'d> = toml::Spanned<DeValue<'d>>;

/// A table that is being read: knows which keys were asked for.
struct Table<'t, 'd, 'f> {
    table: &'t DeTable<'d>,
    findings: &'t mut Findings<'f>,
    known: Vec<&'static str>,
}

impl<'t, 'd, 'f> Table<'t, 'd, 'f> {
    fn new(table: &'t DeTable<'d>, findings: &'t mut Findings<'f>) -> Self {
        Self {
            table,
            findings,
            known: Vec::new(),
        }
    }

    fn value(&mut self, key: &'static str) -> Option<&'t Value<'d>> {
        self.known.push(key);
        self.table.get(key)
    }

    fn get<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value<'_>, &mut Findings<'_>) -> Option<T>,
    ) -> Option<At<T>> {
        let value = self.value(key)?;
        let span = value.span();
        read(value, self.findings).map(|value| At { value, span })
    }

    fn list<T>(
        &mut self,
        key: &'static str,
        read: impl FnMut(&Value<'_>, &mut Findings<'_>) -> Option<T>,
    ) -> Option<At<Vec<At<T>>>> {
        let value = self.value(key)?;
        let span = value.span();
        let value = items(value, self.findings, read)?;
        Some(At { value, span })
    }

    fn table<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Table<'_, '_, '_>) -> T,
    ) -> Option<T> {
        let value = self.value(key)?;
        in_table(value, self.findings, read)
    }

    /// A table whose keys the user chooses.
    fn entries<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&Value<'_>, &mut Findings<'_>) -> Option<T>,
    ) -> Vec<(String, At<T>)> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let Some(table) = value.get_ref().as_table() else {
            expected("a table", value, self.findings);
            return Vec::new();
        };
        table
            .iter()
            .filter_map(|(key, value)| {
                let span = value.span();
                let name = key.get_ref().as_ref().to_owned();
                read(value, self.findings).map(|value| (name, At { value, span }))
            })
            .collect()
    }

    /// Every key that nobody asked for is one that does not exist.
    fn finish(self) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let shown: String = name.chars().take(64).collect();
            let hint = match nearest(name, self.known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the keys here are {}", self.known.join(", ")),
            };
            let span: Span = key.span();
            self.findings
                .add(&span, format!("unknown key `{shown}`"), Some(hint));
        }
    }
}

fn in_table<T>(
    value: &Value<'_>,
    findings: &mut Findings<'_>,
    read: impl FnOnce(&mut Table<'_, '_, '_>) -> T,
) -> Option<T> {
    let Some(table) = value.get_ref().as_table() else {
        expected("a table", value, findings);
        return None;
    };
    let mut table = Table::new(table, findings);
    let result = read(&mut table);
    table.finish();
    Some(result)
}

fn string(value: &Value<'_>, findings: &mut Findings<'_>) -> Option<String> {
    let text = value.get_ref().as_str().map(str::to_owned);
    if text.is_none() {
        expected("a string", value, findings);
    }
    text
}

fn strings(value: &Value<'_>, findings: &mut Findings<'_>) -> Option<Vec<At<String>>> {
    items(value, findings, string)
}

fn items<T>(
    value: &Value<'_>,
    findings: &mut Findings<'_>,
    mut read: impl FnMut(&Value<'_>, &mut Findings<'_>) -> Option<T>,
) -> Option<Vec<At<T>>> {
    let Some(items) = value.get_ref().as_array() else {
        expected("an array", value, findings);
        return None;
    };
    let read = |item: &Value<'_>| {
        let span = item.span();
        read(item, findings).map(|value| At { value, span })
    };
    Some(items.iter().filter_map(read).collect())
}

fn boolean(value: &Value<'_>, findings: &mut Findings<'_>) -> Option<bool> {
    let truth = value.get_ref().as_bool();
    if truth.is_none() {
        expected("true or false", value, findings);
    }
    truth
}

fn integer(value: &Value<'_>, findings: &mut Findings<'_>) -> Option<i64> {
    let number = value
        .get_ref()
        .as_integer()
        .and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok());
    if number.is_none() {
        expected("a whole number", value, findings);
    }
    number
}

fn expected(what: &str, value: &Value<'_>, findings: &mut Findings<'_>) {
    let found = value.get_ref().type_str();
    let message = format!("expected {what}, found a value of type {found}");
    findings.add(&value.span(), message, None);
}
