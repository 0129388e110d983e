//! This machine's own addresses as networks of ours, now and as they come and go.

use std::sync::mpsc::Sender;
use std::time::Duration;

use anyhow::Context;
use tidewall_capture::own_addresses::{self, AddressScope, AddressWatch, OwnAddress};
use tidewall_model::Prefix;
use tracing::warn;

use super::spawn;

/// Changes come in groups: so long is waited for the rest of one.
const SETTLE: Duration = Duration::from_millis(200);
/// The watch is looked at so often when nothing happens.
const WAIT: Duration = Duration::from_mins(1);

/// The networks of the machine's global addresses, on links and point to point.
pub fn own_networks() -> anyhow::Result<Vec<Prefix>> {
    own(OwnAddress::network)
}

/// The machine's global addresses, each by itself.
pub fn own_hosts() -> anyhow::Result<Vec<Prefix>> {
    own(|own| Prefix::host(own.address))
}

fn own(prefix: impl Fn(&OwnAddress) -> Prefix) -> anyhow::Result<Vec<Prefix>> {
    let addresses =
        own_addresses::own_addresses().context("the machine's own addresses cannot be read")?;
    let global = addresses.iter().filter(|own| own.scope == AddressScope::Global);
    let mut prefixes: Vec<Prefix> = global.map(prefix).collect();
    prefixes.sort();
    prefixes.dedup();
    Ok(prefixes)
}

/// Tells, from a thread of its own, whenever addresses have come or gone; until nobody listens.
pub fn watch<T: Send + 'static>(
    tell: Sender<T>,
    message: impl Fn() -> T + Send + 'static,
) -> anyhow::Result<()> {
    let mut watch =
        AddressWatch::open().context("changes of the machine's addresses cannot be watched")?;
    spawn("addresses", move || {
        loop {
            let told = watch.receive(WAIT, |_| ()).and_then(|mut changes| {
                let some = changes > 0;
                for _ in 0..10 {
                    if changes == 0 {
                        break;
                    }
                    changes = watch.receive(SETTLE, |_| ())?;
                }
                Ok(some)
            });
            match told {
                Ok(true) if tell.send(message()).is_err() => return,
                Ok(_) => {}
                Err(error) => {
                    return warn!("changes of the machine's addresses are not seen: {error}");
                }
            }
        }
    })
    .map(drop)
}
