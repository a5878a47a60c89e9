//! Reading the books: what the kernel counted for each backend and verdict.

use lb_common::abi::counter::{BackendCounters as Row, Verdict};

use super::{maps::Maps, table::TableError};
use crate::model::{BackendCounters, BackendIndex};

/// The counters of one backend, over all CPUs.
pub(super) fn row(maps: &Maps, backend: BackendIndex) -> Result<Row, TableError> {
    let index = u32::from(backend);
    let mut row = sum(&maps.backend_counters.row(index)?);
    row.closed += maps.closed_by_agent.at(index)?;
    Ok(row)
}

/// The counters of these backends. What is read lies between the least and the greatest of
/// their indices.
pub(super) fn rows(
    maps: &Maps,
    backends: impl IntoIterator<Item = BackendIndex>,
) -> Result<Vec<(BackendIndex, Row)>, TableError> {
    let backends: Vec<_> = backends.into_iter().collect();
    let (Some(first), Some(last)) = (backends.iter().min(), backends.iter().max()) else {
        return Ok(Vec::new());
    };
    let (first, count) = (*first, u32::from(last - first) + 1);
    let rows = maps.backend_counters.rows(first.into(), count)?;
    let closed_by_agent = maps.closed_by_agent.range(first.into(), count)?;
    let row = |backend: BackendIndex| {
        let index = usize::from(backend - first);
        let mut row = sum(rows.row(index));
        row.closed += closed_by_agent.get(index).copied().unwrap_or_default();
        (backend, row)
    };
    Ok(backends.into_iter().map(row).collect())
}

/// The flows of a backend that are in the table and open.
pub(super) fn active(row: &Row) -> u64 {
    row.opened.saturating_sub(row.closed)
}

/// The packets under each verdict.
pub(super) fn verdicts(maps: &Maps) -> Result<Vec<(Verdict, u64)>, TableError> {
    let rows = maps.verdicts.rows(0, Verdict::ALL.len() as u32)?;
    Ok(Verdict::ALL
        .iter()
        .zip(rows.iter())
        .map(|(verdict, cpus)| (*verdict, cpus.iter().sum()))
        .collect())
}

/// As the agent's other parts see a row.
pub(super) fn counters(row: &Row) -> BackendCounters {
    BackendCounters {
        packets_in: row.packets_in,
        bytes_in: row.bytes_in,
        packets_out: row.packets_out,
        bytes_out: row.bytes_out,
        opened: row.opened,
        closed: row.closed,
        untracked: row.untracked,
    }
}

/// Makes a backend's books those of one that has just come.
pub(super) fn clear(maps: &Maps, backend: BackendIndex) -> Result<(), TableError> {
    let index = u32::from(backend);
    maps.backend_counters.clear(index)?;
    maps.closed_by_agent.put(&index, &0)
}

fn sum(cpus: &[Row]) -> Row {
    cpus.iter().fold(Row::default(), |total, cpu| Row {
        packets_in: total.packets_in + cpu.packets_in,
        bytes_in: total.bytes_in + cpu.bytes_in,
        packets_out: total.packets_out + cpu.packets_out,
        bytes_out: total.bytes_out + cpu.bytes_out,
        opened: total.opened + cpu.opened,
        closed: total.closed + cpu.closed,
        closing: total.closing + cpu.closing,
        untracked: total.untracked + cpu.untracked,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_cpus_counted_adds_up() {
        let one = Row {
            opened: 3,
            closed: 1,
            ..Row::default()
        };
        let two = Row {
            opened: 2,
            closed: 3,
            ..Row::default()
        };
        let row = sum(&[one, two]);
        assert_eq!((row.opened, row.closed, active(&row)), (5, 4, 1));
    }
}
